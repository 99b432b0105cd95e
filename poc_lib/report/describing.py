"""Everything that is shown of one answer. Pure: images come in as bytes."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.answers import comparable_text, parse_answer, strip_thinking
from poc_lib.canary import code_of, is_canary
from poc_lib.canary.codes import shown_code
from poc_lib.report.blocks import Cell, Picture, Said, Sample
from poc_lib.report.marking import mark_differences, mark_phrases, mark_shared, plain
from poc_lib.report.samples import Chosen
from poc_lib.report.wording import number

SHOWN_SCORES = {
    "difflib_ratio": "difflib ratio",
    "tfidf_cosine": "TF-IDF cosine",
    "fidelity_f1": "names and numbers",
    "activity_agrees": "activity agrees",
    "apps_jaccard": "apps overlap",
    "topics_jaccard": "topics overlap",
}
AGREES = {1.0: "yes", 0.0: "no"}
NO_REFERENCE = "(no usable reference)"
LONG_TEXT = 1500  # characters; a runaway answer says the same again after them
REPEATING = ("duplicate", "replay")  # signs that hold against the other frame's answer, not its reference


def describe_sample(
    analysis: Analysis, chosen: Chosen, images: Mapping[str, bytes], why_no_image: str
) -> Sample:
    """Everything shown of one answer.

    Args:
        images: small JPEGs by frame id.
        why_no_image: said where a frame has none.
    """
    reply = _reply(analysis, chosen)
    return Sample(
        title=f"Frame {chosen.frame_id}, {_at(chosen)}",
        reason=chosen.reason,
        pictures=tuple(_pictures(chosen, images, why_no_image)),
        texts=tuple(_leak_texts(chosen, reply) if chosen.kind == "leak" else _texts(analysis, chosen, reply)),
        fields=tuple(_fields(analysis, chosen, reply)),
        scores=tuple(_scores(analysis, chosen)),
        flags=tuple(_flags(analysis, chosen)),
    )


def _at(chosen: Chosen) -> str:
    return f"{chosen.server} at {chosen.concurrency} in flight"


def _pictures(chosen: Chosen, images: Mapping[str, bytes], why_no_image: str) -> list[Picture]:
    captions = {chosen.frame_id: "The image that was sent"}
    if chosen.other_frame_id is not None and chosen.other_frame_id != chosen.frame_id:
        whose = "The image whose code it holds" if chosen.kind == "leak" else "The image it may be about"
        captions[chosen.other_frame_id] = f"{whose}: frame {chosen.other_frame_id}"
    place = f"{_stem(chosen.server)}_{chosen.phase}_{chosen.concurrency}_{chosen.block}"
    return [
        Picture(
            name=f"frame_{_stem(chosen.frame_id)}_{place}_{_stem(frame_id)}",
            jpeg=images.get(frame_id),
            problem=None if images.get(frame_id) else why_no_image,
            alt=f"Screenshot of frame {frame_id}; what it shows is described in the texts beside it",
            caption=caption,
        )
        for frame_id, caption in captions.items()
    ]


def _stem(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


def _reply(analysis: Analysis, chosen: Chosen) -> pd.Series:
    return _rows_at(analysis.requests, chosen, chosen.frame_id).iloc[0]


def _rows_at(table: pd.DataFrame, chosen: Chosen, frame_id: str) -> pd.DataFrame:
    """A table's rows about a frame in the sample's cell."""
    here = (table["server"] == chosen.server) & (table["concurrency"] == chosen.concurrency)
    here &= (table["block"] == chosen.block) & (table["frame_id"] == frame_id)
    return table[here & (table["phase"] == chosen.phase)] if "phase" in table else table[here]


def _texts(analysis: Analysis, chosen: Chosen, reply: pd.Series) -> list[Said]:
    whole, reference = _short(_described(reply["text"])), _reference(analysis, chosen.frame_id)
    answer, stored = mark_differences(whole, reference) if reference else (plain(whole), plain(NO_REFERENCE))
    texts = [Said(f"Answer of {_at(chosen)}", answer), Said("Stored reference", stored)]
    if chosen.other_frame_id is not None:
        texts.append(_other_text(analysis, chosen, whole))
    baseline = _baseline_answer(analysis, chosen)
    if baseline is not None:
        whose = f"Answer of {baseline['server']} at {baseline['concurrency']} in flight, unmarked"
        texts.append(Said(whose, plain(_short(_described(baseline["text"])))))
    return texts


def _described(text: str) -> str:
    """The description where the fields can be shown apart, or else the whole answer."""
    return comparable_text(text) if parse_answer(text).well_formed else strip_thinking(text)


def _short(text: str) -> str:
    left = len(text) - LONG_TEXT
    return f"{text[:LONG_TEXT]} … ({left:,} more characters)" if left > 0 else text


def _other_text(analysis: Analysis, chosen: Chosen, answer: str) -> Said:
    other = chosen.other_frame_id
    rows = _rows_at(analysis.requests, chosen, other)
    if chosen.sign in REPEATING and len(rows):
        text = _short(_described(rows["text"].iloc[0]))
        return Said(f"Answer to frame {other} in the same cell, which it repeats", mark_shared(text, answer))
    text = _reference(analysis, other)
    whose = f"Stored reference of frame {other}, which the answer resembles"
    return Said(whose, mark_shared(text, answer) if text else plain(NO_REFERENCE))


def _leak_texts(chosen: Chosen, reply: pd.Series) -> list[Said]:
    code = code_of(chosen.other_frame_id)
    own = shown_code(code_of(chosen.frame_id)) if is_canary(chosen.frame_id) else None
    return [
        Said(
            f"Answer of {_at(chosen)}",
            mark_phrases(_short(strip_thinking(reply["text"])), [code, shown_code(code)]),
        ),
        Said("Code on its own image", plain(own or "(none: a screenshot of the recording)")),
        Said(f"Code on {chosen.other_frame_id}", mark_phrases(shown_code(code), [shown_code(code)])),
    ]


def _reference(analysis: Analysis, frame_id: str | None) -> str | None:
    rows = analysis.frames[analysis.frames["frame_id"] == frame_id]
    text = rows["ref_description"].iloc[0] if len(rows) else None
    return text if isinstance(text, str) else None


def _baseline_answer(analysis: Analysis, chosen: Chosen) -> pd.Series | None:
    requests = analysis.requests
    found = requests[
        (requests["phase"] == "measure")
        & (requests["role"] == "baseline")
        & (requests["server"] != chosen.server)
        & (requests["frame_id"] == chosen.frame_id)
        & requests["error_class"].isna()
    ].sort_values(["concurrency", "block"])
    return None if found.empty else found.iloc[0]


def _fields(analysis: Analysis, chosen: Chosen, reply: pd.Series) -> list[tuple[str, str, str]]:
    """Activity, apps and topics, of the answer and of the reference; none for a canary."""
    frame = analysis.frames[analysis.frames["frame_id"] == chosen.frame_id]
    parsed = parse_answer(reply["text"])
    if chosen.kind == "leak" or frame.empty or not parsed.well_formed:
        return []
    return [
        (name, _field_words(getattr(parsed, name)), _field_words(frame.iloc[0][f"ref_{name}"]))
        for name in ("activity", "apps", "topics")
    ]


def _field_words(value: Any) -> str:
    if value is None or isinstance(value, float):
        return "n/a"
    return value if isinstance(value, str) else ", ".join(value) or "none"


def _scores(analysis: Analysis, chosen: Chosen) -> list[tuple[str, str]]:
    row = _score_row(analysis, chosen)
    if row is None:
        return []
    return [
        (label, AGREES.get(row[name], number(None)) if name == "activity_agrees" else number(row[name]))
        for name, label in SHOWN_SCORES.items()
    ]


def _score_row(analysis: Analysis, chosen: Chosen) -> pd.Series | None:
    found = _rows_at(analysis.scores, chosen, chosen.frame_id)
    found = found[found["against"] == STORED_REFERENCE]
    return None if found.empty or chosen.phase != "measure" else found.iloc[0]


def _flags(analysis: Analysis, chosen: Chosen) -> list[Cell]:
    if chosen.phase != "measure":
        return [Cell("leak", "bad")]
    row, flags = _score_row(analysis, chosen), []
    if row is not None and pd.notna(row["match"]):
        flags.append(Cell("match", "good") if row["match"] else Cell("no match", "muted"))
    health = _rows_at(analysis.quality.health_scores, chosen, chosen.frame_id)
    problems = health["problems"].iloc[0].split("; ") if len(health) else []
    flags += [Cell(problem.replace("_", " "), "warn") for problem in problems if problem]
    found = _rows_at(analysis.suspicious, chosen, chosen.frame_id)
    for odd in found.itertuples():
        tone = "bad" if odd.state == "suspicion" else "warn"
        flags += [Cell(sign, tone) for sign in odd.signs.split("; ")]
        flags.append(Cell(f"cause: {odd.cause}", tone))
    return flags

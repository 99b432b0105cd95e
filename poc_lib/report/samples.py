"""Which answers are shown, and everything that is shown of each. Pure: images come in as bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from poc_lib.accuracy import STORED_REFERENCE, pick_samples
from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Cell, Sample
from poc_lib.report.choice import (
    chosen_level,
    of_candidate,
)
from poc_lib.report.wording import number

SHOWN_SCORES = {
    "difflib_ratio": "difflib ratio",
    "tfidf_cosine": "TF-IDF cosine",
    "activity_agrees": "activity agrees",
    "apps_jaccard": "apps overlap",
    "topics_jaccard": "topics overlap",
}
AGREES = {1.0: "yes", 0.0: "no"}
N_SUSPICIOUS, N_WORST, N_RANDOM = 4, 3, 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """One answer to be shown."""

    frame_id: str
    concurrency: int
    block: int
    reason: str
    other_frame_id: str | None = None  # the frame that a suspicious answer resembles


def choose_samples(analysis: Analysis, seed: int) -> list[Chosen]:
    """The candidate's suspicious answers, its least similar ones and some at random; each frame once."""
    level = chosen_level(analysis)
    suspicious = of_candidate(analysis, analysis.suspicious).drop_duplicates("frame_id")
    chosen = [
        Chosen(row.frame_id, row.concurrency, row.block, f"Suspicious: {row.sign}", row.other_frame_id)
        for row in suspicious.head(N_SUSPICIOUS).itertuples()
    ]
    scores = analysis.scores
    shown = scores[
        (scores["server"] == analysis.verdict.candidate)
        & (scores["concurrency"] == level)
        & (scores["block"] == 0)
        & (scores["against"] == STORED_REFERENCE)
        & ~scores["frame_id"].isin([one.frame_id for one in chosen])
    ]
    picked = pick_samples(shown, max(N_WORST, N_RANDOM), seed)
    chosen += [Chosen(f, level, 0, "Least like its reference") for f in picked.worst[:N_WORST]]
    chosen += [Chosen(f, level, 0, "Drawn at random") for f in picked.random[:N_RANDOM]]
    return chosen


def describe_sample(
    analysis: Analysis, chosen: Chosen, images: Mapping[str, bytes], why_no_image: str
) -> Sample:
    """Everything shown of one answer.

    Args:
        images: small JPEGs by frame id.
        why_no_image: said where a frame has none.
    """
    reply = _reply(analysis, chosen)
    image = images.get(chosen.frame_id)
    at = f"{analysis.verdict.candidate} at {chosen.concurrency} in flight"
    return Sample(
        title=f"Frame {chosen.frame_id}, {at}",
        reason=chosen.reason,
        name=f"frame_{_stem(chosen.frame_id)}_{chosen.concurrency}_{chosen.block}",
        image=image,
        image_problem=None if image else why_no_image,
        alt=f"Screenshot of frame {chosen.frame_id}; what it shows is described in the texts beside it",
        texts=tuple(_texts(analysis, chosen, reply, at)),
        scores=tuple(_scores(analysis, chosen)),
        flags=tuple(_flags(analysis, chosen, reply)),
    )


def _stem(frame_id: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in frame_id)


def _reply(analysis: Analysis, chosen: Chosen) -> pd.Series:
    requests = analysis.requests
    found = requests[
        (requests["phase"] == "measure")
        & (requests["server"] == analysis.verdict.candidate)
        & (requests["concurrency"] == chosen.concurrency)
        & (requests["block"] == chosen.block)
        & (requests["frame_id"] == chosen.frame_id)
    ]
    return found.iloc[0]


def _texts(analysis: Analysis, chosen: Chosen, reply: pd.Series, at: str) -> list[tuple[str, str]]:
    texts = [(at, str(reply["text"]))]
    baseline = _baseline_answer(analysis, chosen.frame_id)
    if baseline is not None:
        texts.append((f"{baseline['server']} at {baseline['concurrency']} in flight", str(baseline["text"])))
    texts.append(("Stored reference", _reference(analysis, chosen.frame_id)))
    if chosen.other_frame_id is not None:
        other = _reference(analysis, chosen.other_frame_id)
        texts.append(
            (f"Stored reference of frame {chosen.other_frame_id}, which the answer resembles", other)
        )
    return texts


def _reference(analysis: Analysis, frame_id: str) -> str:
    rows = analysis.frames[analysis.frames["frame_id"] == frame_id]
    text = rows["ref_description"].iloc[0] if len(rows) else None
    return text if isinstance(text, str) else "(no usable reference)"


def _baseline_answer(analysis: Analysis, frame_id: str) -> pd.Series | None:
    requests = analysis.requests
    found = requests[
        (requests["phase"] == "measure")
        & (requests["role"] == "baseline")
        & (requests["frame_id"] == frame_id)
        & requests["error_class"].isna()
    ].sort_values(["concurrency", "block"])
    return None if found.empty else found.iloc[0]


def _scores(analysis: Analysis, chosen: Chosen) -> list[tuple[str, str]]:
    row = _score_row(analysis, chosen)
    if row is None:
        return []
    return [
        (label, AGREES.get(row[name], number(None)) if name == "activity_agrees" else number(row[name]))
        for name, label in SHOWN_SCORES.items()
    ]


def _score_row(analysis: Analysis, chosen: Chosen) -> pd.Series | None:
    scores = analysis.scores
    found = scores[
        (scores["server"] == analysis.verdict.candidate)
        & (scores["concurrency"] == chosen.concurrency)
        & (scores["block"] == chosen.block)
        & (scores["frame_id"] == chosen.frame_id)
        & (scores["against"] == STORED_REFERENCE)
    ]
    return None if found.empty else found.iloc[0]


def _flags(analysis: Analysis, chosen: Chosen, reply: pd.Series) -> list[Cell]:
    row, flags = _score_row(analysis, chosen), []
    if row is not None and pd.notna(row["match"]):
        flags.append(Cell("match", "good") if row["match"] else Cell("no match", "warn"))
    if row is not None and row["well_formed"] == 0:
        flags.append(Cell("not well formed", "warn"))
    if reply["finish_reason"] == "length":
        flags.append(Cell("cut off", "warn"))
    signs = analysis.suspicious[
        (analysis.suspicious["server"] == analysis.verdict.candidate)
        & (analysis.suspicious["frame_id"] == chosen.frame_id)
        & (analysis.suspicious["concurrency"] == chosen.concurrency)
        & (analysis.suspicious["block"] == chosen.block)
    ]["sign"]
    return [*flags, *(Cell(sign, "bad") for sign in signs.unique())]

"""One row an answer: read, held against what is known of its frame, and judged whether it is about its frame.

The app's one-line answer is ``description: … | activity: … | apps: […] | topics: […]`` and, where a code was
stamped on the image, ``| code: …``. What can be read of it is read; nothing here raises on an answer.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from poc_lib.metrics.agreement import TIMED, score_agreement, tidy_names, vectorize_texts
from poc_lib.metrics.confusion import find_signs, judge_codes
from poc_lib.records import Frame

ACTIVITIES = ("debugging", "coding", "review", "meeting", "research", "reading", "terminal", "other")
PHASES = (*TIMED, "proof", "proof_abort", "open_loop")  # what belongs to the experiment
REPEATED_SHARE = 0.3  # of the words in one run of the same phrase: looping (250 sound demo answers: 0)
COMPRESSION, FROM_CHARS = 3.0, 200  # bytes ÷ bytes after zlib, from this length on: looping (sound: ≤ 1.6)
LONGEST_PHRASE, LEAST_TIMES = 24, 3  # words of a phrase that is said again and again

# Columns of the answers frame: unit, meaning.
COLUMNS: dict[str, tuple[str, str]] = {
    "request_id": ("", "server/phase/level/block/sitting/position; unique in a run"),
    "server": ("", "the server's label"),
    "role": ("", "candidate or baseline"),
    "phase": ("", "pilot, confirm, proof, proof_abort, open_loop; measure: first edition"),
    "concurrency": ("requests", "kept in flight in its cell, or at most in an open loop"),
    "block": ("", "block within the phase, from 0"),
    "sitting": ("", "0 for the first start of the run, +1 for every continuation"),
    "position": ("", "place in the cell's drawn order, from 0; -1: first edition"),
    "frame_id": ("", "the frame that was sent"),
    "slot": ("", "which of the cell's slots sent it, from 0"),
    "in_flight": ("requests", "in flight right after this one was sent, itself included"),
    "start_s": ("s", "sending, from the sitting's start"),
    "total_s": ("s", "sending to the last byte, or to the failure"),
    "headers_s": ("s", "sending to response headers"),
    "ttft_s": ("s", "sending to the first non-empty content or reasoning"),
    "tpot_s": ("s", "(last chunk - first chunk) ÷ (output tokens - 1)"),
    "itl_p50_s": ("s", "median gap between two chunks"),
    "itl_max_s": ("s", "longest gap between two chunks"),
    "lag_s": ("s", "longest delay of the client's event loop meanwhile"),
    "prompt_tokens": ("tokens", "image tokens included where the server counts them"),
    "output_tokens": ("tokens", "reasoning included"),
    "reasoning_chars": ("characters", "length of the thinking text"),
    "finish_reason": ("", "stop, length (cut at max_tokens), …"),
    "error_class": ("", "why it failed; empty: answered"),
    "error_message": ("", "one line"),
    "text": ("", "the answer, without its reasoning"),
    "code": ("", "the code stamped on this request's image"),
    "arrivals": ("", "closed or poisson"),
    "rate_per_s": ("1/s", "arrivals in an open loop"),
    "due_s": ("s", "open loop: the intended moment of sending, on the clock of start_s"),
    "server_load_s": ("s", "Ollama's load_duration"),
    "server_prefill_s": ("s", "Ollama's prompt_eval_duration"),
    "server_decode_s": ("s", "Ollama's eval_duration"),
    "simulated": ("", "the answering server is the embedded simulator"),
    "complete": ("", "its cell (of a confirmation block: both) ended in one sitting, and in none later"),
    "description": ("", "the answer's description"),
    "activity": ("", "lower case; need not be one of the app's"),
    "apps": ("", "visible apps; empty list: the answer says none"),
    "topics": ("", "as apps"),
    "well_formed": ("", "the app's one line: four fields, a known activity, both lists whole"),
    "ref_ratio": ("0-1", "difflib ratio of the description with the stored reference"),
    "ref_cosine": ("0-1", "TF-IDF cosine of the two"),
    "base_ratio": ("0-1", "difflib ratio with the baseline's unloaded answer to the frame, or another own"),
    "base_cosine": ("0-1", "TF-IDF cosine of the two"),
    "activity_agrees": ("0/1", "same activity as the stored reference"),
    "apps_jaccard": ("0-1", "overlap of the apps with the stored reference's"),
    "cut": ("", "the answer ended at max_tokens"),
    "looping": ("", "it says the same again and again"),
    "off_format": ("", "answered, but not well formed"),
    "sign": ("", "duplicate, wrong neighbour or empty: looks as if it were about another image"),
    "sign_of": ("", "the request (duplicate) or frame (wrong neighbour) that it looks like"),
    "code_read": ("", "the code that the answer carries"),
    "proof": ("", "whose code that is: own, other, none; empty: no proof request, or failed"),
    "donor_request": ("", "the request whose code it carries"),
    "donor_frame": ("", "that request's frame"),
    "donor_in_flight": ("", "that request was in flight at the same time at the same server"),
    "donor_ago_s": ("s", "else: its end to the sending of this one, in the same sitting"),
}

_NAMES = "(description|activity|apps|topics|code)"
_LABEL = re.compile(  # what models put around a label is bounded, so that runs of it stay cheap
    rf"(?:\A|[|｜\n])[\s*_`\"'>#•-]{{0,12}}{_NAMES}[\s*_`\"']{{0,12}}[:：][ \t]*\**[ \t]*", re.IGNORECASE
)
_INNER_DESCRIPTION = re.compile(r"\b(description)[*_`\"']{0,6}[:：][ \t]*\**[ \t]*", re.IGNORECASE)
_QUOTED_OR_PLAIN = re.compile(r"\"([^\"\n]{0,300})\"|“([^”\n]{0,300})”|([^,;\n\"“]+)")


class ParsedAnswer(NamedTuple):
    """The fields of one answer; ``None``: the answer does not have that field."""

    description: str | None
    activity: str | None  # lower case; need not be in ACTIVITIES
    apps: tuple[str, ...] | None  # () means that the answer says "none"
    topics: tuple[str, ...] | None
    code: str | None
    well_formed: bool  # the app's four fields, the activity from ACTIVITIES, both lists whole


def parse_answer(text: Any) -> ParsedAnswer:
    """Read the app's one line out of an answer, as tolerantly as is safe, in linear time.

    Tolerates case, white space, code fences, bold marks, quotes, JSON lists, fields on lines of their own,
    text around the line, thinking, pipes inside the description, and a JSON object in place of the line
    (then not well formed). Of several lines the first most complete one counts: a runaway answer repeats
    its line. Free text, or anything but a string, gives ``None`` in every field.
    """
    answer = re.sub(r"```[a-zA-Z]*", "", strip_thinking(text)).strip()
    try:
        found = json.loads(answer) if answer.startswith("{") else None
    except (ValueError, RecursionError):
        found = None
    values = {str(key).lower(): value for key, value in found.items()} if isinstance(found, dict) else {}
    is_object = isinstance(values.get("description"), str)
    values = values if is_object else _read_line(answer)
    apps, apps_whole = _read_list(values.get("apps"))
    topics, topics_whole = _read_list(values.get("topics"))
    description, code = _tidy(values.get("description")), _tidy(values.get("code"))
    words = re.findall(r"[^\W\d_]+", str(values.get("activity") or "").lower())
    activity = next((word for word in words if word in ACTIVITIES), words[0] if words else None)
    whole = description is not None and activity in ACTIVITIES and apps_whole and topics_whole
    return ParsedAnswer(description, activity, apps, topics, code, whole and not is_object)


def strip_thinking(text: Any) -> str:
    """An answer without its ``<think>`` blocks, closed or cut off; '' for anything but a string."""
    kept, thinking = [], False
    parts = re.split(r"(</?think(?:ing)?>)", text, flags=re.IGNORECASE) if isinstance(text, str) else []
    for part in parts:
        if part.lower() in ("</think>", "</thinking>"):
            kept, thinking = (kept if thinking else []), False  # Qwen's templates open the block themselves
        elif part.lower() in ("<think>", "<thinking>"):
            thinking = True
        elif not thinking:
            kept.append(part)
    return "".join(kept).strip()


def _read_line(answer: str) -> dict[str, str]:
    """The text of each field of the first most complete line."""
    labels = list(_LABEL.finditer(answer))
    if labels and not any(label[1].lower() == "description" for label in labels):
        inner = _INNER_DESCRIPTION.search(answer, 0, labels[0].start())  # "Here it is: description: …"
        labels = [inner, *labels] if inner else labels
    lines: list[list[re.Match]] = []
    for label in labels:
        if not lines or label[1].lower() == "description":
            lines.append([])
        lines[-1].append(label)
    best: dict[str, str] = {}
    for line, end in zip(lines, [line[0].start() for line in lines[1:]] + [len(answer)], strict=False):
        last = {label[1].lower(): label for label in line}  # an earlier "| apps:" belongs to the description
        kept = sorted(last.values(), key=lambda label: label.start())
        ends = [*(label.start() for label in kept[1:]), end]
        if len(kept) > len(best):
            best = {m[1].lower(): answer[m.end() : stop] for m, stop in zip(kept, ends, strict=True)}
    return best


def _tidy(value: Any) -> str | None:
    text = " ".join(str(value or "").split()).strip("|｜ *")
    for mark in '"`':
        if text.count(mark) == 2 and text[0] == text[-1] == mark:
            text = text[1:-1].strip()
    return text or None


def _read_list(value: Any) -> tuple[tuple[str, ...] | None, bool]:
    """The names in a field, and whether its list is whole (not cut off)."""
    if not isinstance(value, str):
        return (tidy_names(value), True) if isinstance(value, list) else (None, False)
    start, end, depth = value.find("["), None, 0
    if start < 0:
        inside, end = value.split("\n\n")[0], len(value.strip()) or None
    else:
        for bracket in re.finditer(r"[\[\]]", value):
            depth += 1 if bracket[0] == "[" else -1
            if depth == 0 and bracket.start() > start:
                end = bracket.start()
                break
        inside = value[start + 1 : end]
    parts = ("".join(found.groups("")) for found in _QUOTED_OR_PLAIN.finditer(inside))
    return tidy_names(part.strip().lstrip("-*").strip("|") for part in parts), end is not None


def is_looping(text: str) -> bool:
    """Whether 3 of 10 words lie in one phrase said three times or more, or zlib shrinks it to a third."""
    data = text.encode(errors="replace")
    if len(text) >= FROM_CHARS and len(data) / len(zlib.compress(data)) >= COMPRESSION:
        return True
    words = re.findall(r"\w+", text.casefold())
    if len(set(words)) > (1 - REPEATED_SHARE * (LEAST_TIMES - 1) / LEAST_TIMES) * len(words):
        return False  # too many different words for that
    words = np.unique(words, return_inverse=True)[1]
    for period in range(1, min(LONGEST_PHRASE, len(words) // LEAST_TIMES) + 1):
        edges = np.flatnonzero(np.diff(np.r_[0, (words[period:] == words[:-period]).astype(np.int8), 0]))
        run = int((edges[1::2] - edges[::2]).max(initial=0))
        if run >= (LEAST_TIMES - 1) * period and (run + period) / len(words) >= REPEATED_SHARE:
            return True
    return False


def judge_answers(requests: pd.DataFrame, frames: Sequence[Frame], events: Iterable[Mapping]) -> pd.DataFrame:
    """The answers frame: every request of the experiment in sending order, with COLUMNS.

    Args:
        requests: Reply's columns with tpot_s, itl_p50_s, itl_max_s (runs.read_requests).
        frames: with references and looks.
        events: of which cell_started and cell_ended say which cells are complete.
    """
    rows = mark_complete(requests, events)
    answered, texts = rows["error_class"].isna(), rows["text"].fillna("")
    known = {text: parse_answer(text) for text in texts.unique()}
    plain = {text: fields.description or strip_thinking(text) for text, fields in known.items()}
    loops = {text for text in known if is_looping(strip_thinking(text))}
    parsed = pd.DataFrame([known[text] for text in texts], columns=ParsedAnswer._fields, index=rows.index)
    well_formed = parsed["well_formed"].astype(bool) & answered
    rows = rows.assign(
        **parsed[["description", "activity", "apps", "topics"]],
        well_formed=well_formed,
        compared=[plain[text] if ok else "" for text, ok in zip(texts, answered, strict=True)],
        cut=answered & (rows["finish_reason"] == "length"),
        looping=answered & texts.isin(loops),
        off_format=answered & ~well_formed,
    )
    timed = rows[rows["phase"].isin(TIMED)]
    sent = set(timed["frame_id"])
    stored = {f.frame_id: f.reference.description.strip() for f in frames if f.reference}
    fitted_on = [*timed["compared"], *(text for frame_id, text in stored.items() if frame_id in sent)]
    vectors = vectorize_texts(fitted_on, [*rows["compared"], *stored.values()])
    rows = pd.concat([rows, score_agreement(rows, frames, vectors)], axis=1)
    return pd.concat([rows, find_signs(rows, frames, vectors), judge_codes(rows)], axis=1)[list(COLUMNS)]


def mark_complete(requests: pd.DataFrame, events: Iterable[Mapping]) -> pd.DataFrame:
    """The requests of the experiment in sending order, with ``complete``: of its unit's last whole attempt.

    A cell is whole in a sitting that has its cell_ended event and all requests that it was to send (without
    its cell_started event: positions without a gap). A confirmation block is whole where its cells of both
    roles are, in one sitting. A cell that was given up after failures is whole, too, for measuring it again
    would only hide them: its failures are rows, and the frames that it did not send count as lost
    (speed.summarize_levels). First edition: a cell is whole unless it was measured in several sittings.
    """
    rows = requests[requests["phase"].isin(PHASES)].sort_values(["sitting", "start_s"], kind="stable")
    rows = rows.reset_index(drop=True)
    cell = ["server", "concurrency", "phase", "block", "rate_per_s"]
    keyed = rows.assign(rate_per_s=rows["rate_per_s"].astype(float).fillna(0.0))
    attempts = keyed.groupby([*cell, "sitting"], as_index=False, sort=False)
    table = attempts.agg(n=("position", "size"), last=("position", "max"), role=("role", "first"))
    started, ended = {}, {}
    for event in events:
        key = tuple(event.get(name) or 0 for name in (*cell, "sitting"))
        if event["event"] == "cell_started":
            started[key] = event["requests"]
        if event["event"] == "cell_ended":
            ended[key] = event["not_sent"]
    is_alone = table.groupby(cell)["sitting"].transform("nunique") == 1
    keys = table[[*cell, "sitting"]].itertuples(index=False, name=None)
    table["whole"] = [
        alone if last < 0 else key in ended and n + ended[key] >= started.get(key, last + 1)
        for key, n, last, alone in zip(keys, table["n"], table["last"], is_alone, strict=True)
    ]
    confirm = table["phase"] == "confirm"
    blocks = table[confirm].groupby(["block", "sitting"])
    both = blocks["role"].transform("nunique") == rows["role"].nunique()
    table.loc[confirm, "whole"] = blocks["whole"].transform("all") & both
    unit = table[cell].astype(object).mask(confirm, 0).assign(phase=table["phase"], block=table["block"])
    last = table["sitting"].where(table["whole"], -1).groupby([unit[name] for name in cell]).transform("max")
    table["complete"] = table["whole"] & (table["sitting"] == last)
    marked = keyed[[*cell, "sitting"]].merge(table, on=[*cell, "sitting"], how="left")
    return rows.assign(complete=marked["complete"].astype(bool))

"""One row an answer: read, held against what is known of its frame, and judged whether it is about its frame.

The app's one-line answer is ``description: … | activity: … | apps: […] | topics: […]`` and, where a code was
stamped on the image, ``| code: …``. What can be read of it is read; nothing here raises on an answer.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from poc_lib.metrics.agreement import TIMED, score_agreement, tidy_names, vectorize_texts
from poc_lib.metrics.confusion import find_signs, judge_codes, whole_text
from poc_lib.records import Frame

ACTIVITIES = ("debugging", "coding", "review", "meeting", "research", "reading", "terminal", "other")
PHASES = (*TIMED, "proof", "proof_abort", "open_loop")  # what belongs to the experiment
COMPRESSION, FROM_BYTES = 2.4, 200  # bytes ÷ bytes after zlib, from this size on: looping (sound: ≤ 2.0)

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
    "start_s": ("s", "sending, from the sitting's start"),
    "total_s": ("s", "sending to the last byte, or to the failure"),
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
    "cut": ("", "the answer ended at max_tokens"),
    "looping": ("", "it says the same again and again"),
    "sign": ("", "duplicate, wrong neighbour or empty: looks as if it were about another image"),
    "sign_of": ("", "the request (duplicate) or frame (wrong neighbour) that it looks like"),
    "code_read": ("", "the code that the answer carries"),
    "proof": ("", "whose code that is: own, other, none; empty: no proof request, or failed"),
    "donor_request": ("", "the request whose code it carries"),
    "donor_frame": ("", "that request's frame"),
    "donor_in_flight": ("", "that request was in flight at the same time at the same server"),
    "donor_ago_s": ("s", "else: its end to the sending of this one, in the same sitting"),
}

# What models put around a label is bounded, so that runs of it stay cheap.
_LABEL = re.compile(
    r"(?:\A|[|｜\n])[\s*_`\"'>#•-]{0,12}(description|activity|apps|topics|code)[\s*_`\"']{0,12}[:：]",
    re.IGNORECASE,
)
_INNER_DESCRIPTION = re.compile(r"\bdescription[*_`\"']{0,6}[:：]", re.IGNORECASE)
_LIST = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*+)(\])?")  # in the list at most one pair of brackets deep
_THINKING = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.IGNORECASE | re.DOTALL)
_THOUGHT_OUT = re.compile(r"</think(?:ing)?>", re.IGNORECASE)  # Qwen's templates open the block themselves


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
        found = json.loads(answer) if answer.startswith("{") else {}
    except (ValueError, RecursionError):
        found = {}
    values = {name.lower(): value for name, value in found.items()}
    is_object = isinstance(values.get("description"), str)
    if not is_object:
        head, *parts = _LABEL.split(answer)
        inner = _INNER_DESCRIPTION.search(head)  # "Here it is: description: …"
        if parts and inner and "description" not in map(str.lower, parts[::2]):
            parts = ["description", head[inner.end() :], *parts]
        lines: list[dict] = [{}]
        for name, value in zip(map(str.lower, parts[::2]), parts[1::2], strict=True):
            if name == "description":
                lines.append({})
            lines[-1][name] = value
        values = max(lines, key=len)
    apps, apps_whole = _read_list(values.get("apps"))
    topics, topics_whole = _read_list(values.get("topics"))
    description, code = _tidy(values.get("description")), _tidy(values.get("code"))
    words = re.findall(r"[^\W\d_]+", str(values.get("activity") or "").lower())
    activity = next((word for word in words if word in ACTIVITIES), words[0] if words else None)
    whole = description is not None and activity in ACTIVITIES and apps_whole and topics_whole
    return ParsedAnswer(description, activity, apps, topics, code, whole and not is_object)


def strip_thinking(text: Any) -> str:
    """An answer without its ``<think>`` blocks, closed or cut off; '' for anything but a string."""
    text = _THINKING.sub("", text) if isinstance(text, str) else ""
    return _THOUGHT_OUT.split(text)[-1].strip()


def _tidy(value: Any) -> str | None:
    text = " ".join(str(value or "").split()).strip("|｜ *")
    quoted = re.fullmatch(r"([\"`])([^\"`]*)\1", text)
    return (quoted[2].strip() if quoted else text) or None


def _read_list(value: Any) -> tuple[tuple[str, ...] | None, bool]:
    """The names in a field, and whether its list is whole (not cut off)."""
    if not isinstance(value, str):
        return (tidy_names(value), True) if isinstance(value, list) else (None, False)
    found = _LIST.search(value)
    inside, end = found.groups() if found else (value.split("\n\n")[0], value.strip())
    names = re.findall(r'[\s*-]*(?:"([^"\n]{0,300})"|([^,;|\n"]+))', inside)
    return tidy_names(quoted or plain for quoted, plain in names), bool(end)


def is_looping(text: str) -> bool:
    """Whether a text says the same again and again: zlib shrinks it to a third."""
    data = text.encode(errors="replace")
    return len(data) >= FROM_BYTES and len(data) / len(zlib.compress(data)) >= COMPRESSION


def judge_answers(requests: pd.DataFrame, frames: Sequence[Frame], events: Iterable[Mapping]) -> pd.DataFrame:
    """The answers frame: every request of the experiment in sending order, with COLUMNS."""
    rows = mark_complete(requests, events)
    answered, texts = rows["error_class"].isna(), rows["text"].fillna("").map(strip_thinking)
    read = [parse_answer(text) for text in texts]
    whole = [whole_text(said) if said.description else text for said, text in zip(read, texts, strict=True)]
    parsed = pd.DataFrame(read, columns=ParsedAnswer._fields, index=rows.index)
    rows = rows.assign(
        **parsed[["description", "activity", "apps", "topics"]],
        well_formed=answered & parsed["well_formed"].astype(bool),
        compared=parsed["description"].fillna(texts).where(answered, ""),
        said=pd.Series(whole, rows.index, dtype="str").where(answered, ""),
        cut=answered & (rows["finish_reason"] == "length"),
        looping=answered & texts.map(is_looping).astype(bool),
    )
    timed = rows[rows["phase"].isin(TIMED)]
    stored = {f.frame_id: f.reference.description.strip() for f in frames if f.reference}
    fitted_on = [*timed["compared"], *(stored.get(frame_id, "") for frame_id in timed["frame_id"].unique())]
    vectors_of = vectorize_texts(fitted_on, [*rows["compared"], *stored.values()])
    rows = pd.concat([rows, score_agreement(rows, frames, vectors_of)], axis=1)
    return pd.concat([rows, find_signs(rows, frames), judge_codes(rows)], axis=1)[list(COLUMNS)]


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
    names = ["server", "concurrency", "phase", "block", "rate_per_s", "sitting"]
    table = rows[[*names, "position", "role"]].assign(rate_per_s=rows["rate_per_s"].astype(float).fillna(0.0))
    events = list(events)
    for kind, count in ("cell_started", "requests"), ("cell_ended", "not_sent"):
        told = pd.DataFrame([event for event in events if event["event"] == kind], columns=[*names, count])
        told = told.fillna(0).astype({**table[names].dtypes, count: float})
        table = table.merge(told.drop_duplicates(names, keep="last"), on=names, how="left")
    positions = table.groupby(names)["position"]
    n_sent, upto = positions.transform("size"), positions.transform("max") + 1
    whole = n_sent + table["not_sent"] >= table["requests"].fillna(upto)
    is_alone = table.groupby(names[:-1])["sitting"].transform("nunique") == 1
    whole = whole.where(upto > 0, is_alone)  # the first edition told no positions
    is_confirm = table["phase"] == "confirm"
    blocks = table.assign(whole=whole).groupby(["phase", "block", "sitting"])
    has_both = blocks["role"].transform("nunique") == table["role"].nunique()
    whole = whole.where(~is_confirm, blocks["whole"].transform("all") & has_both)
    unit = table[names[:-1]].astype(object)
    unit.loc[is_confirm, ["server", "concurrency", "rate_per_s"]] = 0
    last_whole = table["sitting"].where(whole, -1).groupby([unit[name] for name in unit]).transform("max")
    return rows.assign(complete=whole & (table["sitting"] == last_whole))

"""The end of a closed loop, in which slots stand empty because no frame is left to send."""

import math

import numpy as np
import pandas as pd

from poc_lib.metrics import LEVEL, add_derived

LARGE_SHARE = 0.2  # of the wall clock: above it, the level's rate says as much about the sample as the server
_SUMS = (
    "n_requests",
    "n_ok",
    "wall_s",
    "tail_s",
    "_before_s",
    "_busy_before_s",
    "_busy_tail_s",
    "_work_before",
)
TAIL_COLUMNS = (
    *("n_requests", "n_ok", "wall_s", "tail_s", "tail_share", "in_flight_before", "in_flight_tail"),
    *("frames_per_s", "frames_per_s_without_tail", "note"),
)


def find_tail(start_s: np.ndarray, end_s: np.ndarray, slots: int) -> float:
    """The moment from which fewer than ``slots`` requests are in flight because none is left to send.

    Args:
        start_s, end_s: of all requests of a cell in one sitting, on one clock.
    """
    last_sent_s = start_s.max()
    if np.count_nonzero(end_s > last_sent_s) < slots:
        return float(last_sent_s)
    return float(end_s[end_s > last_sent_s].min())


def summarize_tail(requests: pd.DataFrame, per_block: bool = False) -> pd.DataFrame:
    """One row per (server, role, concurrency), or per block of it: how long the closed loop ran out.

    tail_s, tail_share: seconds, and part of wall_s, in which slots stood empty since no frame was left.
    in_flight_before, in_flight_tail: mean number of requests in flight before and in the tail.
    frames_per_s: answered ÷ wall clock; frames_per_s_without_tail: the work before the tail ÷ the time before
        it. An answer that lies in both counts with the share of its chunks that came before the tail: what
        was begun is neither lost nor counted whole, and waiting is no work. NaN where the slots were never
        all filled.
    note: a line where tail_share is above LARGE_SHARE, else None.

    Of a cell measured in several sittings only the last one ends in a tail. A cell that was given up after
    failures ends in one, too, though frames were left.
    """
    measured = add_derived(requests)
    rows = []
    for key, cell in measured.groupby([*LEVEL, "block"], sort=False):
        last = cell["sitting"].max()
        for sitting, part in cell.groupby("sitting"):
            facts = _sitting_facts(part, int(key[2]), ends_in_tail=sitting == last)
            rows.append({**dict(zip([*LEVEL, "block"], key, strict=True)), **facts})
    parts = pd.DataFrame(rows, columns=[*LEVEL, "block", *_SUMS])
    by = [*LEVEL, "block"] if per_block else LEVEL
    grouped = parts.groupby(by, sort=False)
    sums = grouped[list(_SUMS)].sum().assign(_blocks=grouped["block"].nunique()).reset_index()
    return _rates(sums)[[*by, *TAIL_COLUMNS]]


def _sitting_facts(part: pd.DataFrame, slots: int, ends_in_tail: bool) -> dict:
    start_s, end_s = part["start_s"].to_numpy(dtype=float), part["end_s"].to_numpy(dtype=float)
    begin_s, over_s = start_s.min(), end_s.max()
    tail_from_s = find_tail(start_s, end_s, slots) if ends_in_tail else over_s
    was_full = _was_full(start_s, end_s, slots)
    before_s = np.clip(tail_from_s - start_s, 0, end_s - start_s)
    answered = part[part["ok"].astype(bool)]
    return {
        "n_requests": len(part),
        "n_ok": len(answered),
        "wall_s": over_s - begin_s,
        "tail_s": over_s - tail_from_s,
        "_before_s": tail_from_s - begin_s if was_full else 0.0,
        "_busy_before_s": before_s.sum() if was_full else 0.0,
        "_busy_tail_s": (end_s - start_s - before_s).sum(),
        "_work_before": _work_until(answered, tail_from_s) if was_full else 0.0,
    }


def _work_until(answered: pd.DataFrame, moment_s: float) -> float:
    """Answers until a moment, those under way by the share of their chunks that had come."""
    work = 0.0
    for start_s, end_s, chunks_s in zip(
        answered["start_s"], answered["end_s"], answered["arrivals_s"], strict=True
    ):
        came = np.asarray(chunks_s, dtype=float) + start_s <= moment_s
        work += 1.0 if end_s <= moment_s else float(came.mean()) if came.size else 0.0
    return work


def _was_full(start_s: np.ndarray, end_s: np.ndarray, slots: int) -> bool:
    """Whether as many requests as slots were ever in flight together."""
    return any(np.count_nonzero((start_s <= moment) & (end_s > moment)) >= slots for moment in start_s)


def _rates(sums: pd.DataFrame) -> pd.DataFrame:
    wall_s, before_s = (
        sums["wall_s"].where(sums["wall_s"] > 0),
        sums["_before_s"].where(sums["_before_s"] > 0),
    )
    rates = sums.assign(
        tail_share=sums["tail_s"] / wall_s,
        in_flight_before=sums["_busy_before_s"] / before_s,
        in_flight_tail=sums["_busy_tail_s"] / sums["tail_s"].where(sums["tail_s"] > 0),
        frames_per_s=(sums["n_ok"] / wall_s).where(sums["n_ok"] > 0),
        frames_per_s_without_tail=(sums["_work_before"] / before_s).where(sums["n_ok"] > 0),
    )
    notes = [_note(row) for row in rates.to_dict("records")]
    return rates.assign(note=pd.Series(notes, index=rates.index, dtype=object))


def _note(row: dict) -> str | None:
    if not row["tail_share"] > LARGE_SHARE:
        return None
    frames = round(row["n_requests"] / row["_blocks"])
    wanted = math.ceil(frames * row["tail_share"] / LARGE_SHARE)
    return (
        f"the tail is {row['tail_share']:.0%} of the wall clock: {frames} frames are a small sample for "
        f"{row['concurrency']} in flight; about {wanted} would bring it to {LARGE_SHARE:.0%}"
    )

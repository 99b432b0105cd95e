"""When a run was measured: its sittings, where one broke off, what was measured half before, half after.

Pure: tables in, tables and sentences out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from poc_lib.plan import describe_cell
from poc_lib.records import Cell

CELL = ["server", "role", "phase", "concurrency", "arrivals", "rate_per_s", "block"]
CLOCK_JUMP_S = 5.0
MAX_LINES = 6
_SITTING_COLUMNS = [
    *("sitting", "started_at", "last_sign_at", "ended", "stopped_because", "broke_off_in"),
    *("n_replies", "n_on_file", "n_planned", "gap_s"),
]


def summarize_sittings(requests: pd.DataFrame, events: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """One row per sitting, oldest first.

    Args:
        requests: one row a reply (records.Reply); warm-up requests do not count.
        events: runs.read_events.

    Columns: sitting; started_at and last_sign_at (UTC: its first and last event or reply); ended (False: it
    broke off); stopped_because (None: killed without a word, or ended); broke_off_in (the cell in words;
    None: between two cells, or ended); n_replies of the sitting; n_on_file by its end; n_planned for the
    whole run (NaN: no event says it); gap_s of wall clock from its last sign to the next sitting's start.
    """
    events = list(events)
    counted = requests[requests["phase"] != "warmup"]
    numbers = sorted({*counted["sitting"], *(e["sitting"] for e in events if "sitting" in e)})
    rows, n_on_file = [], 0
    for number in numbers:
        replies = counted[counted["sitting"] == number]
        own = [event for event in events if event.get("sitting") == number]
        n_on_file += len(replies)
        rows.append(_sitting_facts(number, replies, own) | {"n_on_file": n_on_file})
    table = pd.DataFrame(rows, columns=_SITTING_COLUMNS)
    asked = [
        event["requests"] + int((counted["sitting"] < event["sitting"]).sum())
        for event in events
        if event["event"] == "sitting_started" and "requests" in event
    ]
    table["n_planned"] = max(asked, default=np.nan)
    table["gap_s"] = (table["started_at"].shift(-1) - table["last_sign_at"]) / pd.Timedelta(seconds=1)
    for column in ("stopped_because", "broke_off_in"):  # pandas makes NaN of None among texts
        table[column] = table[column].astype(object).where(table[column].notna(), None)
    return table


def _sitting_facts(number: int, replies: pd.DataFrame, events: Sequence[Mapping[str, Any]]) -> dict:
    sent_at = pd.to_datetime(replies["sent_at"], utc=True, format="ISO8601")
    answered_at = sent_at + pd.to_timedelta(replies["total_s"], unit="s")
    noted_at = [pd.Timestamp(event["at"]) for event in events]
    stopped = [event for event in events if event["event"] == "sitting_stopped"]
    ended = any(event["event"] == "sitting_ended" for event in events)
    return {
        "sitting": int(number),
        "started_at": min([*noted_at, *sent_at]),
        "last_sign_at": max([*noted_at, *answered_at]),
        "ended": ended,
        "stopped_because": stopped[-1].get("because") if stopped and not ended else None,
        "broke_off_in": None if ended else _open_cell(replies, events),
        "n_replies": len(replies),
    }


def _open_cell(replies: pd.DataFrame, events: Sequence[Mapping[str, Any]]) -> str | None:
    """The cell that was started and not ended; where a crash lost the events, that of the last reply."""
    cells = [event for event in events if event["event"] in ("cell_started", "cell_ended")]
    if cells:
        return describe_row(cells[-1]) if cells[-1]["event"] == "cell_started" else None
    if replies.empty:
        return None
    return describe_row(replies.sort_values("start_s").iloc[-1].to_dict())


def interrupted_cells(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per cell with replies in more than one sitting: CELL, cell (in words), sittings, n_requests.

    Such a cell drained and filled its slots twice, and what was in flight when it broke off took the server's
    time and counts nowhere: its rates are too low, the more so the more requests were in flight.
    """
    counted = requests[requests["phase"] != "warmup"]
    rows = [
        {
            **dict(zip(CELL, key, strict=True)),
            "cell": describe_row(dict(zip(CELL, key, strict=True))),
            "sittings": tuple(sorted(int(number) for number in cell["sitting"].unique())),
            "n_requests": len(cell),
        }
        for key, cell in counted.groupby(CELL, sort=False, dropna=False)
        if len(set(cell["sitting"])) > 1
    ]
    return pd.DataFrame(rows, columns=[*CELL, "cell", "sittings", "n_requests"])


def clock_jumps(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per moment at which wall clock and monotonic clock parted by more than CLOCK_JUMP_S.

    A closed laptop stops the monotonic clock (Linux CLOCK_MONOTONIC, macOS mach_absolute_time) and not the
    wall clock. Found between the starts of two requests, so a jump after a sitting's last start is not seen.
    Columns: sitting, start_s (of the first request after it), jump_s (> 0: slept, or the clock was set
    forward), cell (in words, of the request before it).
    """
    rows = []
    timed = requests[requests["phase"] != "warmup"]  # warm-up has a clock of its own
    for number, sitting in timed.groupby("sitting"):
        ordered = sitting.sort_values("start_s", kind="stable")
        sent_at = pd.to_datetime(ordered["sent_at"], utc=True, format="ISO8601")
        origin_s = (sent_at - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1) - ordered["start_s"]
        jumps_s = origin_s.diff().to_numpy()
        for place in np.flatnonzero(np.abs(jumps_s) > CLOCK_JUMP_S):
            rows.append(
                {
                    "sitting": int(number),
                    "start_s": float(ordered["start_s"].iloc[place]),
                    "jump_s": float(jumps_s[place]),
                    "cell": describe_row(ordered.iloc[place - 1].to_dict()),
                }
            )
    return pd.DataFrame(rows, columns=["sitting", "start_s", "jump_s", "cell"])


def interruption_lines(
    requests: pd.DataFrame,
    events: Iterable[Mapping[str, Any]],
    *,
    n_broken: int = 0,
    n_doubled: int = 0,
    n_sent_again: int = 0,
) -> list[str]:
    """Sentences that say where the run was interrupted and what of it is marked; [] for one quiet sitting.

    Args:
        n_broken, n_doubled, n_sent_again: as in runs.Damage.
    """
    sittings, marked = summarize_sittings(requests, events), interrupted_cells(requests)
    broken = sittings[~sittings["ended"].astype(bool)]
    named = broken.head(MAX_LINES).to_dict("records")
    lines = [_interruption(row, set(marked["cell"])) for row in named]
    if len(broken) > MAX_LINES:
        lines.append(f"And so {len(broken) - MAX_LINES} times more.")
    unnamed = marked[~marked["cell"].isin([row["broke_off_in"] for row in named])]
    if len(unnamed):
        lines.append(f"Measured in more than one sitting, and marked: {'; '.join(unnamed['cell'])}.")
    lines += [_jump(row) for row in clock_jumps(requests).to_dict("records")]
    if n_broken:
        lines.append(f"{_times(n_broken, 'half-written line')} set aside: no finished reply was in it.")
    if n_doubled:
        lines.append(
            f"{_times(n_doubled, 'reply', 'replies')} left out, to requests that have one already: two "
            "programs wrote this run, or a copy was merged into it."
        )
    if n_sent_again:
        lines.append(f"{_times(n_sent_again, 'failure')} sent again later, kept in requests.failed.jsonl.")
    return lines


def _interruption(row: Mapping[str, Any], marked: set[str]) -> str:
    of = "" if pd.isna(row["n_planned"]) else f" of {int(row['n_planned'])}"
    where = f" (in {row['broke_off_in']})" if row["broke_off_in"] else ""
    because = f" by {row['stopped_because']}" if row["stopped_because"] else ""
    line = f"Interrupted{because} after {row['n_on_file']}{of} requests{where}; "
    if pd.isna(row["gap_s"]):
        return f"{line}not continued."
    line += f"went on {describe_gap(row['gap_s'])} later"
    if row["broke_off_in"] in marked:
        line += "; that cell was measured in two sittings and is marked"
    return f"{line}."


def _jump(row: Mapping[str, Any]) -> str:
    long = describe_gap(abs(row["jump_s"]))
    happened = f"clock was set back by {long}"
    if row["jump_s"] > 0:
        happened = f"slept, or its clock was set forward, for {long}"
    whose = "The computer" if row["jump_s"] > 0 else "The computer's"
    return f"{whose} {happened} during {row['cell']}: the times of the requests then in flight are not sound."


def describe_row(row: Mapping[str, Any]) -> str:
    """The cell of a reply or of an event in words, as plan.describe_cell."""
    values = {name: row[name] for name in CELL}
    rate = values["rate_per_s"]
    return describe_cell(Cell(**values | {"rate_per_s": None if pd.isna(rate) else rate}))


def describe_gap(seconds: float) -> str:
    """A pause, roughly: "40 s", "3 min", "5 h", "2 days"."""
    for limit_s, unit_s, unit in ((90, 1, "s"), (5400, 60, "min"), (129600, 3600, "h")):
        if seconds < limit_s:
            return f"{round(max(seconds, 0) / unit_s)} {unit}"
    return f"{round(seconds / 86400)} days"


def _times(n: int, one: str, many: str | None = None) -> str:
    return f"{n} {one if n == 1 else many or one + 's'} {'was' if n == 1 else 'were'}"

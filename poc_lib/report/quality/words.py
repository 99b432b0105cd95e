"""Numbers about quality as words."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from poc_lib.report.wording import NO_BREAK, NOT_KNOWN, count, number

Row = pd.Series | Mapping[str, Any]


def at_level(row: Row) -> str:
    """Who answered, and under what load."""
    return f"{row['server']} at {row['concurrency']} in flight"


def percent(value: float | None, digits: int = 1) -> str:
    """A share of 0 to 1, as in "5.6 %"."""
    return number(None if value is None else 100 * value, digits, " %")


def percent_range(row: Row, name: str) -> str:
    """The 95 % interval of a share, as in "39–86 %"."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return NOT_KNOWN if pd.isna(low) else f"{100 * low:.0f}–{100 * high:.0f}{NO_BREAK}%"


def decimal_range(low: float, high: float, digits: int = 2, sign: str = "") -> str:
    """The 95 % interval of a measure, as in "0.39 to 0.86"; "no interval" where it is not known."""
    if pd.isna(low) or pd.isna(high):
        return "no interval"
    return f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"


def with_n(one: str, n: float) -> str:
    """A number with its noun, from a table's float."""
    return count(int(n), one)


def of_n(n_found: float, n: float, high: float) -> str:
    """A rare event with its exact bound, as in "0 of 64: below 5.6 %"."""
    if not n:
        return f"{int(n_found)} of 0"
    rate = f"{percent(n_found / n)}, " if n_found else ""
    return f"{int(n_found)} of {int(n)}: {rate}below{NO_BREAK}{percent(high)}"


def found_words(n_found: float, n: float, high: float, what: str) -> str:
    """The same in a sentence, as in "0 of 64 answers repeat (below 5.6 %)"."""
    rate = f"{percent(n_found / n)}, " if n_found else ""
    return f"{int(n_found)} of {int(n)} {what} ({rate}below{NO_BREAK}{percent(high)})"


def expected(n: float) -> str:
    """How many chance explains; a few thousandths are not none."""
    return f"<{NO_BREAK}0.1" if 0 < n < 0.05 else number(n, 1)


def frame_name(frame_id: str, numbers: Mapping[str, int]) -> str:
    """A frame by its number in the recording, which figures use, and its id."""
    return f"{frame_id} (no. {numbers[frame_id]})" if frame_id in numbers else str(frame_id)


def frame_numbers(frames: pd.DataFrame) -> dict[str, int]:
    """The number of each frame in recording order, from 1, as the heat maps count."""
    return {frame_id: i + 1 for i, frame_id in enumerate(frames["frame_id"])}


def p_value(value: float | None) -> str:
    """A probability; "not tested" where there is none."""
    if value is None or pd.isna(value):
        return "not tested"
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"

"""Days and time windows as people write them, in local time."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from poc_lib.errors import SetupProblem

DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time: the end itself is not part of it."""

    start_unix_s: float
    end_unix_s: float


def parse_window(selection: str) -> Window | None:
    """A day ``2026-11-20`` or a window ``2026-11-20T09:00/2026-11-20T12:30``; None: it is neither.

    Times without an offset are local, so a day may last 23 or 25 hours.

    Raises:
        SetupProblem: no such day or time, or a window that ends before it starts.
    """
    if DAY.fullmatch(selection):
        start = _moment(selection, selection)
        return Window(start.timestamp(), (start + timedelta(days=1)).timestamp())
    first, slash, last = selection.partition("/")
    if not slash or not DAY.match(first.strip()):
        return None
    window = Window(_moment(first, selection).timestamp(), _moment(last, selection).timestamp())
    if window.end_unix_s <= window.start_unix_s:
        raise SetupProblem(f"the time window '{selection}' ends before it starts: give start/end")
    return window


def _moment(text: str, selection: str) -> datetime:
    """A naive moment is local time: ``timestamp()`` reads it so, and adding a day keeps its wall clock."""
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise SetupProblem(
            f"'{selection}' is not a day or a time window ({error}): write 2026-11-20T09:00"
        ) from None

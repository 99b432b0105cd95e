"""Numbers as words."""

import pandas as pd

from poc_lib.report.blocks import Cell, Column

NOT_KNOWN = "n/a"
NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: float | None, digits: int = 2, unit: str = "") -> str:
    """A number with fixed digits and its unit; "n/a" where it is not known."""
    if value is None or pd.isna(value):
        return NOT_KNOWN
    return f"{value:,.{digits}f}{unit}".replace(" ", NO_BREAK)


def share(value: float | None) -> str:
    """A share of 0 to 1 in percent; "n/a" where it is not known."""
    return number(None if value is None else 100 * value, 0, "%")


def times(value: float | None) -> str:
    """A factor, as in "2.41 ×"."""
    return number(value, 2, " ×")


def seconds(value: float | None) -> str:
    """A time in seconds with its unit."""
    return number(value, 2, " s")


def milliseconds(value: float | None) -> str:
    """A time of seconds shown in milliseconds, for times per token."""
    return number(None if value is None else 1000 * value, 1, " ms")


def interval(row: pd.Series) -> str:
    """The 95 % interval of a row's match rate, as in "39–86%"."""
    return f"{100 * row['match_rate_low']:.0f}–{100 * row['match_rate_high']:.0f}%"


def count(n: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 answer", "2 answers"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def list_words(words: list[str]) -> str:
    """Words as "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def cells(*values: str | Cell) -> tuple[Cell, ...]:
    """A row: plain text becomes a plain cell."""
    return tuple(value if isinstance(value, Cell) else Cell(str(value)) for value in values)


def columns(*titles: str, text: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns by title; those named in ``text`` stand left."""
    return tuple(Column(title, numeric=title not in text) for title in titles)


def state(met: object) -> Cell:
    """A criterion's state, with a sign and a word: no meaning hangs on colour alone."""
    if met is True:
        return Cell("✓ met", "good")
    return Cell("✗ not met", "bad") if met is False else Cell("? not settled", "warn")

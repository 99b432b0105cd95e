"""Any table of the library as HTML; every text in it is escaped."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown

WIDE = "overflow:auto;max-width:100%"
SCROLL = f"{WIDE};max-height:36em"
MANY_ROWS = 30  # a longer table scrolls in its own box
SHORT_TEXT = 24  # characters that stay on one line
LONG_TEXT = 60  # characters that must not be squeezed into a column of one word


def table(content: pd.DataFrame | Mapping, *names: str, empty: str = "Nothing to show.") -> HTML | Markdown:
    """Any table of the library, or a mapping as two named columns; a long one scrolls in its own box."""
    frame = content if isinstance(content, pd.DataFrame) else pd.DataFrame(content.items(), columns=names)
    if frame.empty:
        return Markdown(empty)
    box = SCROLL if len(frame) > MANY_ROWS else WIDE
    return HTML(f'<div style="{box}">{table_html(frame)}</div>')


def table_html(frame: pd.DataFrame, right: Sequence[bool] | None = None) -> str:
    """Escaped cells, numbers to the right, text to the left; colours are the page's own.

    Args:
        right: which columns stand right; None: those of numbers.
    """
    numeric = right or [pd.api.types.is_numeric_dtype(frame[column]) for column in frame.columns]
    headings = [str(column).replace("_", " ") for column in frame.columns]
    heads = "".join(_cell("th", text, right) for text, right in zip(headings, numeric, strict=True))
    rows = [
        "".join(_cell("td", _shown(value), right) for value, right in zip(row, numeric, strict=True))
        for row in frame.itertuples(index=False, name=None)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, value: object, right: bool) -> str:
    text = str(value)
    wrap = "nowrap" if tag == "td" and len(text) <= SHORT_TEXT else "normal"
    style = f"text-align:{'right' if right else 'left'};white-space:{wrap}"
    if tag == "td" and len(text) > LONG_TEXT:
        style += ";min-width:18em"
    return f'<{tag} style="{style}">{html.escape(text)}</{tag}>'


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if value is None:
        return "–"
    return value

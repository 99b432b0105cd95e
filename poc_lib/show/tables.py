"""The parts that notebooks and pages are made of, each as HTML and as Markdown that say the same.

A table is a frame and one template a column. A part is a pair of templates under templates/parts; whatever
they are given passes ``poc_lib.text`` on its way, so that foreign text can be nothing but text.
"""

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from poc_lib import text
from poc_lib.params import Params
from poc_lib.records import Finding

TEMPLATES = Path(__file__).resolve().parent / "templates"
FIGURE_TYPE = "application/vnd.poc.figure+svg"  # how a figure's SVG travels in a notebook's outputs
MISSING = "–"
STATES = {"problem": "problem", "warning": "warning", "note": "note", "ok": "fine"}  # the gravest first
CRITERION_STATES = {"problem": "not met", "warning": "open", "note": "not known", "ok": "met"}
_HARMLESS = re.compile(r"(?!.*www)(?!\d+[.)]\s)[\d.,%()×·–∞a-z ]+")  # needs no escaping in Markdown


@dataclass(frozen=True, slots=True)
class Shown:
    """One thing to look at: HTML for a notebook and its page, Markdown for report.md."""

    html: str
    markdown: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html, "text/markdown": self.markdown, "text/plain": self.markdown}


def render_part(name: str, **context: Any) -> Shown:
    """The part of that name under templates/parts, filled; every text in the context is escaped."""
    html, markdown = (
        _environment(escape).get_template(f"{name}.{kind}.j2").render(context)
        for kind, escape in (("html", text.html), ("md", _as_markdown))
    )
    return Shown(html.strip(), re.sub(r"\n{3,}", "\n\n", markdown).strip())


def _as_markdown(value: Any) -> str:
    return value if isinstance(value, str) and _HARMLESS.fullmatch(value) else text.markdown(value)


@cache
def _environment(escape: Callable[[Any], str]) -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES / "parts"),
        autoescape=True,
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escape(value)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def say(sentence: str) -> Shown:
    """One sentence as a paragraph."""
    return render_part("say", sentence=sentence)


def interval(value: Any, low: Any = None, high: Any = None, unit: str = " ×") -> str:
    """The one notation of a value and its interval, ``2.41 × (2.20 to 2.66)``; a dash for a missing value."""
    if pd.isna(value):
        return MISSING
    return f"{value:.2f}{unit}" + ("" if pd.isna(low) or pd.isna(high) else f" ({low:.2f} to {high:.2f})")


def count_range(counts: pd.Series) -> str:
    """How many, in words: "24", or "24 to 144" where they differ."""
    return " to ".join(f"{n:.0f}" for n in sorted({counts.min(), counts.max()}))


def table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    caption: str = "",
    about: str = "",
    empty: str = "Nothing to show.",
    marked: str = "",
    fold: str = "",
) -> Shown:
    """A frame as a table of the columns that the templates name.

    Args:
        frame: one row a table row.
        columns: heading -> template over the frame's columns, e.g. {"frames/s": "{frames_per_s:.2f}"}; None:
            every column as it is.
        caption: what the rows are and how many (n) they rest on.
        about: the table's name for screen readers; empty: its caption.
        empty: the sentence in place of a table without rows.
        marked: column that is true in the rows to be set in bold.
        fold: with a text, the table opens at a click on it.
    """
    if frame.empty:
        return say(empty)
    columns = columns or {str(name).replace("_", " "): f"{{{name}}}" for name in frame}
    rows = [
        ([fill_template(template, row) for template in columns.values()], row.get(marked) is True)
        for row in frame.to_dict("records")
    ]
    fields = [[part[1] for part in string.Formatter().parse(t) if part[1]] for t in columns.values()]
    numeric = [all(map(pd.api.types.is_numeric_dtype, map(frame.get, names))) for names in fields]
    named = {"caption": caption, "about": about, "fold": fold}
    return render_part("table", heads=list(columns), rows=rows, numeric=numeric, **named)


def fill_template(template: str, row: Mapping[str, Any]) -> str:
    """The template with the row's values, not yet escaped; a dash where one of them is missing."""
    filled = ""
    for literal, field, spec, _ in string.Formatter().parse(template):
        value = row[field] if field else ""
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return MISSING
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        filled += literal + (format(value, spec) if is_number else str(value))
    return filled


def findings(
    found: Iterable[Finding], about: str = "", but: Sequence[str] = (), empty: str = "Nothing was found."
) -> Shown | None:
    """Judged sentences as a list, the gravest first; criteria keep their order.

    Args:
        found: findings of any kind.
        about: the kind that is shown; empty: all.
        but: kinds that are left out.
        empty: the sentence in place of an empty list; with "" there is nothing to show then.
    """
    chosen = [finding for finding in found if about in ("", finding.about) and finding.about not in but]
    if not chosen:
        return say(empty) if empty else None
    if about == "criteria":
        return render_part("findings", findings=chosen, names=CRITERION_STATES)
    return render_part("findings", findings=sorted(chosen, key=gravity), names=STATES)


def gravity(finding: Finding) -> int:
    """0 for a problem, 1 for a warning, and so on: what findings are sorted by."""
    return list(STATES).index(finding.state)


def params_table(params: Params) -> Shown:
    """Every parameter with its value and meaning, folded."""
    rows = [(n, getattr(params, n), field.description) for n, field in type(params).model_fields.items()]
    frame = pd.DataFrame(rows, columns=["parameter", "value", "meaning"]).astype(str)
    return table(frame, about="Parameters", fold="All parameters")

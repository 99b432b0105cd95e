"""The parts that notebooks and pages are made of, each as HTML and as Markdown that say the same.

A table is a frame and one template a column. A part is a pair of templates under templates/parts; whatever
they are given passes ``poc_lib.text`` on its way, so that foreign text can be nothing but text.
"""

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from poc_lib import text
from poc_lib.metrics.speedup import interval as interval  # the one notation, for tables as for sentences
from poc_lib.params import Params
from poc_lib.records import Finding

TEMPLATES = Path(__file__).resolve().parent / "templates"
STATES = {"problem": "problem", "warning": "warning", "note": "note", "ok": "fine"}  # the gravest first
CRITERION_STATES = {"problem": "not met", "warning": "open", "note": "not known", "ok": "met"}
HARMLESS = re.compile(r"(?!.*www)(?!\d+[.)]\s)[\d.,%()×·–∞a-z ]+")  # needs no escaping in Markdown


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
        _environment(kind).get_template(f"{name}.{kind}.j2").render(context).strip("\n")
        for kind in ("html", "md")
    )
    return Shown(html, re.sub(r"\n{3,}", "\n\n", markdown))


@cache
def _environment(kind: str) -> Environment:
    def escape(value: Any) -> Any:
        if hasattr(value, "__html__") or (kind == "md" and HARMLESS.fullmatch(str(value))):
            return Markup(value)
        return Markup(text.html(value) if kind == "html" else text.markdown(value))

    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=FileSystemLoader(TEMPLATES / "parts"), finalize=escape, **options)


def say(sentence: str) -> Shown:
    """One sentence as a paragraph."""
    return render_part("say", sentence=sentence)


def count_range(counts: pd.Series) -> str:
    """How many, in words: "24", or "24 to 144" where they differ."""
    return " to ".join(f"{n:.0f}" for n in sorted({counts.min(), counts.max()}))


def table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    caption: str = "",
    empty: str = "Nothing to show.",
    marked: str = "",
    fold: str = "",
) -> Shown | None:
    """A frame as a table of the columns that the templates name.

    Args:
        columns: heading -> template over the frame's columns, e.g. {"frames/s": "{frames_per_s:.2f}"}; None:
            every column as it is.
        caption: what the rows are and how many (n) they rest on.
        empty: the sentence in place of a table without rows; with "" there is nothing to show then.
        marked: column that is true in the rows to be set in bold.
        fold: with a text, the table opens at a click on it.
    """
    if frame.empty:
        return say(empty) if empty else None
    columns = columns or {str(name).replace("_", " "): f"{{{name}}}" for name in frame}
    rows = [
        ([fill_template(template, row) for template in columns.values()], row.get(marked) is True)
        for row in frame.to_dict("records")
    ]
    fields = [[part[1] for part in string.Formatter().parse(t) if part[1]] for t in columns.values()]
    numeric = [all(map(pd.api.types.is_numeric_dtype, map(frame.get, names))) for names in fields]
    return render_part("table", heads=list(columns), rows=rows, numeric=numeric, caption=caption, fold=fold)


def fill_template(template: str, row: Mapping[str, Any]) -> str:
    """The template with the row's values, not yet escaped; a dash where one of them is missing."""
    values = [row[field] for _, field, _, _ in string.Formatter().parse(template) if field]
    is_missing = any(pd.api.types.is_scalar(value) and pd.isna(value) for value in values)
    return interval(None) if is_missing else template.format_map(row)


def findings(
    found: Iterable[Finding], about: str = "", but: Sequence[str] = (), empty: str = "Nothing was found."
) -> Shown | None:
    """Judged sentences as a list, the gravest first; criteria keep their order.

    Args:
        about: the kind that is shown; empty: all but the kinds in ``but``.
        empty: the sentence in place of an empty list; with "" there is nothing to show then.
    """
    chosen = [finding for finding in found if about in ("", finding.about) and finding.about not in but]
    if not chosen:
        return say(empty) if empty else None
    names, key = (CRITERION_STATES, lambda _: 0) if about == "criteria" else (STATES, gravity)
    return render_part("findings", findings=sorted(chosen, key=key), names=names)


def gravity(finding: Finding) -> int:
    """0 for a problem, 1 for a warning, and so on: what findings are sorted by."""
    return list(STATES).index(finding.state)


def params_table(params: Params) -> Shown:
    """Every parameter with its value and meaning, folded."""
    rows = [(n, getattr(params, n), field.description) for n, field in type(params).model_fields.items()]
    frame = pd.DataFrame(rows, columns=["parameter", "value", "meaning"]).astype(str)
    return table(frame, fold="All parameters")

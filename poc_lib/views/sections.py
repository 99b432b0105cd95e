"""The words and tables of the report's sections, as a notebook shows them; it draws the figures itself."""

import html

import pandas as pd
from IPython.display import HTML

from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Bullets, Note, Section, Table, Text
from poc_lib.report.fairness import fairness_section
from poc_lib.report.html import mark_code
from poc_lib.report.open_loop import open_loop_section
from poc_lib.report.phases import phases_section
from poc_lib.views.tables import table_html

_BOX = "overflow:auto;max-width:100%"
_NOTE = "border-left:.3em solid {};padding:.3em 1em"
_COLORS = {"good": "#009e73", "bad": "#d55e00", "warn": "#e69f00", "muted": "#888", "plain": "#888"}


def fairness_table(analysis: Analysis) -> HTML:
    """What makes the comparison less than fair, and where the run was interrupted."""
    return show_section(fairness_section(analysis))


def phases_table(analysis: Analysis) -> HTML:
    """Prefill and decode per level, the ceiling, the tail, and what repeated images gave."""
    return show_section(phases_section(analysis))


def open_loop_table(analysis: Analysis) -> HTML:
    """Latency and goodput per rate."""
    section = open_loop_section(analysis)
    return (
        HTML("<p>No arrival rate was asked for (<code>open_loop_rates</code>).</p>")
        if (section is None)
        else show_section(section)
    )


def show_section(section: Section) -> HTML:
    """The texts, notes, lists and tables of a section."""
    return HTML("".join(_block_html(block) for block in section.blocks))


def _block_html(block: object) -> str:
    if isinstance(block, Text):
        return f"<p>{mark_code(block.text)}</p>"
    if isinstance(block, Note):
        return f'<p style="{_NOTE.format(_COLORS[block.tone])}">{mark_code(block.text)}</p>'
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{mark_code(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Table):
        return _table_block_html(block)
    return ""


def _table_block_html(block: Table) -> str:
    names = [column.title for column in block.columns]
    frame = pd.DataFrame([[cell.text for cell in row] for row in block.rows], columns=names)
    right = [column.numeric for column in block.columns]
    caption = f"<p><small>{html.escape(block.caption)}</small></p>"
    return f'<div style="{_BOX}">{table_html(frame, right)}</div>{caption}'

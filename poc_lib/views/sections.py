"""The words and tables of the report's sections, as a notebook shows them; it draws the figures itself."""

import html
from collections.abc import Sequence

import pandas as pd
from IPython.display import HTML

from poc_lib.analysis import Analysis
from poc_lib.comparison import Comparison
from poc_lib.params import Params
from poc_lib.report.blocks import Block, Bullets, Figures, Heading, Note, Section, Table, Text
from poc_lib.report.comparison import comparison_section
from poc_lib.report.fairness import fairness_section
from poc_lib.report.html import mark_code
from poc_lib.report.open_loop import open_loop_section
from poc_lib.report.phases import phases_section
from poc_lib.report.quality import confusion_section, health_section
from poc_lib.report.quality.agreement import agreement_blocks
from poc_lib.report.quality.calibration import calibration_blocks
from poc_lib.report.quality.labels import label_blocks
from poc_lib.report.quality.questions import level_blocks, model_blocks
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


def comparison_table(comparison: Comparison | None) -> HTML:
    """This run held against the ones named in ``compare_with``: what changed, and what that did."""
    if comparison is None:
        return HTML("<p>No other run was named (<code>compare_with</code>).</p>")
    return show_section(comparison_section(comparison.table, comparison.differences))


def quality_questions(analysis: Analysis) -> HTML:
    """Human labels where there are any, then: does parallelism cost quality, and does the model?"""
    return _show_blocks([*label_blocks(analysis), *level_blocks(analysis), *model_blocks(analysis)])


def calibration_table(analysis: Analysis, params: Params) -> HTML:
    """What an agreement is worth: floor, ceiling, AUC and match rates."""
    return _show_blocks(calibration_blocks(analysis, params)[1:])


def agreement_table(analysis: Analysis, params: Params) -> HTML:
    """Agreement per level, with the stored reference and with the baseline."""
    return _show_blocks(agreement_blocks(analysis, params)[1:])


def confusion_table(analysis: Analysis) -> HTML:
    """The state of each level, canaries and leaks, signs with their tests, suspicious answers."""
    return show_section(confusion_section(analysis))


def health_table(analysis: Analysis) -> HTML:
    """What is wrong with answers in themselves, per level."""
    return show_section(health_section(analysis))


def show_section(section: Section) -> HTML:
    """The texts, notes, lists and tables of a section."""
    return _show_blocks(section.blocks)


def _show_blocks(blocks: Sequence[Block]) -> HTML:
    """Headings stay only where words or a table follow: figures a notebook draws itself."""
    shown = [block for block in blocks if not isinstance(block, Figures)]
    following = [*shown[1:], None]
    kept = [
        block
        for block, after in zip(shown, following, strict=True)
        if not (isinstance(block, Heading) and (after is None or isinstance(after, Heading)))
    ]
    return HTML("".join(_block_html(block) for block in kept))


def _block_html(block: object) -> str:
    if isinstance(block, Heading):
        return f"<h4>{html.escape(block.text)}</h4>"
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

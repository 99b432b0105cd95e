"""Is the comparison fair, and was the run whole? What a reader must hold against the numbers."""

from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Block, Note, Section, Table
from poc_lib.report.wording import Cell, cells, columns

NOTHING_FOUND = "Nothing was found that would make the comparison unfair."


def fairness_section(analysis: Analysis) -> Section:
    """One line for each thing that differs between the sides, and where the run was interrupted."""
    blocks: list[Block] = [Note(line, "warn") for line in analysis.interruptions]
    lines = sorted(analysis.fairness, key=lambda line: line.severity != "warning")
    if not lines:
        return Section("fairness", "Is the comparison fair?", (*blocks, Note(NOTHING_FOUND, "good")))
    rows = tuple(
        cells(
            Cell("! warning", "warn") if line.severity == "warning" else Cell("note"),
            line.about,
            line.text,
            line.detail,
        )
        for line in lines
    )
    titles = ("weight", "about", "found", "what it means")
    caption = "What differs between the sides, or changed during the run. Warnings may move the speed-up."
    blocks.append(Table(caption, columns(*titles, text=titles), rows, as_cards=True))
    return Section("fairness", "Is the comparison fair?", tuple(blocks))

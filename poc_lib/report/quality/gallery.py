"""Answers beside their image and reference, their differences marked."""

from collections.abc import Sequence

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.report.blocks import Block, Gallery, Note, Sample, Section, Text

LEAD = (
    "Proven leaks first, then suspicious answers beside the other image, then those least like their "
    f"reference, then some drawn at random. The {STORED_REFERENCE} was written by an earlier "
    "model: it is not "
    "the truth."
)
MARKS = (
    "Marks: in the answer, words that the reference lacks (underlined; bold in Markdown); in the reference, "
    "words that the answer lacks (struck); in another frame's text, words that the answer shares with it "
    "(double underlined; bold in Markdown). A different wording is not an error."
)
LEFT_OUT = "Screenshots are left out (`screenshots: false`); the texts still describe them."


def samples_section(samples: Sequence[Sample], screenshots: bool) -> Section:
    """The samples, and how to read their marks."""
    blocks: list[Block] = [Text(LEAD), Text(MARKS)]
    if not screenshots:
        blocks.append(Note(LEFT_OUT, "warn"))
    blocks.append(Gallery(tuple(samples)) if samples else Text("There is no answer to show."))
    return Section("samples", "Samples", tuple(blocks))

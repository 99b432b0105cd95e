"""Are the answers still right? Human labels where there are any, the two questions, then the yardstick."""

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.params import Params
from poc_lib.report.blocks import Block, Note, Section
from poc_lib.report.quality.agreement import agreement_blocks
from poc_lib.report.quality.calibration import calibration_blocks
from poc_lib.report.quality.labels import label_blocks
from poc_lib.report.quality.questions import level_blocks, model_blocks

NOTHING_SCORED = "Nothing could be scored against a stored reference: no answered frame has a usable one."


def accuracy_section(analysis: Analysis, params: Params) -> Section:
    """Labels, the cost of load, the cost of the model, what an agreement is worth, agreement per level."""
    blocks: list[Block] = []
    stored = analysis.agreement[analysis.agreement["against"] == STORED_REFERENCE]
    if not stored["n_scored"].sum():
        blocks.append(Note(NOTHING_SCORED, "warn"))
    blocks += label_blocks(analysis)
    blocks += level_blocks(analysis)
    blocks += model_blocks(analysis)
    blocks += calibration_blocks(analysis, params)
    blocks += agreement_blocks(analysis, params)
    return Section("accuracy", "Accuracy", tuple(blocks))

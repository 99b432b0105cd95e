"""What makes a comparison of two servers less than fair, each line computed from the run. Pure."""

from poc_lib.fairness.all_lines import fairness_lines
from poc_lib.fairness.line import FairnessLine

__all__ = ["FairnessLine", "fairness_lines"]

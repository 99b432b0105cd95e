"""Several runs held together: before and after an upgrade, 3-bit and 4-bit, 1920 and 1024 pixels wide.

Unlike runs are refused with the reason named. Alike ones are compared level by level, as they were measured
and, where both measured the same baseline, by what they gained over it.
"""

from poc_lib.comparison.differences import Difference, check_alike, refuse_unlike
from poc_lib.comparison.gathering import Comparison, gather_comparison
from poc_lib.comparison.sentences import (
    attribution_sentence,
    comparison_sentence,
    drift_sentences,
    leading_ratio,
    reason_sentence,
    unlike_sentence,
)
from poc_lib.comparison.tables import compare_runs

__all__ = [
    "Comparison",
    "Difference",
    "attribution_sentence",
    "check_alike",
    "compare_runs",
    "comparison_sentence",
    "drift_sentences",
    "gather_comparison",
    "leading_ratio",
    "reason_sentence",
    "refuse_unlike",
    "unlike_sentence",
]

"""Is every answer still about its own image? Three signs of a mix-up, each with what it cannot see.

A duplicate: the same answer to two frames that look different. A wrong neighbour: an answer that clearly
fits another frame's stored reference and not its own. A replay: an answer that repeats an earlier one and
came too fast. All are suspicions: a terse model repeats itself, and a stored reference may be wrong. So each
is counted per server and level, and what grows with the level is what load does.
"""

from poc_lib.confusion.fits import find_wrong_neighbours, fit_matrix, judge_answers
from poc_lib.confusion.limits import LOOKS_DIFFERENT_BITS, ConfusionLimits
from poc_lib.confusion.looks import hash_distance, visual_hash
from poc_lib.confusion.repeats import find_duplicates, find_replays
from poc_lib.confusion.summary import list_suspicious, summarize_confusion

__all__ = [
    "LOOKS_DIFFERENT_BITS",
    "ConfusionLimits",
    "find_duplicates",
    "find_replays",
    "find_wrong_neighbours",
    "fit_matrix",
    "hash_distance",
    "judge_answers",
    "list_suspicious",
    "summarize_confusion",
    "visual_hash",
]

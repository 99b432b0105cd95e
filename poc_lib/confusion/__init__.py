"""Is every answer still about its own image? Four signs of a mix-up, each with what it cannot see.

A wrong neighbour: an answer that clearly fits another frame's reference and not its own. A duplicate: the
same answer, or nearly, to two frames that look different. A replay: an answer that repeats the previous or
first one and came too fast. A misplaced answer: it is like what is said of another image without load, by
more than this server's answers stray. All are suspicions, not proof: a terse model repeats itself, and a
stored reference may be wrong. So each is counted per server and level and tested against chance.
"""

from poc_lib.confusion.fits import find_wrong_neighbours, fit_matrix, judge_answers
from poc_lib.confusion.limits import ConfusionLimits
from poc_lib.confusion.repeats import find_duplicates, find_replays
from poc_lib.confusion.summary import (
    ConfusionTables,
    examine_confusion,
    list_suspicious,
    summarize_confusion,
)
from poc_lib.looks import LOOKS_DIFFERENT_BITS, hash_distance, visual_hash

__all__ = [
    "LOOKS_DIFFERENT_BITS",
    "ConfusionLimits",
    "ConfusionTables",
    "examine_confusion",
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

"""How well answers agree with a reference: tables of requests and frames in, tables of scores out."""

from poc_lib.accuracy.scores import SCORE_COLUMNS, STORED_REFERENCE, score_answers
from poc_lib.accuracy.similarity import difflib_ratio
from poc_lib.accuracy.summary import Samples, pick_samples, summarize_agreement
from poc_lib.accuracy.yardsticks import summarize_yardsticks

__all__ = [
    "SCORE_COLUMNS",
    "STORED_REFERENCE",
    "Samples",
    "difflib_ratio",
    "pick_samples",
    "score_answers",
    "summarize_agreement",
    "summarize_yardsticks",
]

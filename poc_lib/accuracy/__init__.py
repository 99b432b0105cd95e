"""How well answers agree with a reference: tables of requests and frames in, tables of scores out."""

from poc_lib.accuracy.calibration import CALIBRATION_COLUMNS, summarize_calibration
from poc_lib.accuracy.clusters import frame_groups
from poc_lib.accuracy.comparisons import (
    JUDGED_BY,
    LEVELS_COLUMNS,
    MODELS_COLUMNS,
    compare_levels,
    compare_models,
    judge_margin,
)
from poc_lib.accuracy.pairs import MEASURES
from poc_lib.accuracy.scores import SCORE_COLUMNS, STORED_REFERENCE, score_answers, texts_of
from poc_lib.accuracy.similarity import difflib_ratio, embedding_cosine
from poc_lib.accuracy.summary import AGREEMENT_COLUMNS, Samples, pick_samples, summarize_agreement
from poc_lib.accuracy.yardsticks import summarize_yardsticks

__all__ = [
    "AGREEMENT_COLUMNS",
    "CALIBRATION_COLUMNS",
    "JUDGED_BY",
    "LEVELS_COLUMNS",
    "MEASURES",
    "MODELS_COLUMNS",
    "SCORE_COLUMNS",
    "STORED_REFERENCE",
    "Samples",
    "compare_levels",
    "compare_models",
    "difflib_ratio",
    "embedding_cosine",
    "frame_groups",
    "judge_margin",
    "pick_samples",
    "score_answers",
    "summarize_agreement",
    "summarize_calibration",
    "summarize_yardsticks",
    "texts_of",
]

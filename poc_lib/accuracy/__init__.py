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
from poc_lib.accuracy.human import (
    LABEL_SCORE_COLUMNS,
    LABEL_SUMMARY_COLUMNS,
    score_labels,
    summarize_labels,
)
from poc_lib.accuracy.pairs import MEASURES
from poc_lib.accuracy.scores import SCORE_COLUMNS, STORED_REFERENCE, score_answers, texts_of
from poc_lib.accuracy.sentences import (
    MEASURE_NAMES,
    calibration_sentence,
    level_sentence,
    model_sentence,
)
from poc_lib.accuracy.similarity import difflib_ratio, embedding_cosine
from poc_lib.accuracy.summary import AGREEMENT_COLUMNS, Samples, pick_samples, summarize_agreement

__all__ = [
    "AGREEMENT_COLUMNS",
    "CALIBRATION_COLUMNS",
    "JUDGED_BY",
    "LABEL_SCORE_COLUMNS",
    "LABEL_SUMMARY_COLUMNS",
    "LEVELS_COLUMNS",
    "MEASURES",
    "MEASURE_NAMES",
    "MODELS_COLUMNS",
    "SCORE_COLUMNS",
    "STORED_REFERENCE",
    "Samples",
    "calibration_sentence",
    "compare_levels",
    "compare_models",
    "difflib_ratio",
    "embedding_cosine",
    "frame_groups",
    "judge_margin",
    "level_sentence",
    "model_sentence",
    "pick_samples",
    "score_answers",
    "score_labels",
    "summarize_agreement",
    "summarize_calibration",
    "summarize_labels",
    "texts_of",
]

"""How far from its mean a level's agreement may lie: the intervals for a figure of the calibration."""

import pandas as pd

from poc_lib.accuracy.clusters import Groups, group_labels
from poc_lib.accuracy.pairs import MEASURES
from poc_lib.accuracy.summary import LEVEL_KEY
from poc_lib.intervals.simple import mean_interval

OWN_MEAN_COLUMNS = (*LEVEL_KEY, "measure", "own_mean", "own_low", "own_high", "n_own", "n_groups")


def summarize_own_means(scores: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """The mean of each measure per (server, role, concurrency, against) with its 95 % interval.

    Args:
        scores: the table of ``score_answers``.
        groups: near-duplicate frames (``frame_groups``).

    Returns:
        One row per level, reference and measure with OWN_MEAN_COLUMNS, where anything was scored; ``own_low``
        and ``own_high`` as intervals.mean_interval, cut at 0 and 1, NaN with one group of frames.
    """
    rows = []
    for key, level in scores.groupby(LEVEL_KEY, sort=False):
        labels = group_labels(level["frame_id"], groups)
        for measure in MEASURES:
            found = mean_interval(level[measure], labels)
            if found.n:
                low, high = max(found.low, 0.0), min(found.high, 1.0)
                rows.append((*key, measure, level[measure].mean(), low, high, found.n, found.n_groups))
    return pd.DataFrame(rows, columns=list(OWN_MEAN_COLUMNS))

"""How much faster one run was than another, with what its blocks and its frames leave open. Pure.

The runs were measured at different times, so their blocks are no pairs: each run's blocks say how much it
would differ if measured again. Their frames are the same, so frames pair across runs: how differently groups
of frames gained says how much the ratio would differ on other frames of the kind.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from poc_lib.intervals.crossed import log_ratio
from poc_lib.intervals.groups import group_for_intervals
from poc_lib.intervals.shares import total_by_group
from poc_lib.intervals.speedups import common_pairs

NAN = float("nan")
CONFIDENCE = 0.95
FEWEST_BLOCKS = 2
SUMMED = ("output_tokens", "wall_share_s", "output_tokens_baseline", "wall_share_s_baseline")


@dataclass(frozen=True, slots=True)
class Ratio:
    """One run's rate ÷ another's with its 95 % interval; NaN where it cannot be told."""

    value: float = NAN
    low: float = NAN
    high: float = NAN
    n_blocks: int = 0  # of the run that has fewer
    n_groups: int = 0  # groups of frames that count as independent
    n_frames: int = 0  # frames answered in every compared block of both runs

    @property
    def leaves_out_1(self) -> bool:
        """True if a difference is seen; without an interval none is."""
        return self.low > 1 or self.high < 1


@dataclass(frozen=True, slots=True)
class Measured:
    """One run's answered requests of a candidate's level and, for a ratio of speed-ups, of its baseline's.

    Rows of intervals.shares.answered_shares: block, frame_id, output_tokens, wall_share_s.
    """

    candidate: pd.DataFrame
    baseline: pd.DataFrame | None = None


def rate_ratio(
    first: Measured, other: Measured, frames: pd.DataFrame, in_flight: int, work: str = "frames"
) -> Ratio:
    """The other run's rate ÷ the first's; with baselines, its speed-up over the baseline ÷ the first's.

    Over the frames that both runs answered in every block. Candidate and baseline of a run pair by block.

    Args:
        frames: one row a frame with frame_id, timestamp_s and phash.
        in_flight: the largest concurrency involved: a wave of so many requests is one unit.
        work: "frames" or "tokens".
    """
    pairs = _pairs(first), _pairs(other)
    shared = set(pairs[0]["frame_id"]) & set(pairs[1]["frame_id"])
    if not shared:
        return Ratio()
    compared = frames[frames["frame_id"].isin(shared)]
    groups = group_for_intervals(compared, in_flight)
    estimates, linear = zip(*(_log_rate(rows, groups, work) for rows in pairs), strict=True)
    centre, half = float(estimates[1] - estimates[0]), half_width(*linear)
    low, value, high = (float(np.exp(x)) for x in (centre - half, centre, centre + half))
    return Ratio(value, low, high, min(map(len, linear)), int(groups.nunique()), len(shared))


def _log_rate(pairs: pd.DataFrame, groups: pd.Series, work: str) -> tuple[float, np.ndarray]:
    """The logarithm of a rate or a speed-up, and its linearisation by blocks × groups (crossed.log_ratio)."""
    rows = pairs[pairs["frame_id"].isin(groups.index)]
    totals = total_by_group(rows, groups, [name for name in SUMMED if name in rows])
    seconds, done = totals["wall_share_s"], totals["output_tokens"]
    if work == "frames":
        sizes = groups.value_counts().sort_index().to_numpy(dtype=float)
        done = np.broadcast_to(sizes, seconds.shape)
    over, under = [done], [seconds]
    if "wall_share_s_baseline" in totals:
        over.append(totals["wall_share_s_baseline"])
        under.append(done if work == "frames" else totals["output_tokens_baseline"])
    estimate, linear = log_ratio(over, under)
    return float(estimate), linear


def _pairs(run: Measured) -> pd.DataFrame:
    """The run's rows of frames that were answered in every block, the baseline's beside the candidate's."""
    if run.baseline is not None:
        return common_pairs(run.candidate, run.baseline)
    both = common_pairs(run.candidate, run.candidate)
    return both[[name for name in both.columns if not name.endswith("_baseline")]]


def half_width(first: np.ndarray, other: np.ndarray) -> float:
    """Half of the 95 % t interval of mean(other) - mean(first); NaN with fewer than two blocks in one run.

    Args:
        first, other: blocks × groups, the same groups in both.

    half² = t²(f) · (b1 + b2) + t²(groups - 1) · g. b1 and b2 are the variances of the runs' means by blocks,
    with Welch's (1947) degrees of freedom f. g is the variance of the mean difference by groups less what
    chance within a group adds to it; with one group it is not known and left out: the interval then holds
    for these frames only. Each part has the quantile of its own degrees of freedom, as in modified
    large-sample intervals (Graybill and Wang 1980).
    """
    if min(len(first), len(other)) < FEWEST_BLOCKS:
        return NAN
    by_blocks = np.array([run.mean(axis=1).var(ddof=1) / len(run) for run in (first, other)])
    total = by_blocks.sum()
    if np.isnan(total):
        return NAN
    squared = 0.0
    if total > 0:
        freedom = total**2 / (by_blocks**2 / [len(first) - 1, len(other) - 1]).sum()
        squared = _quantile(freedom) ** 2 * total
    return float(np.sqrt(squared + _by_groups(first, other)))


def _by_groups(first: np.ndarray, other: np.ndarray) -> float:
    gained = other.mean(axis=0) - first.mean(axis=0)
    if gained.size == 1:
        return 0.0
    variance = float(gained.var(ddof=1)) / gained.size - _chance(first) - _chance(other)
    return _quantile(gained.size - 1) ** 2 * max(variance, 0.0)


def _chance(run: np.ndarray) -> float:
    """What scatter of single values, neither their block's nor their group's, adds to the mean's variance."""
    n_blocks, n_groups = run.shape
    of_blocks, of_groups = run.mean(axis=1, keepdims=True), run.mean(axis=0, keepdims=True)
    left_over = run - of_blocks - of_groups + run.mean()
    return float((left_over**2).sum()) / ((n_blocks - 1) * (n_groups - 1) * run.size)


def _quantile(freedom: float) -> float:
    return float(student_t.ppf((1 + CONFIDENCE) / 2, freedom))

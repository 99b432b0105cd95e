"""Intervals on a share and on a mean of values that come in groups. Pure: arrays in, numbers out.

A group holds values that share their fate: the answers about one frame in several blocks, near-duplicate
neighbours, the requests of one wave. NaN is "not scorable" and left out of every count.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class ShareInterval(NamedTuple):
    """Where a share may lie, and on how much that rests."""

    low: float  # 0 to 1; NaN: nothing to judge
    high: float
    n: int  # values
    n_effective: float  # independent values that would tell as much


class MeanInterval(NamedTuple):
    """Where a mean may lie, and on how much that rests."""

    low: float  # in the values' unit; NaN: fewer than two groups
    high: float
    n: int  # values
    n_groups: int


def share_interval(
    successes: Sequence[Any], groups: Sequence[Any], confidence: float = 0.95
) -> ShareInterval:
    """The Wilson interval of a share, with the effective sample size of grouped values.

    Args:
        successes: n values, 0 or 1 (or True and False); None and NaN are left out.
        groups: n labels of any kind; values of one label are one group.

    n_effective = min(n, share (1 - share) / variance) · (t(n - 1) / t(worth - 1))², the variance by leaving
    out one group at a time (Korn and Graubard 1998, Wilson's interval in place of Clopper's), worth being the
    number of equal groups that the groups are worth (``worth_of_groups``). It is never less than that worth,
    which is what remains if all values of a group are equal; a share of 0 or 1 says nothing about how alike
    they are, so it is that then.
    """
    values, codes = _known(successes, groups)
    n = values.size
    if n == 0:
        return ShareInterval(np.nan, np.nan, 0, np.nan)
    n_effective = _effective_size(values, codes, confidence)
    low, high = wilson(float(values.mean()), n_effective, confidence)
    return ShareInterval(low, high, n, n_effective)


def wilson(share: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of a share seen among n values; n need not be whole."""
    z2 = stats.norm.isf((1 - confidence) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def mean_interval(values: Sequence[Any], groups: Sequence[Any], confidence: float = 0.95) -> MeanInterval:
    """A t interval of the mean of grouped values.

    Args:
        values: n numbers; None and NaN are left out.
        groups: n labels; values of one label are one group.

    The variance comes from leaving out one group at a time (the cluster jackknife, CV3 in MacKinnon, Nielsen
    and Webb 2023), the degrees of freedom are ``worth_of_groups`` - 1 (at least 1): so it holds its level
    with few groups of unequal size.
    """
    known, codes = _known(values, groups)
    n_groups = int(codes.max() + 1) if known.size else 0
    if n_groups < 2:
        return MeanInterval(np.nan, np.nan, known.size, n_groups)
    freedom = degrees_of_freedom(worth_of_groups(np.bincount(codes)))
    half = stats.t.isf((1 - confidence) / 2, freedom) * np.sqrt(_jackknife_variance(known, codes))
    mean = float(known.mean())
    return MeanInterval(float(mean - half), float(mean + half), known.size, n_groups)


def paired_mean_interval(
    differences: Sequence[Any], groups: Sequence[Any], confidence: float = 0.95
) -> MeanInterval:
    """The interval of a mean difference, pairs in groups: ``mean_interval`` of the differences.

    Non-inferior within a margin means: the low end lies above minus the margin (candidate - baseline, higher
    is better). A pair of which one side is not known is NaN and left out.
    """
    return mean_interval(differences, groups, confidence)


def _known(values: Sequence[Any], groups: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    numbers = pd.to_numeric(pd.Series(list(values), dtype=object)).to_numpy(dtype=float, na_value=np.nan)
    labels = pd.Series(list(groups), dtype=object)
    if len(labels) != numbers.size:
        raise ValueError(f"{numbers.size} values and {len(labels)} group labels: one label a value")
    known = ~np.isnan(numbers)
    codes, _ = pd.factorize(labels[known], use_na_sentinel=False)
    return numbers[known], codes


def _jackknife_variance(values: np.ndarray, codes: np.ndarray) -> float:
    sums, counts = np.bincount(codes, weights=values), np.bincount(codes)
    left_out = (values.sum() - sums) / (values.size - counts)
    n_groups = counts.size
    return float((n_groups - 1) / n_groups * ((left_out - values.mean()) ** 2).sum())


def worth_of_groups(sizes: np.ndarray) -> float:
    """How many groups of equal size tell as much as these: (Σ size)² ÷ Σ size² (Kish 1965)."""
    return float(np.sum(sizes) ** 2 / np.sum(np.square(sizes)))


def degrees_of_freedom(worth: np.ndarray | float) -> np.ndarray:
    """What groups of this worth leave for a t quantile: worth - 1, but 1 at least."""
    return np.maximum(np.asarray(worth) - 1, 1)


def _effective_size(values: np.ndarray, codes: np.ndarray, confidence: float) -> float:
    n, share, worth = values.size, float(values.mean()), worth_of_groups(np.bincount(codes))
    if codes.max() == 0 or share in (0.0, 1.0):
        return worth
    variance = _jackknife_variance(values, codes)
    by_design = min(float(n), share * (1 - share) / variance) if variance > 0 else float(n)
    tail = (1 - confidence) / 2
    known_by = stats.t.isf(tail, n - 1) / stats.t.isf(tail, degrees_of_freedom(worth))
    return max(worth, float(by_design * known_by**2))

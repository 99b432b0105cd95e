"""The interval of a ratio of totals over blocks × groups of frames, both taken as random. Pure: on arrays.

Every function takes any number of leading axes: the last two are blocks and groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Spread:
    """What the variance of a mean over blocks × groups is made of; the known parts add up to it.

    With one block ``blocks`` is NaN (not known), with one group ``groups``; the other then holds ``rest``.
    """

    blocks: np.ndarray  # differences between blocks that all groups share
    groups: np.ndarray  # differences between groups that all blocks share
    rest: np.ndarray  # neither: falls with more blocks as well as with more groups
    n_blocks: int
    n_groups: int


def log_ratio(over: Sequence[np.ndarray], under: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The log of a ratio of products of totals, and its linearisation.

    Args:
        over: arrays of … × blocks × groups, e.g. seconds of the baseline; their totals are multiplied.
        under: as ``over``; their totals divide.

    Returns: log(Π totals over ÷ Π totals under), one number for the last two axes, and an array of
    … × blocks × groups with mean 0 whose mean varies as the log ratio does (delta method: the term of a part
    is part ÷ its mean).
    """
    estimate, linear = 0.0, 0.0
    for sign, parts in ((1, over), (-1, under)):
        for part in parts:
            mean = part.mean(axis=(-2, -1), keepdims=True)
            estimate = estimate + sign * np.log(mean[..., 0, 0])
            linear = linear + sign * part / mean
    return np.asarray(estimate), np.asarray(linear)


def spread_of_mean(linear: np.ndarray) -> Spread:
    """Split the variance of the mean of … × blocks × groups values by a two-way analysis of variance.

    Crossed random effects with one value a cell (Searle, Casella and McCulloch 1992, ch. 4). A part that
    comes out negative is 0; the parts ``blocks`` and ``rest`` add up to the variance of the block means.
    """
    n_blocks, n_groups = linear.shape[-2:]
    of_blocks = _variance(linear.mean(axis=-1))  # of the mean, from the block means
    of_groups = _variance(linear.mean(axis=-2))
    unknown = np.full_like(of_blocks, np.nan)
    if n_blocks == 1 or n_groups == 1:
        return Spread(
            blocks=of_blocks if n_blocks > 1 else unknown,
            groups=of_groups if n_groups > 1 else unknown,
            rest=np.zeros_like(of_blocks),
            n_blocks=n_blocks,
            n_groups=n_groups,
        )
    rest = _rest(linear)
    return Spread(
        blocks=np.maximum(of_blocks - rest, 0),
        groups=np.maximum(of_groups - rest, 0),
        rest=np.minimum(of_blocks, rest),
        n_blocks=n_blocks,
        n_groups=n_groups,
    )


def _variance(means: np.ndarray) -> np.ndarray:
    n = means.shape[-1]
    return means.var(axis=-1, ddof=1) / n if n > 1 else np.full(means.shape[:-1], np.nan)


def _rest(linear: np.ndarray) -> np.ndarray:
    n_blocks, n_groups = linear.shape[-2:]
    residual = (
        linear
        - linear.mean(axis=-1, keepdims=True)
        - linear.mean(axis=-2, keepdims=True)
        + linear.mean(axis=(-2, -1), keepdims=True)
    )
    squares = (residual**2).sum(axis=(-2, -1))
    return squares / ((n_blocks - 1) * (n_groups - 1)) / (n_blocks * n_groups)


def half_width(spread: Spread, confidence: float) -> np.ndarray:
    """Half the interval of the mean, in its unit; NaN with one block and one group.

    half² = t²(blocks - 1) · (blocks + rest) + t²(groups - 1) · groups: each mean square with the t quantile
    of its own degrees of freedom, as in modified large-sample intervals (Graybill and Wang 1980). One
    quantile on Satterthwaite's degrees of freedom is too short with few blocks: docs/coverage.md.
    """
    by_blocks = quantile(confidence, spread.n_blocks) ** 2 * (spread.blocks + spread.rest)
    by_groups = quantile(confidence, spread.n_groups) ** 2 * spread.groups
    if spread.n_blocks == 1 and spread.n_groups == 1:
        return np.full_like(by_blocks, np.nan)
    return np.sqrt(np.nan_to_num(by_blocks) + np.nan_to_num(by_groups))


def half_width_by_parts(spread: Spread, confidence: float) -> np.ndarray:
    """As ``half_width``, but with one quantile for each part instead of each mean square.

    Shorter, and with few blocks it covers some per cent less: for the ends of percentile intervals, which
    order statistics make long already.
    """
    n_rest = (spread.n_blocks - 1) * (spread.n_groups - 1) + 1
    parts = (spread.blocks, spread.n_blocks), (spread.groups, spread.n_groups), (spread.rest, n_rest)
    if spread.n_blocks == 1 and spread.n_groups == 1:
        return np.full_like(spread.rest, np.nan)
    squares = [np.nan_to_num(quantile(confidence, n) ** 2 * part) for part, n in parts]
    return np.sqrt(np.sum(squares, axis=0))


def quantile(confidence: float | np.ndarray, n: int | np.ndarray) -> np.ndarray:
    """The two-sided t quantile of n units' mean; NaN for a single one."""
    return stats.t.isf((1 - np.asarray(confidence)) / 2, np.asarray(n) - 1)


def rate_interval(
    over: Sequence[np.ndarray], under: Sequence[np.ndarray], confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, low and high end of a ratio of totals (see ``log_ratio``); t interval on the log scale."""
    estimate, linear = log_ratio(over, under)
    half = half_width(spread_of_mean(linear), confidence)
    return np.exp(estimate), np.exp(estimate - half), np.exp(estimate + half)

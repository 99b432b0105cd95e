"""The interval of a ratio of totals over blocks × groups of frames, both taken as random. Pure: on arrays.

Every function takes any number of leading axes: the last two are blocks and groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from poc_lib.intervals.simple import degrees_of_freedom


@dataclass(frozen=True, slots=True)
class Spread:
    """Three estimates of the variance of a mean over blocks × groups, as the mean squares give them.

    With one block ``by_blocks`` is NaN (not known), with one group ``by_groups``; ``rest`` is 0 then.
    """

    by_blocks: np.ndarray  # from the block means: differences between blocks, and the rest
    by_groups: np.ndarray  # from the group means: differences between groups, and the rest
    rest: np.ndarray  # from what is left: the part that neither blocks nor groups explain
    n_blocks: int
    n_groups: int
    df_blocks: np.ndarray  # degrees of freedom of by_blocks
    df_groups: np.ndarray  # of by_groups: fewer than n_groups - 1 where groups are of unequal size


def log_ratio(over: Sequence[np.ndarray], under: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The log of a ratio of products of totals, and its linearisation.

    Args:
        over: arrays of … × blocks × groups, e.g. seconds of the baseline; their totals are multiplied.
        under: as ``over``; their totals divide.

    Returns: log(Π totals over ÷ Π totals under), one number for the last two axes, and an array of
    … × blocks × groups with mean 0 whose mean varies as the log ratio does (delta method: the term of a part
    is part ÷ its mean). NaN where a total is 0: it has no log.
    """
    estimate, linear = 0.0, 0.0
    for sign, parts in ((1, over), (-1, under)):
        for part in parts:
            mean = _positive(part.mean(axis=(-2, -1), keepdims=True))
            estimate = estimate + sign * np.log(mean[..., 0, 0])
            linear = linear + sign * part / mean
    return np.asarray(estimate), np.asarray(linear)


def _positive(values: np.ndarray) -> np.ndarray:
    return np.where(values > 0, values, np.nan)


def spread_of_mean(linear: np.ndarray, parts: Sequence[np.ndarray]) -> Spread:
    """The mean squares of … × blocks × groups values, each ÷ (blocks · groups).

    Two-way crossed random effects with one value a cell (Searle, Casella and McCulloch 1992, ch. 4).

    Args:
        parts: the totals behind the values: they tell how much weight each group has.
    """
    n_blocks, n_groups = linear.shape[-2:]
    by_blocks, by_groups = _variance(linear.mean(axis=-1)), _variance(linear.mean(axis=-2))
    return Spread(
        by_blocks=by_blocks,
        by_groups=by_groups,
        rest=_rest(linear) if n_blocks > 1 and n_groups > 1 else np.zeros_like(by_blocks),
        n_blocks=n_blocks,
        n_groups=n_groups,
        df_blocks=np.full_like(by_blocks, n_blocks - 1),
        df_groups=_freedom_of_groups(parts) if n_groups > 1 else np.zeros_like(by_blocks),
    )


def _freedom_of_groups(parts: Sequence[np.ndarray]) -> np.ndarray:
    shares = [part.sum(axis=-2) / _positive(part.sum(axis=(-2, -1)))[..., None] for part in parts]
    weight = sum(shares) / len(shares)
    return degrees_of_freedom(1 / (weight**2).sum(axis=-1))


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


def block_share(spread: Spread) -> np.ndarray:
    """The share of the variance that differences between blocks make, 0 to 1; NaN: not known."""
    blocks, groups = np.maximum(spread.by_blocks - spread.rest, 0), spread.by_groups - spread.rest
    total = blocks + np.nan_to_num(np.maximum(groups, 0)) + spread.rest
    return np.divide(blocks, total, out=np.full_like(total, np.nan), where=total > 0)


def half_width(spread: Spread, confidence: float) -> np.ndarray:
    """Half the interval of the mean, in its unit; NaN with one block and one group.

    The wider of two sums: half² = t²(blocks - 1) · by_blocks + t²(groups - 1) · (by_groups - rest, at least
    0), and the same with blocks and groups exchanged. Each term has the t quantile of its own degrees of
    freedom, as in modified large-sample intervals (Graybill and Wang 1980), since one quantile on
    Satterthwaite's degrees of freedom is too short with few blocks (docs/coverage.md).
    """
    if spread.n_blocks == 1 and spread.n_groups == 1:
        return np.full_like(spread.rest, np.nan)
    by_blocks, by_groups = np.nan_to_num(spread.by_blocks), np.nan_to_num(spread.by_groups)
    t2_blocks = squared_t(confidence, spread.df_blocks)
    t2_groups = squared_t(confidence, spread.df_groups)
    return np.sqrt(widest_square(by_blocks, by_groups, spread.rest, t2_blocks, t2_groups))


def widest_square(
    by_blocks: np.ndarray,
    by_groups: np.ndarray,
    rest: np.ndarray,
    t2_blocks: np.ndarray,
    t2_groups: np.ndarray,
) -> np.ndarray:
    """The larger of the two sums of ``half_width``."""
    blocks_first = t2_blocks * by_blocks + t2_groups * np.maximum(by_groups - rest, 0)
    groups_first = t2_groups * by_groups + t2_blocks * np.maximum(by_blocks - rest, 0)
    return np.maximum(blocks_first, groups_first)


def half_width_by_parts(spread: Spread, confidence: float) -> np.ndarray:
    """As ``half_width``, with one quantile for each part of the variance instead of each mean square.

    Shorter, and with few blocks it covers some per cent less: for the ends of percentile intervals, which
    order statistics make long already.
    """
    if spread.n_blocks == 1 or spread.n_groups == 1:
        return half_width(spread, confidence)
    parts = (
        (np.maximum(spread.by_blocks - spread.rest, 0), spread.df_blocks),
        (np.maximum(spread.by_groups - spread.rest, 0), spread.df_groups),
        (spread.rest, spread.df_blocks * spread.df_groups),
    )
    return np.sqrt(sum(squared_t(confidence, freedom) * part for part, freedom in parts))


def squared_t(confidence: float, freedom: np.ndarray) -> np.ndarray:
    """The square of the two-sided t quantile; 0 without degrees of freedom, where nothing is known."""
    return np.nan_to_num(stats.t.isf((1 - confidence) / 2, freedom) ** 2)


def rate_interval(
    over: Sequence[np.ndarray], under: Sequence[np.ndarray], confidence: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate, low and high end of a ratio of totals (see ``log_ratio``); t interval on the log scale."""
    estimate, linear = log_ratio(over, under)
    half = half_width(spread_of_mean(linear, [*over, *under]), confidence)
    return np.exp(estimate), np.exp(estimate - half), np.exp(estimate + half)

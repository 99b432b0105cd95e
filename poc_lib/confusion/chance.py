"""How many signs chance explains: exact tests, nothing about any model assumed."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom, binomtest, hypergeom


def upper_bound(flagged: int, n: int) -> float:
    """Upper end of the exact two-sided 95 % interval of a share (Clopper and Pearson 1934); NaN without n."""
    if n == 0:
        return float("nan")
    return float(binomtest(flagged, n).proportion_ci(confidence_level=0.95, method="exact").high)


def paired_p_value(flagged: pd.Series, calm: Sequence[pd.Series]) -> float:
    """P(at least so many frames flagged), if load changes nothing: exact, one-sided, conditional per frame.

    Args:
        flagged: whether each answer is flagged, indexed by (frame_id, block), at the level in question.
        calm: the same of each level that it is held against.

    A frame counts as flagged at a level if any of its answers is, over the blocks that all levels have. Of a
    frame's 1 + m levels, t are flagged; each was as likely to be among them, so the level in question is with
    probability t ÷ (1 + m), and the frames' sum is Poisson-binomial. With m = 1 this is McNemar's exact test.
    A frame flagged at every level, be its reference wrong or the model terse, says nothing. NaN: no frame in
    common.
    """
    common = flagged.index
    for one in calm:
        common = common.intersection(one.index)
    if not calm or common.empty:
        return float("nan")
    units = pd.DataFrame({i: _by_frame(one, common) for i, one in enumerate([flagged, *calm])})
    total, n_levels = units.sum(axis=1).to_numpy(), 1 + len(calm)
    return poisson_binomial_tail(total / n_levels, int(units[0].sum()))


def poisson_binomial_tail(probabilities: np.ndarray, k: int) -> float:
    """P(X ≥ k) for the sum X of independent Bernoulli variables."""
    sure = int((probabilities >= 1).sum())
    values, counts = np.unique(probabilities[(probabilities > 0) & (probabilities < 1)], return_counts=True)
    mass = np.ones(1)
    for p, n in zip(values, counts, strict=True):
        mass = np.convolve(mass, binom.pmf(np.arange(n + 1), n, p))
    return float(min(1.0, mass[max(0, k - sure) :].sum()))


def association_p_value(cells: Iterable[tuple[int, int, int, int]]) -> tuple[float, float]:
    """P(at least so many in common) if two marks have nothing to do with one another; the number expected.

    Args:
        cells: (n, with the first mark, with the second, with both) of each cell. Fisher's exact test,
            one-sided, over all cells together; (NaN, 0): no cell in which it could have been seen.
    """
    mass, in_common, expected = np.ones(1), 0, 0.0
    for n, first, second, both in cells:
        if n and first and second:
            mass = np.convolve(mass, hypergeom.pmf(np.arange(min(first, second) + 1), n, first, second))
            in_common += both
            expected += first * second / n
    return (float(min(1.0, mass[in_common:].sum())), expected) if len(mass) > 1 else (float("nan"), 0.0)


def allowed_p_value(flagged: pd.Series, share: float) -> float:
    """P(at least so many frames flagged) if each was with this probability: exact binomial; NaN without n."""
    if flagged.empty:
        return float("nan")
    by_frame = _by_frame(flagged, flagged.index)
    return float(binom.sf(by_frame.sum() - 1, len(by_frame), share))


def rare_p_value(chances: pd.Series, most: int = 5) -> float:
    """P(answers this improbable), from each answer's own chance, indexed by frame_id; NaN without any.

    Each frame counts once, with the smallest chance of its answers × their number. If the k-th smallest of n
    frames' chances is c, at least k are that small with the binomial tail P(X ≥ k; n, c); the smallest of
    these for k up to ``most``, × ``most`` (Bonferroni), is the result: one glaring answer counts, and so do a
    few odd ones.
    """
    known = chances.dropna()
    if known.empty:
        return float("nan")
    groups = known.groupby(level="frame_id")
    per_frame = np.sort(np.minimum(1.0, (groups.min() * groups.size()).to_numpy()))
    at_least = np.arange(1, min(most, len(per_frame)) + 1)
    return float(
        min(1.0, len(at_least) * binom.sf(at_least - 1, len(per_frame), per_frame[at_least - 1]).min())
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's (1979) step-down adjustment; NaN stay NaN and do not count."""
    p = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def _by_frame(flagged: pd.Series, keys: pd.Index) -> pd.Series:
    return flagged[flagged.index.isin(keys)].groupby(level="frame_id").any()

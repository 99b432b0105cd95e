"""Can a similarity tell a frame's own answer from answers to other frames? AUC, and the best threshold."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

FOLDS = 10


@dataclass(frozen=True, slots=True)
class OwnOther:
    """Similarities of answers with their own frame's reference and with other frames' references."""

    own: np.ndarray  # n values, NaN: not scorable
    own_frame: np.ndarray  # n positions of the answers' frames, 0 .. f - 1
    other: np.ndarray  # f × f: the answer to frame i with the reference of frame j; NaN: not to be used
    group: np.ndarray  # f group numbers, 0 .. g - 1: near-duplicate frames share one

    @property
    def n_own(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.own)))

    @property
    def n_other(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.other)))


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve with its 95 % interval; NaN: nothing to tell apart."""

    value: float
    low: float
    high: float


def summarize_auc(pairs: OwnOther, confidence: float = 0.95) -> Auc:
    """The probability that an own pair is more alike than another pair, ties half (Mann-Whitney).

    The interval is DeLong's (1988), its placement values summed within groups of near-duplicate frames, both
    by the answer's frame and by the reference's (Obuchowski 1997 for the clusters, Cameron, Gelbach and
    Miller 2011 for the two ways), on the logit scale with t on groups - 1 degrees of freedom. Where all own
    pairs lie above all others that variance is 0, and the low end is 0.025^(1/groups) instead (Clopper and
    Pearson, a group counted once); likewise at AUC 0. NaN ends with fewer than two groups.
    """
    kept = ~np.isnan(pairs.own)
    own, group_of_own = pairs.own[kept], pairs.group[pairs.own_frame[kept]]
    n_groups = np.unique(group_of_own).size
    above_other = _placements_of_own(own, pairs.other)
    if above_other is None:
        return Auc(np.nan, np.nan, np.nan)
    value = float(above_other.mean())
    if n_groups < 2:
        return Auc(value, np.nan, np.nan)
    tail = (1 - confidence) / 2
    if value in (0.0, 1.0):
        bound = float(tail ** (1 / n_groups))
        return Auc(value, bound, 1.0) if value else Auc(value, 0.0, 1 - bound)
    variance = _two_way_variance(above_other - value, group_of_own, pairs, own, value)
    half = stats.t.isf(tail, n_groups - 1) * np.sqrt(variance) / (value * (1 - value))
    logit = np.log(value / (1 - value))
    low, high = (float(1 / (1 + np.exp(-end))) for end in (logit - half, logit + half))
    return Auc(value, low, high)


def separating_thresholds(pairs: OwnOther, folds: int = FOLDS) -> tuple[float, np.ndarray]:
    """The threshold that best separates own pairs from others, for all frames and for each frame.

    Best: greatest own share above - other share above (Youden's J, 1950), put half way between the lowest
    own value above it and the highest value below it; of equals the lowest.

    Returns:
        The threshold from all frames, and f thresholds by cross-validation: the groups are dealt into
        ``folds`` parts (as many as groups where fewer), and a frame's threshold comes from the other parts
        alone, so that no frame is judged by a threshold that saw it. NaN where nothing can be separated.
    """
    n_groups = int(pairs.group.max()) + 1 if pairs.group.size else 0
    n_folds = max(1, min(folds, n_groups))
    fold = pairs.group % n_folds
    counts = _FoldCounts.of(pairs, fold, n_folds)
    if counts is None:
        return np.nan, np.full(pairs.group.size, np.nan)
    if n_folds < 2:
        return counts.threshold(None), np.full(pairs.group.size, np.nan)
    by_fold = np.array([counts.threshold(part) for part in range(n_folds)])
    return counts.threshold(None), by_fold[fold]


def _placements_of_own(own: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    """Of each own value the share of other values below it, ties half; None: there are none."""
    others = np.sort(other[~np.isnan(other)])
    if not own.size or not others.size:
        return None
    below = np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")
    return below / (2 * others.size)


def _others(pairs: OwnOther) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The answer's frame, the reference's frame and the value of each other pair."""
    answer, reference = np.nonzero(~np.isnan(pairs.other))
    return answer, reference, pairs.other[answer, reference]


def _two_way_variance(
    own_part: np.ndarray, group_of_own: np.ndarray, pairs: OwnOther, own: np.ndarray, value: float
) -> float:
    answer, reference, values = _others(pairs)
    ordered = np.sort(own)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    other_part = (1 - below / (2 * own.size) - value) / values.size
    size = int(pairs.group.max()) + 1
    cell = pairs.group[answer] * size + pairs.group[reference]
    both = np.bincount(cell, other_part, minlength=size**2).reshape(size, size)
    both[np.diag_indices(size)] += np.bincount(group_of_own, own_part / own.size, minlength=size)
    by_answer, by_reference, by_both = (
        float((sums**2).sum()) for sums in (both.sum(axis=1), both.sum(axis=0), both)
    )
    n_groups = np.unique(group_of_own).size
    return max(by_answer + by_reference - by_both, by_answer) * n_groups / (n_groups - 1)


@dataclass(frozen=True, slots=True)
class _FoldCounts:
    """Where the values lie between the candidate thresholds, counted by the folds of their frames."""

    edges: np.ndarray  # e distinct own values, rising: a threshold lies just below one of them
    own: np.ndarray  # k × e counts: values at an edge
    other: np.ndarray  # k × k × (e + 1) counts: values from the edge before up to just below this one
    highest: np.ndarray  # k × k × (e + 1): the highest of these, -inf where none

    @classmethod
    def of(cls, pairs: OwnOther, fold: np.ndarray, n_folds: int) -> "_FoldCounts | None":
        kept = ~np.isnan(pairs.own)
        if not kept.any() or not pairs.n_other:
            return None
        edges, at = np.unique(pairs.own[kept], return_inverse=True)
        own = np.zeros((n_folds, edges.size))
        np.add.at(own, (fold[pairs.own_frame[kept]], at), 1)
        i, j, values = _others(pairs)
        where = np.searchsorted(edges, values, "right")
        flat = (fold[i] * n_folds + fold[j]) * (edges.size + 1) + where
        shape = (n_folds, n_folds, edges.size + 1)
        highest = np.full(np.prod(shape), -np.inf)
        np.maximum.at(highest, flat, values)
        other = np.bincount(flat, minlength=highest.size).reshape(shape)
        return cls(edges, own, other, highest.reshape(shape))

    def threshold(self, left_out: int | None) -> float:
        """Youden's threshold without one fold; None: with all."""
        kept = np.arange(len(self.own)) != left_out
        own = self.own[kept].sum(axis=0)
        other = self.other[np.ix_(kept, kept)].sum(axis=(0, 1))
        if not own.sum() or not other.sum():
            return np.nan
        own_above = own[::-1].cumsum()[::-1] / own.sum()
        other_above = other[::-1].cumsum()[::-1][1:] / other.sum()
        gain = np.where(own > 0, own_above - other_above, -np.inf)
        best = int(gain.argmax())
        other_below = self.highest[np.ix_(kept, kept)].max(axis=(0, 1))[: best + 1].max()
        own_below = self.edges[:best][own[:best] > 0].max(initial=-np.inf)
        below = max(other_below, own_below)
        return float((self.edges[best] + below) / 2) if np.isfinite(below) else float(self.edges[best])

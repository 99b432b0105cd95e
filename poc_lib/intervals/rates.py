"""Intervals of one level's own rates and latency percentiles, over blocks and groups of frames."""

import numpy as np
import pandas as pd
from scipy import stats

from poc_lib.intervals.crossed import half_width_by_parts, rate_interval, spread_of_mean
from poc_lib.intervals.groups import group_for_intervals
from poc_lib.intervals.shares import answered_shares, total_by_group
from poc_lib.metrics import LEVEL, add_derived

LATENCIES = ("ttft_s", "tpot_s", "total_s")
POINTS = (50, 95)
COUNTS = ["n", "n_blocks", "n_groups"]


def rate_intervals(requests: pd.DataFrame, frames: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """One row per (server, level): the intervals of its frames/s and output tok/s.

    Columns: server, role, concurrency, frames_per_s_low, frames_per_s_high, output_tok_per_s_low,
    output_tok_per_s_high (NaN where a token count is missing, or one block and one group are all there is),
    n (answers), n_blocks, n_groups. With n_blocks 1 the interval holds for that block only.
    """
    rows = []
    for key, level in answered_shares(requests).groupby(LEVEL, sort=False):
        groups = group_for_intervals(frames, key[2])
        sums = total_by_group(level.assign(one=1.0), groups, ["one", "wall_share_s", "output_tokens"])
        of_frames = rate_interval([sums["one"]], [sums["wall_share_s"]], confidence)
        of_tokens = rate_interval([sums["output_tokens"]], [sums["wall_share_s"]], confidence)
        ends = [*map(float, of_frames[1:]), *map(float, of_tokens[1:])]
        rows.append([*key, *ends, len(level), *sums["one"].shape])
    names = [f"{rate}_{end}" for rate in ("frames_per_s", "output_tok_per_s") for end in ("low", "high")]
    return pd.DataFrame(rows, columns=[*LEVEL, *names, *COUNTS])


def latency_intervals(requests: pd.DataFrame, frames: pd.DataFrame, confidence: float = 0.95) -> pd.DataFrame:
    """One row per (server, level, measure ttft_s, tpot_s or total_s): percentiles with intervals, in seconds.

    Columns: server, role, concurrency, measure, n (answers with this measure), n_blocks, n_groups, and for
    p50 and p95: p50, p50_low, p50_high, p50_n_effective (independent answers that would tell as much; a whole
    number). An end is NaN where n_effective is too small for it: the upper end of a p95 needs 72.
    """
    measured = add_derived(requests)
    rows = []
    for key, level in measured[measured["ok"]].groupby(LEVEL, sort=False):
        groups = group_for_intervals(frames, key[2])
        for measure in LATENCIES:
            known = level.assign(value=pd.to_numeric(level[measure]).astype(float)).dropna(subset="value")
            rows.append([*key, measure, *_latency_row(known, groups, confidence)])
    points = [f"p{p}{end}" for p in POINTS for end in ("", "_low", "_high", "_n_effective")]
    return pd.DataFrame(rows, columns=[*LEVEL, "measure", *COUNTS, *points])


def _latency_row(known: pd.DataFrame, groups: pd.Series, confidence: float) -> list[float]:
    if known.empty:
        return [0, 0, 0, *[np.nan] * 4 * len(POINTS)]
    present = groups[groups.index.isin(known["frame_id"])]
    found = [percentile_interval(known, present, percent, confidence) for percent in POINTS]
    return [len(known), known["block"].nunique(), present.nunique(), *np.concatenate(found).tolist()]


def percentile_interval(
    rows: pd.DataFrame, groups: pd.Series, percent: float, confidence: float = 0.95
) -> tuple[float, float, float, float]:
    """A percentile, its low and high end, and the effective number of values.

    Args:
        rows: block, frame_id and value, at least one.
        groups: the group number on the index frame_id.

    Woodruff's interval (1952): the share of values up to the percentile is given an interval, whose ends are
    looked up among the values. That share's interval is the binomial order-statistic one, with the number of
    values that its variance over blocks and groups is worth.
    """
    values = np.sort(rows["value"].to_numpy())
    point, share = float(np.percentile(values, percent)), percent / 100
    marked = rows.assign(below=(rows["value"] <= point) - share, one=1.0)
    sums = total_by_group(marked, groups, ["below", "one"])
    spread = spread_of_mean(sums["below"] / sums["one"].mean(), [sums["one"]])
    half = float(half_width_by_parts(spread, confidence))
    n = effective_size(half, share, values.size, confidence)
    low, high = order_statistics(values, share, n, confidence)
    return point, low, high, n


def effective_size(half: float, share: float, n: int, confidence: float) -> float:
    """How many independent values give a share's interval this half width: a whole number, n at most."""
    if np.isnan(half):
        return np.nan
    normal = stats.norm.isf((1 - confidence) / 2)
    worth = normal**2 * share * (1 - share) / half**2 if half > 0 else np.inf
    return float(np.clip(np.floor(worth), 1, n))


def order_statistics(ordered: np.ndarray, share: float, n: float, confidence: float) -> tuple[float, float]:
    """The two of the ordered values that hold the share's quantile between them; NaN: none does.

    Args:
        ordered: values in rising order, of which n (at most as many) are worth counting.
    """
    if np.isnan(n):
        return np.nan, np.nan
    tail, size = (1 - confidence) / 2, ordered.size
    first, last = stats.binom.ppf(tail, n, share), stats.binom.isf(tail, n, share) + 1
    low = ordered[max(int(first * size / n), 1) - 1] if first >= 1 else np.nan
    high = ordered[min(int(np.ceil(last * size / n)), size) - 1] if last <= n else np.nan
    return float(low), float(high)

"""How many times as fast as the baseline, with its interval: paired by frame and block."""

import numpy as np
import pandas as pd

from poc_lib.intervals.crossed import (
    Spread,
    block_share,
    half_width,
    log_ratio,
    rate_interval,
    spread_of_mean,
)
from poc_lib.intervals.groups import group_for_intervals
from poc_lib.intervals.shares import answered_shares, total_by_group
from poc_lib.metrics import LEVEL

PARTS = ("by_blocks", "by_groups", "rest")  # of crossed.Spread
FREEDOM = ("df_blocks", "df_groups")
SUMMED = ("wall_share_s", "output_tokens")
TOKENS = ("speedup_tokens", "speedup_tokens_low", "speedup_tokens_high")
COLUMNS = [
    *LEVEL,
    "speedup_frames",
    "speedup_frames_low",
    "speedup_frames_high",
    "speedup_tokens",
    "speedup_tokens_low",
    "speedup_tokens_high",
    "simultaneous_low",
    "simultaneous_high",
    "complete",
    "n_compared",
    "n_blocks",
    "n_groups",
    "n_frames",
    "df_blocks",
    "df_groups",
    "var_by_blocks",
    "var_by_groups",
    "var_rest",
    "block_share",
    "between_blocks_known",
    "between_groups_known",
    "n_simultaneous",
    "confidence",
]


def estimate_speedups(
    requests: pd.DataFrame,
    frames: pd.DataFrame,
    baseline_server: str,
    baseline_concurrency: int,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """One row per candidate (server, level): its speed ÷ the baseline's, with intervals.

    Args:
        requests: one row a reply (records.Reply).
        frames: one row a frame with frame_id, timestamp_s and phash.
        baseline_server, baseline_concurrency: the level that all candidates are compared with.
        confidence: of each interval; of all simultaneous ones together.

    Columns (``COLUMNS``):
        speedup_frames, speedup_tokens: ratio of frames/s and of output tok/s over the same frames and
            blocks, with _low and _high of the level's own interval. NaN: nothing to compare, or token
            counts missing.
        simultaneous_low, simultaneous_high: for frames/s, at a confidence of 1 - (1 - confidence) ÷
            n_simultaneous (Bonferroni), n_simultaneous being the candidates' levels that answered every
            frame: all of them hold together, so the level with the best low end may be chosen. NaN for a
            level that lost frames.
        complete: every frame of ``frames`` was answered in every block that was measured.
        n_frames, n_blocks, n_groups: frames answered by both sides in each of the compared blocks, the
            blocks, and the groups of frames that count as independent; n_compared = n_frames · n_blocks.
        df_blocks, df_groups: degrees of freedom, n_blocks - 1 and n_groups - 1, the latter less where groups
            are of unequal weight (not a whole number then).
        var_by_blocks, var_by_groups, var_rest: the variance of log(speedup_frames) as crossed.Spread
            holds it; block_share is the share of it that differences between blocks make.
        between_blocks_known: False with one block: the interval holds for that block only;
            between_groups_known: False with one group: it holds for these frames only.
    """
    measured = requests[requests["phase"] == "measure"]
    shares = answered_shares(measured)
    by_level = dict(list(shares.groupby(LEVEL, sort=False)))
    nothing = shares.iloc[:0]
    baseline = by_level.get((baseline_server, "baseline", baseline_concurrency), nothing)
    rows = []
    for key, level in measured[measured["role"] == "candidate"].groupby(LEVEL, sort=False):
        in_flight = max(key[2], baseline_concurrency)
        compared = compare_level(by_level.get(key, nothing), baseline, frames, in_flight, confidence)
        facts = {**dict(zip(LEVEL, key, strict=True)), "complete": _complete(level, frames)}
        rows.append(facts | compared)
    table = pd.DataFrame(rows, columns=COLUMNS).assign(confidence=confidence)
    return add_simultaneous(table, confidence)


def compare_level(
    candidate: pd.DataFrame, baseline: pd.DataFrame, frames: pd.DataFrame, in_flight: int, confidence: float
) -> dict:
    """One level against the baseline: the columns of ``estimate_speedups`` that concern it alone.

    Args:
        candidate, baseline: rows of ``shares.answered_shares`` of one level each.
        in_flight: the larger concurrency of the two: a wave of so many requests is one unit.
    """
    pairs = common_pairs(candidate, baseline)
    n_frames, n_blocks = pairs["frame_id"].nunique(), pairs["block"].nunique()
    counts = {"n_compared": n_frames * n_blocks, "n_blocks": n_blocks, "n_frames": n_frames}
    if pairs.empty:
        return counts | {
            "n_groups": 0,
            "df_blocks": 0,
            "df_groups": 0,
            "between_blocks_known": False,
            "between_groups_known": False,
        }
    compared = frames[frames["frame_id"].isin(pairs["frame_id"])]
    groups = group_for_intervals(compared, in_flight)
    totals = total_by_group(pairs, groups, [*SUMMED, *(f"{name}_baseline" for name in SUMMED)])
    seconds = totals["wall_share_s"], totals["wall_share_s_baseline"]
    estimate, linear = log_ratio([seconds[1]], [seconds[0]])
    spread = spread_of_mean(linear, seconds)
    half = half_width(spread, confidence)
    tokens = rate_interval(
        [totals["output_tokens"], seconds[1]], [totals["output_tokens_baseline"], seconds[0]], confidence
    )
    return {
        "speedup_frames": float(np.exp(estimate)),
        "speedup_frames_low": float(np.exp(estimate - half)),
        "speedup_frames_high": float(np.exp(estimate + half)),
        **dict(zip(TOKENS, map(float, tokens), strict=True)),
        **counts,
        **_spread_columns(spread),
    }


def _spread_columns(spread: Spread) -> dict:
    return {
        "n_groups": spread.n_groups,
        "df_blocks": int(spread.df_blocks),
        "df_groups": float(spread.df_groups),
        **{f"var_{part}": float(getattr(spread, part)) for part in PARTS},
        "block_share": float(block_share(spread)),
        "between_blocks_known": spread.n_blocks > 1,
        "between_groups_known": spread.n_groups > 1,
    }


def common_pairs(candidate: pd.DataFrame, baseline: pd.DataFrame) -> pd.DataFrame:
    """The rows of both sides side by side (``_baseline``), for frames that both answered in every block.

    Where a block is broken off, either the block or the frames it lacks are left out: whichever keeps more
    pairs. The choice looks at who answered, never at how fast.
    """
    pairs = candidate.merge(baseline, on=["block", "frame_id"], suffixes=("", "_baseline"))
    by_size = pairs.groupby("block")["frame_id"].nunique().sort_values(ascending=False, kind="stable").index
    best, most = pairs.iloc[:0], 0
    for n_blocks in range(1, len(by_size) + 1):
        kept = pairs[pairs["block"].isin(by_size[:n_blocks])]
        answered = kept.groupby("frame_id")["block"].nunique()
        in_all = answered.index[answered == n_blocks]
        if n_blocks * len(in_all) >= most:
            best, most = kept[kept["frame_id"].isin(in_all)], n_blocks * len(in_all)
    return best


def _complete(level: pd.DataFrame, frames: pd.DataFrame) -> bool:
    answered = level[level["error_class"].isna()]
    by_block = answered.groupby("block")["frame_id"].nunique()
    n_blocks = level["block"].nunique()
    return bool(len(by_block) == n_blocks and (by_block == len(frames)).all())


def add_simultaneous(speedups: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """``simultaneous_low``, ``simultaneous_high`` and ``n_simultaneous``, as in ``estimate_speedups``."""
    counts = speedups["complete"].astype(bool) & speedups["speedup_frames"].notna()
    n = int(counts.sum())
    half = pd.Series(
        [float(half_width(spread_of(row), each_confidence(confidence, n))) for _, row in speedups.iterrows()],
        index=speedups.index,
        dtype=float,
    ).where(counts)
    return speedups.assign(
        simultaneous_low=speedups["speedup_frames"] * np.exp(-half),
        simultaneous_high=speedups["speedup_frames"] * np.exp(half),
        n_simultaneous=n,
    )


def each_confidence(confidence: float, n: int) -> float:
    """What each of n intervals needs, for all to hold together (Bonferroni)."""
    return 1 - (1 - confidence) / max(n, 1)


def spread_of(row: pd.Series) -> Spread:
    """The spread of log(speedup_frames) that a row of ``estimate_speedups`` holds."""
    parts = [np.asarray(float(row[name])) for name in (*(f"var_{part}" for part in PARTS), *FREEDOM)]
    return Spread(*parts[:3], int(row["n_blocks"]), int(row["n_groups"]), *parts[3:])

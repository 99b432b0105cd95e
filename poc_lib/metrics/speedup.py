"""The speed-up and its interval: blocks of two wall clocks in, one estimate out.

A confirmation block times the baseline and the candidate on the same fresh frames, so blocks are independent
of each other and a t interval of the mean log ratio speaks for other frames and other moments. It is looked
at after 4, 6, 8 ... blocks, and measuring stops as soon as nothing is open. What is looked at again and again
is wrong more often than what is looked at once; the error of 5 % is therefore spread over the looks.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from poc_lib.records import Estimate

STEPS = ((1.5, "marginal"), (2.0, "recommendation"), (3.0, "strong recommendation"))
NOT_RECOMMENDED = "not recommended"
INCONCLUSIVE = "inconclusive"

ERROR = 0.05  # how often the interval may miss the true speed-up, all looks together
FIRST_LOOK = 4
LEAST_SPREAD = 0.005  # of a block's log ratio: blocks that agree better than half a per cent do so by luck
PROBABLY = 0.8  # the chance with which ``more_blocks`` more blocks settle an open verdict
MANY_BLOCKS = 100  # more than that are not worth counting: the speed-up lies too close to a threshold

BLOCK_COLUMNS = {  # of summarize_blocks' frame, in order: name -> unit, meaning
    "candidate": ("", "the server that is judged"),
    "baseline": ("", "the server that it is held against"),
    "block": ("", "number of the confirmation block, from 0"),
    "candidate_level": ("requests", "kept in flight at the candidate"),
    "baseline_level": ("requests", "kept in flight at the baseline"),
    "n_frames": ("", "frames of the block"),
    "n_common": ("", "of these answered by both sides"),
    "candidate_lost": ("", "frames without an answer of the candidate"),
    "baseline_lost": ("", "frames without an answer of the baseline"),
    "candidate_wall_s": ("s", "first sending to last answer, candidate"),
    "baseline_wall_s": ("s", "first sending to last answer, baseline"),
    "log_ratio": ("", "natural logarithm of baseline_wall_s ÷ candidate_wall_s"),
    "speedup": ("×", "the same as a ratio"),
    "candidate_output_tok_per_s": ("tokens/s", "output tokens ÷ candidate_wall_s"),
    "baseline_output_tok_per_s": ("tokens/s", "output tokens ÷ baseline_wall_s"),
    "note": ("", "why the block is judged on fewer frames; empty: it lost nothing"),
}


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, least_spread: float = 0.0
) -> tuple[float, float]:
    """Student's t interval of a mean, without NaN values: low and high, NaN with fewer than two values.

    ``least_spread`` is the smallest standard deviation that is believed: equal values prove no exact mean.
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if known.size < 2:
        return math.nan, math.nan
    mean, spread = float(known.mean()), max(float(known.std(ddof=1)), least_spread)
    half = float(special.stdtrit(known.size - 1.0, (1 + confidence) / 2)) * spread / math.sqrt(known.size)
    return mean - half, mean + half


def binomial_bounds(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided exact interval of a share of k among n, from binomial_upper's bound on either side."""
    return 1 - binomial_upper(n - k, n, (1 + confidence) / 2), binomial_upper(k, n, (1 + confidence) / 2)


def binomial_upper(k: int, n: int, confidence: float = 0.95) -> float:
    """The one-sided exact upper bound of a share of k among n (Clopper and Pearson 1934); NaN for n = 0."""
    if n == 0:
        return math.nan
    return 1.0 if k >= n else float(special.betaincinv(k + 1, n - k, confidence))


def interval(value: Any, low: Any = None, high: Any = None, unit: str = " ×", form: str = ".2f") -> str:
    """The one notation of a value and its interval, ``2.41 × (2.20 to 2.66)``; a dash for a missing value."""
    if pd.isna(value):
        return "–"
    bounds = "" if pd.isna(low) or pd.isna(high) else f" ({low:{form}} to {high:{form}})"
    return f"{value:{form}}{unit}{bounds}"


def count(n: int, noun: str) -> str:
    """The one notation of a number of things: ``1 frame``, ``24 frames``."""
    return f"{n:.0f} {noun}{'' if n == 1 else 's'}"


def step_of(speedup: float) -> str:
    """The verdict's step that a speed-up reaches; below the first, and for NaN, "not recommended"."""
    return next((label for threshold, label in reversed(STEPS) if speedup >= threshold), NOT_RECOMMENDED)


def look_blocks(max_blocks: int) -> list[int]:
    """After how many blocks the estimate is looked at: 4, 6, 8 ... and ``max_blocks``; [] below 2."""
    return [*range(FIRST_LOOK, max_blocks - 1, 2), max_blocks] if max_blocks >= 2 else []


def confidence_at(n_blocks: int, max_blocks: int) -> float:
    """How sure the interval after ``n_blocks`` must be for all looks together to err in 5 % of runs, 0 to 1.

    A look's share of the error grows with its blocks: 0.05 · n / max ÷ (1 + ln(max / 4)). Looks share most of
    their blocks, so the shares may add up to more than 5 %; the divisor fits simulated normal log ratios
    (100,000 to 400,000 runs, 2 to 100 blocks: together 4.1 to 5.1 %). Between two looks the same rule holds
    for the blocks there are.
    """
    most = max(n_blocks, max_blocks, 1)
    return 1 - ERROR * n_blocks / most / (1 + math.log(max(most, FIRST_LOOK) / FIRST_LOOK))


def estimate(log_ratios: Sequence[float], max_blocks: int) -> Estimate:
    """The speed-up after these blocks, its interval at this look, and what is still open.

    ``log_ratios`` are BLOCK_COLUMNS' (NaN: none); ``max_blocks`` sets how the error is spread over the looks.
    """
    values = np.asarray(log_ratios, dtype=float)
    values = values[~np.isnan(values)]
    n = values.size
    speedup = float(np.exp(values.mean())) if n else math.nan
    if n < 2:
        return Estimate(speedup, math.nan, math.nan, math.nan, n, False, INCONCLUSIVE, False, FIRST_LOOK - n)
    confidence = confidence_at(n, max_blocks)
    low, high = np.exp(mean_interval(values, confidence, LEAST_SPREAD)).tolist()
    label, decided = step_of(low), step_of(low) == step_of(high)
    label = INCONCLUSIVE if label == NOT_RECOMMENDED and not decided else label
    more_blocks = None if decided else blocks_to_settle(values, max_blocks)
    return Estimate(speedup, low, high, confidence, n, decided, label, not decided, more_blocks)


def blocks_to_settle(values: np.ndarray, max_blocks: int) -> int:
    """The fewest more blocks after which the interval probably lies between two thresholds.

    Foreseen from the blocks so far: with n' blocks the mean will lie around today's with a standard deviation
    of s · √(1/n - 1/n'), and the interval reaches t · s / √n' to both sides of it.
    """
    n = values.size
    mean, spread = values.mean(), max(values.std(ddof=1), LEAST_SPREAD)
    later = n + np.arange(2, MANY_BLOCKS + 1, 2)
    error = np.array([1 - confidence_at(int(blocks), max_blocks) for blocks in later])
    half = special.stdtrit(later - 1.0, 1 - error / 2) * spread / np.sqrt(later)
    drift = spread * np.sqrt(1 / n - 1 / later)
    edges = np.log([0.001, *(threshold for threshold, _ in STEPS), 1000])
    within = (edges[:-1, None] + half, edges[1:, None] - half)  # where the mean may then lie
    below, above = (special.stdtr(n - 1, (edge - mean) / drift) for edge in within)
    enough = np.flatnonzero(np.maximum(above - below, 0).sum(axis=0) >= PROBABLY)
    return int(later[enough[0]] - n) if enough.size else MANY_BLOCKS


def summarize_blocks(
    answers: pd.DataFrame,
    candidate: str,
    level: int,
    baseline: str,
    baseline_level: int,
    recorded_s_per_frame: float | None = None,
) -> pd.DataFrame:
    """One row a confirmation block of a candidate (BLOCK_COLUMNS): both sides' times, the log of their ratio.

    A block that lost nothing is judged by wall clocks, first sending to last answer. If a side lost frames,
    both are judged on the frames that both answered, and ``note`` says so: the side that lost some by summed
    answer times ÷ requests in flight, for a failure's time is not slowness; the other by those frames' share
    of its wall clock. A baseline that was not measured takes ``recorded_s_per_frame`` for each frame.
    """
    confirmed = answers[(answers["phase"] == "confirm") & answers["complete"].astype(bool)]
    confirmed = confirmed.sort_values("position")
    nth = confirmed.groupby(["server", "concurrency", "block", "frame_id"]).cumcount()
    confirmed = confirmed.set_index([confirmed["frame_id"], nth])  # a frame may come twice in a block
    names = {"candidate": candidate, "baseline": baseline}
    levels = {"candidate": level, "baseline": baseline_level}
    ours = confirmed[(confirmed["server"] == candidate) & (confirmed["concurrency"] == level)]
    theirs = confirmed[(confirmed["server"] == baseline) & (confirmed["concurrency"] == baseline_level)]
    if recorded_s_per_frame is not None:
        start_s = ours.groupby("block").cumcount() * recorded_s_per_frame
        theirs = ours.assign(start_s=start_s, total_s=recorded_s_per_frame)
        theirs = theirs.assign(error_class=None, output_tokens=math.nan)
    rows = []
    for block in sorted({*ours["block"], *theirs["block"]}):
        cells = [side[side["block"] == block] for side in (ours, theirs)]
        frames = cells[0].index.union(cells[1].index)
        answered = [cell[cell["error_class"].isna()] for cell in cells]
        common = answered[0].index.intersection(answered[1].index)
        row = {**names, "block": block, "n_frames": len(frames), "n_common": len(common)}
        for side, cell in zip(names, answered, strict=True):
            n_lost, summed_s = len(frames) - len(cell), cell["total_s"].loc[common].sum(min_count=1)
            whole_s = (cell["start_s"] + cell["total_s"]).max() - cell["start_s"].min()
            wall_s = summed_s / levels[side] if n_lost else whole_s * summed_s / cell["total_s"].sum()
            tokens = cell["output_tokens"].loc[common].astype(float).sum(skipna=False)
            row |= {f"{side}_level": levels[side], f"{side}_lost": n_lost, f"{side}_wall_s": wall_s}
            row[f"{side}_output_tok_per_s"] = tokens / wall_s
        row["log_ratio"] = math.log(row["baseline_wall_s"] / row["candidate_wall_s"])
        row["speedup"] = math.exp(row["log_ratio"])
        lost = [f"{names[s]} lost {n} of {len(frames)}" for s in names if (n := row[f"{s}_lost"])]
        so = "no frame was answered on both sides, so there is no ratio"
        if len(common):
            so = f"judged on the {count(len(common), 'frame')} that both answered, without failures' time"
        row["note"] = f"{', '.join(lost)}: {so}" if lost else ""
        rows.append(row)
    return pd.DataFrame(rows, columns=list(BLOCK_COLUMNS))

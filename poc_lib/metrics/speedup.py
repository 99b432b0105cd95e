"""The speed-up and its interval: blocks of two wall clocks in, one estimate out.

A confirmation block times the baseline and the candidate on the same fresh frames, so blocks are independent
of each other and a t interval of the mean log ratio speaks for other frames and other moments. It is looked
at after 4, 6, 8 ... blocks, and measuring stops as soon as nothing is open. What is looked at again and again
is wrong more often than what is looked at once; the error of 5 % is therefore spread over the looks.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

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
    "sitting": ("", "in which the block was measured"),
    "order": ("", "AB: the baseline went first; BA: the candidate; empty: not in one sitting"),
    "n_frames": ("", "frames of the block"),
    "n_common": ("", "of these answered by both sides"),
    "candidate_lost": ("", "frames without an answer of the candidate"),
    "baseline_lost": ("", "frames without an answer of the baseline"),
    "candidate_wall_s": ("s", "first sending to last answer, candidate"),
    "baseline_wall_s": ("s", "first sending to last answer, baseline"),
    "log_ratio": ("", "natural logarithm of baseline_wall_s ÷ candidate_wall_s"),
    "speedup": ("×", "the same as a ratio"),
    "candidate_frames_per_s": ("1/s", "n_common ÷ candidate_wall_s"),
    "baseline_frames_per_s": ("1/s", "n_common ÷ baseline_wall_s"),
    "candidate_output_tok_per_s": ("tokens/s", "output tokens ÷ candidate_wall_s"),
    "baseline_output_tok_per_s": ("tokens/s", "output tokens ÷ baseline_wall_s"),
    "note": ("", "why the block is judged on fewer frames; empty: it lost nothing"),
}


@dataclass(frozen=True, slots=True)
class Estimate:
    """The speed-up after some blocks, with the interval that belongs to it."""

    speedup: float  # geometric mean of the blocks' ratios of wall clocks; NaN: no block
    low: float  # NaN: fewer than two blocks
    high: float
    confidence: float  # of this look's interval, 0 to 1; NaN: none
    n_blocks: int  # blocks with a ratio
    decided: bool  # the interval lies between two neighbouring thresholds
    label: str  # the highest step that the lower bound reaches, or why there is none
    open_above: bool  # the upper bound reaches a higher step
    more_blocks: int | None  # that would probably settle it, at most MANY_BLOCKS; None: decided


def mean_interval(
    values: Sequence[float], confidence: float = 0.95, least_spread: float = 0.0
) -> tuple[float, float]:
    """Student's t interval of a mean: low and high, NaN with fewer than two values.

    NaN values are left out. ``least_spread`` is the smallest standard deviation that is believed: equal
    values would otherwise claim to know the mean exactly.
    """
    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if known.size < 2:
        return math.nan, math.nan
    spread = max(float(known.std(ddof=1)), least_spread)
    half = float(_t_quantile(1 - confidence, known.size)) * spread / math.sqrt(known.size)
    return float(known.mean()) - half, float(known.mean()) + half


def binomial_bounds(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided exact interval of a share of k among n (Clopper and Pearson 1934); NaN for n = 0."""
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

    Args:
        log_ratios: ln(baseline's wall clock ÷ candidate's), one a block; NaN: the block has none.
        max_blocks: the most blocks the plan allows: it sets how the error is spread over the looks.
    """
    values = np.asarray(log_ratios, dtype=float)
    values = values[~np.isnan(values)]
    n_blocks = values.size
    confidence = confidence_at(n_blocks, max_blocks) if n_blocks > 1 else math.nan
    low, high = np.exp(mean_interval(values, confidence, LEAST_SPREAD)).tolist()
    at_least, at_most = step_of(low), step_of(high)
    decided = n_blocks >= 2 and at_least == at_most
    inconclusive = not decided and at_least == NOT_RECOMMENDED
    more_blocks = None
    if not decided:
        more_blocks = _blocks_to_settle(values, max_blocks) if n_blocks >= 2 else FIRST_LOOK - n_blocks
    return Estimate(
        speedup=float(np.exp(values.mean())) if n_blocks else math.nan,
        low=low,
        high=high,
        confidence=confidence,
        n_blocks=n_blocks,
        decided=decided,
        label=INCONCLUSIVE if inconclusive else at_least,
        open_above=n_blocks >= 2 and not decided,
        more_blocks=more_blocks,
    )


def _t_quantile(error: np.ndarray | float, n: np.ndarray | int) -> np.ndarray:
    return special.stdtrit(np.asarray(n) - 1.0, 1 - np.asarray(error) / 2)


def _blocks_to_settle(values: np.ndarray, max_blocks: int) -> int:
    """The fewest more blocks after which the interval probably lies between two thresholds.

    Foreseen from the blocks so far: with n' blocks the mean will lie around today's with a standard deviation
    of s · √(1/n - 1/n'), and the interval reaches t · s / √n' to both sides of it.
    """
    n = values.size
    mean, spread = values.mean(), max(values.std(ddof=1), LEAST_SPREAD)
    later = n + np.arange(2, MANY_BLOCKS + 1, 2)
    error = np.array([1 - confidence_at(int(blocks), max_blocks) for blocks in later])
    half = _t_quantile(error, later) * spread / np.sqrt(later)
    drift = spread * np.sqrt(1 / n - 1 / later)
    edges = np.log([0.001, *(threshold for threshold, _ in STEPS), 1000])
    reach = [
        special.stdtr(n - 1, (above - half - mean) / drift)
        - special.stdtr(n - 1, (below + half - mean) / drift)
        for below, above in itertools.pairwise(edges)
    ]
    enough = np.flatnonzero(np.maximum(reach, 0).sum(axis=0) >= PROBABLY)
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
    of its wall clock. With ``recorded_s_per_frame`` the baseline was not measured: its time is that figure ×
    frames. ``order`` is "AB" where the baseline went first, "" where they were not measured together.
    """
    confirmed = answers[(answers["phase"] == "confirm") & answers["complete"].astype(bool)]
    of_candidate = confirmed[(confirmed["server"] == candidate) & (confirmed["concurrency"] == level)]
    of_baseline = confirmed[(confirmed["server"] == baseline) & (confirmed["concurrency"] == baseline_level)]
    rows = []
    for block in sorted(set(of_candidate["block"]) | set(of_baseline["block"])):
        ours = _by_frame(of_candidate[of_candidate["block"] == block])
        if recorded_s_per_frame is None:
            theirs = _by_frame(of_baseline[of_baseline["block"] == block])
        else:
            start_s = np.arange(len(ours)) * recorded_s_per_frame
            theirs = ours.assign(start_s=start_s, total_s=recorded_s_per_frame, sitting=-1)
            theirs = theirs.assign(error_class=None, output_tokens=math.nan)
            baseline_level = 1
        names = {"candidate": candidate, "baseline": baseline, "block": block}
        names |= {"candidate_level": level, "baseline_level": baseline_level}
        rows.append(names | _judge_block(ours, theirs, names))
    return pd.DataFrame(rows, columns=list(BLOCK_COLUMNS))


def _by_frame(cell: pd.DataFrame) -> pd.DataFrame:
    """A cell's rows by frame and, where a block shows a frame twice, by which time it is."""
    cell = cell.sort_values("position")
    return cell.set_index([cell["frame_id"], cell.groupby("frame_id").cumcount()])


def _judge_block(candidate: pd.DataFrame, baseline: pd.DataFrame, names: dict) -> dict:
    sides = {"candidate": candidate, "baseline": baseline}
    answered = {side: rows[rows["error_class"].isna()] for side, rows in sides.items()}
    n_frames = len(candidate.index.union(baseline.index))
    common = answered["candidate"].index.intersection(answered["baseline"].index)
    lost = {side: n_frames - len(rows) for side, rows in answered.items()}
    judged = {"n_frames": n_frames, "n_common": len(common), "order": "", "note": ""}
    judged["sitting"] = int(candidate["sitting"].max()) if len(candidate) else -1
    if len(baseline) and judged["sitting"] == baseline["sitting"].iloc[0]:
        judged["order"] = "AB" if baseline["start_s"].min() < candidate["start_s"].min() else "BA"
    for side, rows in answered.items():
        summed_s, wall_s = rows["total_s"].loc[common].sum(), math.nan
        if len(common) and lost[side]:
            wall_s = summed_s / names[f"{side}_level"]
        elif len(common):
            whole_s = (rows["start_s"] + rows["total_s"]).max() - rows["start_s"].min()
            wall_s = whole_s * summed_s / rows["total_s"].sum()
        tokens = rows["output_tokens"].loc[common].astype(float).sum(skipna=False)
        judged[f"{side}_lost"] = lost[side]
        judged[f"{side}_wall_s"] = wall_s
        judged[f"{side}_frames_per_s"] = len(common) / wall_s
        judged[f"{side}_output_tok_per_s"] = tokens / wall_s
    judged["log_ratio"] = math.log(judged["baseline_wall_s"] / judged["candidate_wall_s"])
    judged["speedup"] = math.exp(judged["log_ratio"])
    if any(lost.values()):
        counts = ", ".join(f"{names[side]} lost {n} of {n_frames}" for side, n in lost.items() if n)
        judged["note"] = (
            f"{counts}: judged on the {len(common)} frames that both answered, without the time of failures"
            if len(common)
            else f"{counts}: no frame was answered on both sides, so there is no ratio"
        )
    return judged

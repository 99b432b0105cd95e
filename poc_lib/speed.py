"""The speed table with its speed-ups and every interval. Pure."""

import numpy as np
import pandas as pd

from poc_lib.intervals import blocks_to_settle, estimate_speedups, rate_intervals
from poc_lib.metrics import LEVEL, Baseline, add_speedup, pick_baseline, summarize_speed

RATES = ("frames_per_s", "output_tok_per_s")
ENDS = ("low", "high")
FROM_SPEEDUPS = [
    *("speedup_frames_low", "speedup_frames_high", "speedup_tokens_low", "speedup_tokens_high"),
    *("simultaneous_low", "simultaneous_high", "n_simultaneous"),
    *(
        "n_frames",
        "n_blocks",
        "n_groups",
        "block_share",
        "between_blocks_known",
        "between_groups_known",
        "more_blocks",
    ),
]
COUNTED_IN_ALL = ["n_requests", "n_ok", "n_failed", "n_not_sent", "complete"]
ONE_BLOCK_NEEDS = 2  # more blocks before the differences between blocks can be seen at all


def build_speed_table(
    requests: pd.DataFrame, frames: pd.DataFrame, recording_frames: int, recorded: Baseline
) -> tuple[pd.DataFrame, Baseline]:
    """Every server and level with its speed-up over the baseline, and the baseline itself.

    Args:
        requests: one row a reply.
        frames: analysis.frames_table.
        recording_frames: frames of the whole recording.
        recorded: stands in where no baseline was measured.

    Columns: those of metrics.summarize_speed and metrics.add_speedup, the rates' own 95 % intervals
    (``*_low``, ``*_high``), and FROM_SPEEDUPS: the speed-up's intervals (intervals.estimate_speedups), with
    ``more_blocks`` that would bring it off every threshold of the verdict (NaN: none needed, or not enough).
    Against recorded figures the interval holds the candidate's uncertainty alone.

    Rates come from cells that were measured in one sitting wherever a level has one (``blocks_left_out``
    counts the others): what was in flight when a sitting broke off took the server's time and counts
    nowhere, and the slots fill up twice. Answers, failures and lost frames are counted over all cells.
    """
    every = summarize_speed(requests, len(frames), recording_frames)
    requests = without_interrupted(requests)
    speed = summarize_speed(requests, len(frames), recording_frames)
    speed = _with_counts_of_all(speed, every)
    baseline = pick_baseline(speed, recorded)
    rates = rate_intervals(requests, frames)
    own = [f"{rate}_{end}" for rate in RATES for end in ENDS]
    speed = add_speedup(speed, baseline).merge(rates[[*LEVEL, *own]], on=LEVEL, how="left")
    if baseline.measured:
        speedups = estimate_speedups(requests, frames, baseline.name, baseline.concurrency)
        speedups["more_blocks"] = [_more_blocks(row) for _, row in speedups.iterrows()]
    else:
        speedups = _against_recorded(speed, requests, frames, baseline)
    table = speed.merge(speedups[[*LEVEL, *FROM_SPEEDUPS]], on=LEVEL, how="left")
    for name in ("between_blocks_known", "between_groups_known"):
        table[name] = table[name].eq(True)
    return table, baseline


def without_interrupted(requests: pd.DataFrame) -> pd.DataFrame:
    """The requests without the cells measured in several sittings, where their level has others."""
    measured = requests[requests["phase"] == "measure"]
    sittings = measured.groupby([*LEVEL, "block"])["sitting"].transform("nunique")
    broken = sittings[sittings > 1].index
    whole = measured.drop(index=broken).groupby(LEVEL).size()
    levels = pd.MultiIndex.from_frame(measured.loc[broken, LEVEL])
    return requests.drop(index=broken[levels.isin(whole.index)])


def _with_counts_of_all(speed: pd.DataFrame, every: pd.DataFrame) -> pd.DataFrame:
    """Rates of ``speed``, counts and completeness of ``every``."""
    both = speed.merge(every[[*LEVEL, *COUNTED_IN_ALL, "blocks"]], on=LEVEL, suffixes=("", "_of_all"))
    counts = {name: both[f"{name}_of_all"] for name in COUNTED_IN_ALL}
    return both[speed.columns].assign(**counts, blocks_left_out=both["blocks_of_all"] - both["blocks"])


def _more_blocks(row: pd.Series) -> float:
    if row["n_blocks"] == 1:
        return ONE_BLOCK_NEEDS
    needed = blocks_to_settle(row)
    return float(needed) if needed else np.nan


def _against_recorded(
    speed: pd.DataFrame, requests: pd.DataFrame, frames: pd.DataFrame, baseline: Baseline
) -> pd.DataFrame:
    """The candidates' own intervals divided by the recorded figures, which are taken as exact."""
    rows = speed[speed["role"] == "candidate"]
    n_levels = int(rows["complete"].sum())
    all_at_once = rate_intervals(requests, frames, 1 - 0.05 / max(n_levels, 1))  # Bonferroni
    rows = rows.merge(all_at_once, on=LEVEL, suffixes=("", "_of_all"), how="left")
    ends = {}
    for end in ENDS:
        ends[f"speedup_frames_{end}"] = rows[f"frames_per_s_{end}"] / baseline.frames_per_s
        ends[f"speedup_tokens_{end}"] = rows[f"output_tok_per_s_{end}"] / baseline.output_tok_per_s
        of_all = rows[f"frames_per_s_{end}_of_all"] / baseline.frames_per_s
        ends[f"simultaneous_{end}"] = of_all.where(rows["complete"])
    return rows[LEVEL].assign(
        **ends,
        n_simultaneous=n_levels,
        n_frames=rows["n"] / rows["n_blocks"],
        n_blocks=rows["n_blocks"],
        n_groups=rows["n_groups"],
        block_share=np.nan,
        between_blocks_known=rows["n_blocks"] > 1,
        between_groups_known=rows["n_groups"] > 1,
        more_blocks=np.where(rows["n_blocks"] > 1, np.nan, ONE_BLOCK_NEEDS),
    )

"""What it would take for an interval to clear the verdict's thresholds, if the estimates stay as they are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from poc_lib.intervals.crossed import squared_t, widest_square
from poc_lib.intervals.groups import GROUPS_AT_MOST
from poc_lib.intervals.speedups import PARTS, each_confidence

THRESHOLDS = (1.5, 2.0, 3.0)
MORE_BLOCKS_AT_MOST = 50
TIMES_THE_FRAMES_AT_MOST = 20


def spanned_thresholds(row: pd.Series, thresholds: Sequence[float] = THRESHOLDS) -> list[float]:
    """The thresholds that lie inside the row's simultaneous interval: the verdict is open between them."""
    return [t for t in thresholds if row["simultaneous_low"] < t < row["simultaneous_high"]]


def blocks_to_settle(row: pd.Series, thresholds: Sequence[float] = THRESHOLDS) -> int | None:
    """How many more blocks until the simultaneous interval spans no threshold; 0: it spans none now.

    Args:
        row: a row of ``estimate_speedups``.

    None: not known with a single block, or ``MORE_BLOCKS_AT_MOST`` more would not do (the estimate lies close
    to a threshold, or the frames differ too much: see ``frames_to_settle``).
    """
    if not row["between_blocks_known"] or pd.isna(row["simultaneous_low"]):
        return None
    n_blocks = int(row["n_blocks"]) + np.arange(MORE_BLOCKS_AT_MOST + 1)
    return _first_settled(row, thresholds, n_blocks, np.full_like(n_blocks, row["n_frames"]))


def frames_to_settle(row: pd.Series, thresholds: Sequence[float] = THRESHOLDS) -> int | None:
    """How many more frames, in the same number of blocks, until the interval spans no threshold.

    As ``blocks_to_settle``; None also if the blocks differ too much. ``TIMES_THE_FRAMES_AT_MOST`` is the most
    that is tried.
    """
    if not row["between_groups_known"] or pd.isna(row["simultaneous_low"]):
        return None
    n_frames = int(row["n_frames"])
    frames = n_frames + np.arange((TIMES_THE_FRAMES_AT_MOST - 1) * n_frames + 1)
    return _first_settled(row, thresholds, np.full_like(frames, row["n_blocks"]), frames)


def _first_settled(
    row: pd.Series, thresholds: Sequence[float], n_blocks: np.ndarray, n_frames: np.ndarray
) -> int | None:
    half = expected_half_width(row, n_blocks, n_frames)
    distance = np.abs(np.log(row["speedup_frames"]) - np.log(np.asarray(thresholds, dtype=float)))
    settled = np.flatnonzero(half <= distance.min())
    return int(settled[0]) if settled.size else None


def expected_half_width(row: pd.Series, n_blocks: np.ndarray, n_frames: np.ndarray) -> np.ndarray:
    """Half the simultaneous interval on the log scale with other numbers of blocks and frames.

    Differences between blocks count as 1 / blocks, those between frames as 1 / frames, the rest as
    1 / (blocks · frames); the interval is ``crossed.half_width``'s.
    """
    each = each_confidence(row["confidence"], int(row["n_simultaneous"]))
    by_blocks, by_groups, rest = (np.nan_to_num(row[f"var_{part}"]) for part in PARTS)
    less_by_blocks, less_by_frames = row["n_blocks"] / n_blocks, row["n_frames"] / n_frames
    blocks = max(by_blocks - rest, 0) + min(by_blocks, rest) * less_by_frames
    groups = max(by_groups - rest, 0) + min(by_groups, rest) * less_by_blocks
    return np.sqrt(
        widest_square(
            blocks * less_by_blocks,
            groups * less_by_frames,
            rest * less_by_blocks * less_by_frames,
            squared_t(each, n_blocks - 1),
            squared_t(each, _freedom_of_groups(row, n_frames)),
        )
    )


def _freedom_of_groups(row: pd.Series, n_frames: np.ndarray) -> np.ndarray:
    n_groups = np.minimum(row["n_groups"] * n_frames // row["n_frames"], GROUPS_AT_MOST)
    return row["df_groups"] + np.maximum(n_groups - row["n_groups"], 0)

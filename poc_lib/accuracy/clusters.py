"""Which frames may not be counted as independent of each other."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from poc_lib.intervals.groups import group_frames
from poc_lib.looks import LOOKS_DIFFERENT_BITS, hash_distances

Groups = Mapping[str, int]  # frame_id -> its group of near-duplicates

FRAME_COLUMNS = ["frame_id", "timestamp_s", "phash"]


def frame_groups(frames: pd.DataFrame) -> Groups:
    """The group of near-duplicate neighbours of each frame (see intervals.group_frames).

    Args:
        frames: one row a frame with ``frame_id`` and, where known, ``timestamp_s`` and ``phash``.
    """
    return group_frames(frames.reindex(columns=FRAME_COLUMNS)).to_dict() if len(frames) else {}


def group_labels(frame_ids: pd.Series, groups: Groups | None) -> pd.Series:
    """Each row's group label; a frame without a group is its own, as every frame is without ``groups``."""
    return frame_ids.map(lambda frame_id: (groups or {}).get(frame_id, f"alone {frame_id}"))


def looks_different(frames: pd.DataFrame, frame_ids: list[str]) -> np.ndarray:
    """n × n truth values: the two frames are known to look different (looks.LOOKS_DIFFERENT_BITS)."""
    hashes = frames.reindex(columns=FRAME_COLUMNS).set_index("frame_id")["phash"].to_dict()
    known = [hashes.get(frame_id) for frame_id in frame_ids]
    return hash_distances(known, known) >= LOOKS_DIFFERENT_BITS  # NaN, unknown, compares as False

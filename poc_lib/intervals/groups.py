"""Frames in time order, cut into groups that may count as independent of each other."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from poc_lib.looks import LOOKS_DIFFERENT_BITS, hash_distances

GROUPS_AT_MOST = 8  # batch means: few large batches are the safer ones (Schmeiser 1982)
GROUPS_AT_LEAST = 4


def group_frames(frames: pd.DataFrame, at_least: int = 1) -> pd.Series:
    """The group number (0, 1, …) of each frame, on the index frame_id, in time order.

    Args:
        frames: one row a frame with frame_id, timestamp_s and phash (16 hex digits; None: unknown, which
            counts as different).
        at_least: frames per group; a shorter last group joins its neighbour.

    A run of neighbours of which each looks like the one before is never cut.
    """
    ordered = frames.sort_values("timestamp_s", kind="stable")
    return _numbered(ordered, cut_runs(looks_like_previous(ordered["phash"].tolist()), at_least))


def group_for_intervals(frames: pd.DataFrame, concurrency: int) -> pd.Series:
    """As ``group_frames``, with the group size that intervals at this concurrency use."""
    ordered = frames.sort_values("timestamp_s", kind="stable")
    return _numbered(ordered, cut_for_intervals(looks_like_previous(ordered["phash"].tolist()), concurrency))


def _numbered(ordered: pd.DataFrame, numbers: np.ndarray) -> pd.Series:
    return pd.Series(numbers, index=pd.Index(ordered["frame_id"], name="frame_id"), name="group", dtype=int)


def looks_like_previous(hashes: Sequence[str | None]) -> np.ndarray:
    """n truth values: this frame looks like the one before it (fewer bits differ than tell two screens)."""
    alike = np.zeros(len(hashes), dtype=bool)
    if len(hashes) > 1:
        neighbours = np.diagonal(hash_distances(hashes[1:], hashes[:-1]))
        alike[1:] = neighbours < LOOKS_DIFFERENT_BITS
    return alike


def cut_runs(alike: np.ndarray, at_least: int) -> np.ndarray:
    """Group numbers of n frames in order: at least ``at_least`` each, never cut before an alike frame."""
    numbers = np.zeros(len(alike), dtype=int)
    group, size = 0, 0
    for position, same in enumerate(alike):
        if size >= at_least and not same:
            group, size = group + 1, 0
        numbers[position] = group
        size += 1
    if group and size < at_least:
        numbers[numbers == group] = group - 1
    return numbers


def cut_for_intervals(alike: np.ndarray, concurrency: int) -> np.ndarray:
    """Group numbers of n frames in order, in the size that intervals at this concurrency use.

    Groups are whole waves, and so large that at most about ``GROUPS_AT_MOST`` remain: neighbours in time are
    alike in ways that no hash shows. Where that leaves fewer than ``GROUPS_AT_LEAST``, they are made smaller,
    down to single frames: two or three groups tell next to nothing about how much frames differ.
    """
    waves = max(1, -(-len(alike) // (GROUPS_AT_MOST * concurrency)))
    for at_least in range(min(waves * concurrency, max(len(alike), 1)), 0, -1):
        groups = cut_runs(alike, at_least)
        if len(groups) and groups[-1] + 1 >= GROUPS_AT_LEAST:
            break
    return groups

"""Whose answer do a level's wrong answers repeat: mostly the first one's, or the one's sent just before?

Under load a replay is not always fast: where a wave's images are read one by one and answered together, one
replayed among them hardly shortens anybody's TTFT. Then only what the wrong answers have in common tells.
"""

import numpy as np
import pandas as pd

from poc_lib.confusion.evidence import Evidence
from poc_lib.confusion.limits import ConfusionLimits
from poc_lib.confusion.tables import CELL, LEVEL, hashes_of
from poc_lib.looks import paired_distances

REPLAY_PREVIOUS = "replay of the previous answer"
REPLAY_FIRST = "replay of the first answer"
FIRST_SHARE, FIRST_LEAST = 0.5, 2  # of a level's wrong neighbours are about the first answer's frame
PREVIOUS_SHARE, PREVIOUS_LEAST = 0.8, 4  # nearer ones are often in flight together, so more is asked


def replayed_sources(evidence: Evidence, frames: pd.DataFrame, limits: ConfusionLimits) -> dict:
    """The cause of each wrong neighbour at levels where most repeat the first, or the previous, answer.

    By the answer's index, and by (server, role, concurrency, block, frame_id) of the answer and, for the
    first, of the frame that is repeated. A frame that looks like the first's, or the previous one's, counts.
    """
    causes: dict = {}
    if evidence.wrong.empty:
        return causes
    answers = evidence.answers
    previous = answers.groupby(CELL, sort=False)["frame_id"].shift(1)
    starts = answers.groupby(CELL, sort=False)["frame_id"].transform("first")
    served = evidence.first.drop_duplicates("server").set_index("server")["frame_id"]
    for _, level in evidence.wrong.groupby(LEVEL, sort=False):
        fits = level["fits_frame_id"]
        firsts = (starts[level.index], level["server"].map(served))
        to_first = np.logical_or.reduce([_same_screen(fits, one, frames, limits) for one in firsts])
        to_previous = _same_screen(fits, previous[level.index], frames, limits)
        if to_first.sum() >= max(FIRST_LEAST, FIRST_SHARE * len(level)):
            _note(causes, level[to_first], REPLAY_FIRST)
            for one in firsts:
                _note(causes, level.assign(frame_id=one)[one.notna()], REPLAY_FIRST, by_index=False)
        elif to_previous.sum() >= max(PREVIOUS_LEAST, PREVIOUS_SHARE * len(level)):
            _note(causes, level[to_previous], REPLAY_PREVIOUS)
    return causes


def _note(causes: dict, rows: pd.DataFrame, cause: str, by_index: bool = True) -> None:
    for index, *key in rows[[*CELL, "frame_id"]].itertuples(name=None):
        causes[tuple(key)] = cause
        if by_index:
            causes[index] = cause


def _same_screen(
    left: pd.Series, right: pd.Series, frames: pd.DataFrame, limits: ConfusionLimits
) -> np.ndarray:
    """Whether each frame of ``left`` is its partner in ``right``, or looks like it."""
    hashes = hashes_of(frames)
    distances = paired_distances([hashes.get(f) for f in left], [hashes.get(f) for f in right])
    return (left.to_numpy() == right.to_numpy()) | (distances < limits.looks_different_bits)

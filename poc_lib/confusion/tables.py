"""What the checks read: the answers of a run, and its frames."""

import re

import numpy as np
import pandas as pd

from poc_lib.accuracy.sides import is_missing, measured, reference_sides
from poc_lib.answers import comparable_text, strip_thinking
from poc_lib.confusion.looks import hash_distances

LEVEL = ["server", "role", "concurrency"]
CELL = [*LEVEL, "repeat"]


def answers_table(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured, answered requests in sending order, with two columns more.

    ``compared``: the answer's description, or all of it where it has none. ``words``: all its words in lower
    case, for telling same answers. Failed requests and answers without a word are left out.
    """
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=[*CELL, "frame_id", "compared", "words"])
    answered = rows[[is_missing(error) for error in rows["error_class"]]]
    answers = answered.assign(
        compared=[comparable_text(text) for text in answered["text"]],
        words=[_words(text) for text in answered["text"]],
    )
    return answers[answers["words"] != ""].reset_index(drop=True)


def stored_references(frames: pd.DataFrame) -> pd.Series:
    """The stored descriptions by frame_id, in the order of ``frames``."""
    sides = reference_sides(frames)
    return pd.Series({frame_id: side.text for frame_id, side in sides.items()}, dtype=object)


def frame_distances(frames: pd.DataFrame, left: pd.Series, right: pd.Series) -> np.ndarray:
    """Visual distance in bits of each frame id of ``left`` to each of ``right``: n × m, NaN where unknown."""
    hashes = dict(zip(frames["frame_id"], frames["phash"], strict=True)) if len(frames) else {}
    return hash_distances([hashes.get(f) for f in left], [hashes.get(f) for f in right])


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", strip_thinking(text).casefold()))

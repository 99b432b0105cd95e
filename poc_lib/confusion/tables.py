"""What the checks read: the answers of a run, and its frames."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd

from poc_lib.accuracy.sides import is_missing, measured, reference_sides
from poc_lib.answers import comparable_text, strip_thinking
from poc_lib.looks import hash_distances

LEVEL = ["server", "role", "concurrency"]
CELL = [*LEVEL, "block"]
KEPT = [*CELL, "frame_id", "sitting", "ttft_s"]
CHUNK_ROWS = 512  # rows of a dense n × m table that is held at a time


def answers_table(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured, answered requests in sending order: KEPT's columns and two more.

    ``compared``: the answer's description, or all of it where it has none. ``words``: all its words in lower
    case, for telling same answers. Failed requests and answers without a word are left out.
    """
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=[*KEPT, "compared", "words"])
    return with_texts(rows)


def first_answers(requests: pd.DataFrame) -> pd.DataFrame:
    """Each server's first answered request of each sitting, warm-up included, with its texts.

    A cache keyed by the prompt alone replays this one, whichever level is measured later.
    """
    if requests.empty:
        return answers_table(requests)
    in_order = _answered(requests).sort_values(["sitting", "start_s"], kind="stable")
    # Warm-up has a clock of its own in its sitting, so it counts as earlier than what is measured.
    in_order = in_order.assign(later=in_order["phase"] != "warmup").sort_values(["later"], kind="stable")
    return with_texts(in_order.drop_duplicates(["server", "sitting"]))


def with_texts(rows: pd.DataFrame) -> pd.DataFrame:
    """Answered requests with ``compared`` and ``words``; those without a word are left out."""
    answered = _answered(rows)
    answers = answered[KEPT].assign(
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
    hashes = hashes_of(frames)
    return hash_distances([hashes.get(f) for f in left], [hashes.get(f) for f in right])


def hashes_of(frames: pd.DataFrame) -> dict[str, str | None]:
    """The frames' visual hashes by frame_id."""
    return dict(zip(frames["frame_id"], frames["phash"], strict=True)) if len(frames) else {}


def row_chunks(n_rows: int) -> Iterator[slice]:
    """Slices of at most CHUNK_ROWS rows that cover ``n_rows``."""
    return (slice(start, start + CHUNK_ROWS) for start in range(0, n_rows, CHUNK_ROWS))


def lowest_levels(rows: pd.DataFrame) -> dict[str, int]:
    """Each server's lowest level, by server."""
    return rows.groupby("server")["concurrency"].min().to_dict() if len(rows) else {}


def _answered(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[np.array([is_missing(error) for error in rows["error_class"]], dtype=bool)]


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", strip_thinking(text).casefold()))

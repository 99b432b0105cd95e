"""What an answer is held against: its frame's stored reference, or else an answer given without load."""

from dataclasses import dataclass

import pandas as pd

from poc_lib.accuracy.sides import measured
from poc_lib.confusion.tables import CELL, lowest_levels, stored_references

STORED, UNLOADED = "stored reference", "unloaded answer"


@dataclass(frozen=True, slots=True)
class References:
    """All texts that a run's answers can be held against."""

    stored: pd.Series  # text by frame_id, for the frames that were sent
    unloaded: pd.DataFrame  # answers at each server's lowest level: CELL, frame_id, compared
    frame_ids: tuple[str, ...]  # the frames that were sent, in the frames table's order


def collect_references(requests: pd.DataFrame, frames: pd.DataFrame, answers: pd.DataFrame) -> References:
    """The stored references of the frames sent, and the answers given at each server's lowest level."""
    sent = measured(requests)
    asked = set(sent["frame_id"]) if len(sent) else set()
    frame_ids = tuple(f for f in frames["frame_id"] if f in asked) if len(frames) else ()
    stored = stored_references(frames)
    lowest = lowest_levels(sent)
    at_lowest = answers["concurrency"] == answers["server"].map(lowest) if len(answers) else []
    unloaded = answers[at_lowest][[*CELL, "frame_id", "compared"]] if len(answers) else answers
    return References(stored[stored.index.isin(asked)], unloaded, frame_ids)


def references_for(cell: tuple, references: References) -> pd.DataFrame:
    """For a cell (server, role, concurrency, block): one row per frame with ``text`` and ``held_against``.

    A frame without stored reference is held against the server's own answer at its lowest level, or else
    another server's, baselines first; never against an answer of the same cell. Frames with nothing at all
    have no row.
    """
    text = dict.fromkeys(references.stored.index, STORED)
    table = pd.DataFrame({"text": references.stored, "held_against": pd.Series(text, dtype=object)})
    missing = [f for f in references.frame_ids if f not in text]
    if missing and len(references.unloaded):
        table = pd.concat([table, _unloaded_for(cell, references.unloaded, missing)])
        table = table.loc[[f for f in references.frame_ids if f in table.index]]
    return table


def _unloaded_for(cell: tuple, unloaded: pd.DataFrame, frame_ids: list[str]) -> pd.DataFrame:
    rows = unloaded[unloaded["frame_id"].isin(frame_ids)]
    same_cell = (rows[CELL] == list(cell)).all(axis=1)
    rows = rows[~same_cell].assign(
        other_server=lambda r: r["server"] != cell[0], no_baseline=lambda r: r["role"] != "baseline"
    )
    first = rows.sort_values(["other_server", "no_baseline", "block"], kind="stable").drop_duplicates(
        "frame_id"
    )
    return pd.DataFrame(
        {"text": first["compared"].to_numpy(), "held_against": UNLOADED}, index=first["frame_id"].to_numpy()
    )

"""Every proven leak beside its two requests: whose code came, who got it, and where both stood. Pure."""

import numpy as np
import pandas as pd

from poc_lib.canary.judging import LEAK, ROW, canary_rows, judge_canaries

CELL = ["server", "role", "concurrency", "phase", "block"]
LEAK_COLUMNS = (
    *ROW,
    "donor_frame_id",
    "edits",
    "same_cell",
    "in_flight_together",
    "slot",
    "donor_slot",
    "place",
    "donor_place",
    "sent_after",
    "donor_aborted",
    "ttft_s",
    "usual_ttft_s",
)


def list_leaks(requests: pd.DataFrame) -> pd.DataFrame:
    """The answers of the canary phases that hold another frame's code.

    Returns:
        One row per victim and donor with LEAK_COLUMNS. ``frame_id`` is the victim: its answer holds the code
        of ``donor_frame_id``, ``edits`` off (0 or 1). The donor's request is that of the same cell, or else
        (``same_cell`` False) the last one sent to this server before; None and NaN where there was none.
        ``place`` counts a cell's requests in sending order from 0; ``sent_after`` = place - donor_place,
        within one cell only. ``usual_ttft_s`` is the median TTFT of the cell's other answers.
    """
    judged = judge_canaries(requests)
    if judged.empty or not (judged["judgement"] == LEAK).any():
        return pd.DataFrame(columns=list(LEAK_COLUMNS))
    rows = _with_places(requests)
    leaks = [
        _leak_row(rows, victim, donor, n_edits)
        for (_, verdict), (_, victim) in zip(judged.iterrows(), rows.iterrows(), strict=True)
        for donor, n_edits in zip(verdict["donor_frame_ids"], verdict["donor_edits"], strict=True)
    ]
    return pd.DataFrame(leaks, columns=list(LEAK_COLUMNS))


def _with_places(requests: pd.DataFrame) -> pd.DataFrame:
    """The canary rows in sending order, each with its place in its cell and its end (seconds)."""
    rows = canary_rows(requests).reset_index(drop=True)
    place = rows.groupby(CELL, sort=False).cumcount()
    ttft_s = pd.to_numeric(rows["ttft_s"])
    return rows.assign(place=place, end_s=rows["start_s"] + rows["total_s"], ttft_s=ttft_s)


def _leak_row(rows: pd.DataFrame, victim: pd.Series, donor_id: str, n_edits: int) -> tuple:
    in_cell = (rows[CELL] == victim[CELL]).all(axis=1)
    same, donor = _donor_request(rows, in_cell, victim, donor_id)
    others = rows[in_cell & (rows["frame_id"] != victim["frame_id"]) & rows["error_class"].isna()]
    known = donor is not None
    return (
        *(victim[key] for key in ROW),
        donor_id,
        n_edits,
        same,
        bool(known and _overlap(victim, donor)),
        victim["slot"],
        donor["slot"] if known else np.nan,
        victim["place"],
        donor["place"] if known else np.nan,
        victim["place"] - donor["place"] if same else np.nan,
        donor["error_class"] == "aborted" if known else None,
        victim["ttft_s"],
        others["ttft_s"].median(),
    )


def _donor_request(
    rows: pd.DataFrame, in_cell: pd.Series, victim: pd.Series, donor_id: str
) -> tuple[bool, pd.Series | None]:
    of_donor = rows["frame_id"] == donor_id
    if (in_cell & of_donor).any():
        return True, rows[in_cell & of_donor].iloc[-1]
    before = rows.index < victim.name
    earlier = rows[of_donor & before & (rows["server"] == victim["server"])]
    return False, None if earlier.empty else earlier.iloc[-1]


def _overlap(one: pd.Series, other: pd.Series) -> bool:
    same_clock = one["sitting"] == other["sitting"]
    return bool(same_clock and one["start_s"] < other["end_s"] and other["start_s"] < one["end_s"])

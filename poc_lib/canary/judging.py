"""What each answer of the canary phases shows: its own code, another's, or none. Pure."""

from collections.abc import Iterable

import pandas as pd

from poc_lib.canary.codes import canary_id, code_of, is_canary
from poc_lib.canary.reading import find_codes

PHASES = ("canary", "canary_abort")
ROW = ["server", "role", "concurrency", "phase", "block", "frame_id"]
READ, MISREAD_ONE, NOT_READ, LEAK = "read", "misread one", "not read", "leak"
CLEAN, FAILED, ABORTED = "clean", "failed", "aborted"
JUDGED_COLUMNS = (*ROW, "is_canary", "answered", "judgement", "donor_frame_ids", "donor_edits")


def canary_rows(requests: pd.DataFrame) -> pd.DataFrame:
    """The requests of the canary phases, in sending order."""
    rows = requests[requests["phase"].isin(PHASES)]
    return rows.sort_values(["sitting", "start_s"], kind="stable")


def judge_canaries(requests: pd.DataFrame) -> pd.DataFrame:
    """Judge every answer of the phases "canary" and "canary_abort".

    Returns:
        One row per request with JUDGED_COLUMNS. ``judgement`` of a canary: "read", "misread one" (within one
        edit: neither a leak nor a failure), "not read", "leak"; of a real frame: "clean" or "leak"; of either
        "failed" or "aborted" where no whole answer came. An answer leaks when it holds another frame's code,
        exact or within one edit, also beside its own code and also in what came before it failed.
        ``donor_frame_ids`` are the canaries whose codes it holds, ``donor_edits`` the edits of each.
    """
    rows = canary_rows(requests)
    codes = [code_of(frame_id) for frame_id in sorted(set(rows["frame_id"])) if is_canary(frame_id)]
    judged = [_judge(row, codes) for row in rows.itertuples(index=False)]
    return pd.DataFrame(judged, columns=list(JUDGED_COLUMNS))


def _judge(row, codes: Iterable[str]) -> tuple:
    own = code_of(row.frame_id) if is_canary(row.frame_id) else None
    found = find_codes(row.text, codes, own)
    others = [one for one in found if one.code != own]
    answered = bool(pd.isna(row.error_class))
    if others:
        judgement = LEAK
    elif not answered:
        judgement = ABORTED if row.error_class == "aborted" else FAILED
    elif own is None:
        judgement = CLEAN
    else:
        judgement = (READ, MISREAD_ONE)[found[0].edits] if found else NOT_READ
    donors = tuple(canary_id(one.code) for one in others)
    place = [getattr(row, key) for key in ROW]
    return (*place, own is not None, answered, judgement, donors, tuple(one.edits for one in others))

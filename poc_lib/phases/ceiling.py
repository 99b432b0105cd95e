"""What batching could give at best: Amdahl's law with prefill as the serial part.

G. M. Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities",
AFIPS Spring Joint Computer Conference, 1967.
"""

import numpy as np
import pandas as pd

from poc_lib.metrics import LEVEL, summarize_cells
from poc_lib.phases.split import summarize_phases, texts_or_none

PREFILL, DECODE = "prefill (image size)", "decode (model)"
SERVER = "server (does not reach the ceiling)"
REACHED = 0.8  # of the ceiling: below it, the server leaves more lying than the rest explains
ABOVE = 1.05  # of the ceiling: more than that refutes the assumption that prefill stays serial
HALF = 0.5  # of the ceiling's time per frame: prefill's part from which prefill limits
FILLED = 0.8  # of the slots: fewer in flight on average is worth saying
CEILING_COLUMNS = (
    *("simulated", "n_ok", "n_at_1", "prefill_s", "prefill_source", "decode_s", "decode_source"),
    *("ceiling_frames_per_s", "limit_frames_per_s", "prefill_share", "frames_per_s", "share_of_ceiling"),
    *("mean_in_flight", "limited_by", "note"),
)


def ceiling_frames_per_s(prefill_s: float, decode_s: float, concurrency: float) -> float:
    """Amdahl's bound in frames/s, 1 / (prefill + decode / slots): prefill serial, decode shared."""
    time_s = prefill_s + decode_s / concurrency
    return 1 / time_s if time_s > 0 else float("nan")


def summarize_ceiling(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per (server, role, concurrency): the ceiling, what was measured, and what limits.

    prefill_s and decode_s: per frame at 1 in flight, see summarize_phases; n_at_1 requests behind them. A
        server that was not measured at 1 in flight has no ceiling: NaN.
    ceiling_frames_per_s: 1 / (prefill + decode / concurrency); limit_frames_per_s: 1 / prefill, at any
        concurrency. Assumes answers as long as those at 1 in flight, and all slots filled all the time.
    prefill_share: prefill's part of the ceiling's time per frame.
    frames_per_s: measured over all blocks, work ÷ wall clock; share_of_ceiling: that ÷ the ceiling.
    limited_by: "server (does not reach the ceiling)" below REACHED of the ceiling; otherwise
        "prefill (image size)" where prefill_share is at least HALF, else "decode (model)". None without a
        ceiling, and above ABOVE of it, where prefill cannot have been serial: note says so.
    note: one line or None.
    """
    phases = summarize_phases(requests)
    alone = phases[phases["concurrency"] == 1].set_index(["server", "role"])
    measured = _measured_rates(requests)
    rows = [_ceiling_row(row, alone, measured.loc[tuple(row[LEVEL])]) for _, row in phases.iterrows()]
    table = pd.DataFrame(rows, columns=[*LEVEL, *CEILING_COLUMNS])
    return texts_or_none(table, ("prefill_source", "decode_source", "limited_by", "note"))


def _measured_rates(requests: pd.DataFrame) -> pd.DataFrame:
    n_frames = requests.loc[requests["phase"] == "measure", "frame_id"].nunique()
    sums = summarize_cells(requests, n_frames).groupby(LEVEL, sort=False)[["n_ok", "wall_s", "busy_s"]].sum()
    wall_s = sums["wall_s"].where(sums["wall_s"] > 0)
    rate = (sums["n_ok"] / wall_s).where(sums["n_ok"] > 0)
    return sums.assign(frames_per_s=rate, mean_in_flight=sums["busy_s"] / wall_s)


def _ceiling_row(level: pd.Series, alone: pd.DataFrame, measured: pd.Series) -> dict:
    key, slots = (level["server"], level["role"]), level["concurrency"]
    one = alone.loc[key] if key in alone.index else None
    prefill_s, decode_s = (np.nan, np.nan) if one is None else (one["prefill_s"], one["decode_s"])
    ceiling = ceiling_frames_per_s(prefill_s, decode_s, slots)
    share = measured["frames_per_s"] / ceiling
    row = {
        **level[LEVEL],
        "simulated": level["simulated"],
        "n_ok": int(measured["n_ok"]),
        "n_at_1": 0 if one is None else int(one["n"]),
        "prefill_s": prefill_s,
        "prefill_source": None if one is None else one["prefill_source"],
        "decode_s": decode_s,
        "decode_source": None if one is None else one["decode_source"],
        "ceiling_frames_per_s": ceiling,
        "limit_frames_per_s": 1 / prefill_s if prefill_s > 0 else np.nan,
        "prefill_share": prefill_s * ceiling,
        "frames_per_s": measured["frames_per_s"],
        "share_of_ceiling": share,
        "mean_in_flight": measured["mean_in_flight"],
        "limited_by": _limited_by(share, prefill_s * ceiling),
    }
    return {**row, "note": _note(row)}


def _limited_by(share: float, prefill_share: float) -> str | None:
    if np.isnan(share) or share > ABOVE:
        return None
    if share < REACHED:
        return SERVER
    return PREFILL if prefill_share >= HALF else DECODE


def _note(row: dict) -> str | None:
    if row["n_at_1"] == 0:
        return "no ceiling: no answer at 1 in flight"
    if np.isnan(row["ceiling_frames_per_s"]):
        return (
            "no ceiling: at 1 in flight answers came in one chunk, so prefill and decode cannot be told apart"
        )
    if row["share_of_ceiling"] > ABOVE:
        return "above the ceiling: prefill was not serial here, it was batched or its result cached"
    if row["mean_in_flight"] < FILLED * row["concurrency"]:
        return (
            f"only {row['mean_in_flight']:.1f} of {row['concurrency']} slots were filled on average: more "
            "frames would fill them"
        )
    return None


def ceiling_sentence(table: pd.DataFrame, server: str) -> str:
    """What limits a server, in plain words, at its fastest measured level.

    Args:
        table: summarize_ceiling.
        server: its name there.
    """
    rows = table[(table["server"] == server) & table["frames_per_s"].notna()]
    if rows.empty:
        return f"{server} answered nothing, so there is nothing to compare with a ceiling."
    row = rows.sort_values("frames_per_s").iloc[-1]
    if pd.isna(row["ceiling_frames_per_s"]):
        return f"{server} has {row['note']}."
    text = (
        f"{server} reads an image in {row['prefill_s']:.2f} s, which stays serial, and writes an answer in "
        f"{row['decode_s']:.2f} s, which parallel requests can share: at most "
        f"{row['limit_frames_per_s']:.2f} frames/s at any concurrency, {row['ceiling_frames_per_s']:.2f} at "
        f"{row['concurrency']} in flight. Measured there: {row['frames_per_s']:.2f} frames/s, "
        f"{row['share_of_ceiling']:.0%} of that (n = {row['n_ok']} frames)"
    )
    text += f"; limited by: {row['limited_by']}." if row["limited_by"] else "."
    return f"{text} {row['note'][0].upper()}{row['note'][1:]}." if row["note"] else text

"""Frames/s as if every answer were as long as the baseline's: who writes less is not faster for it."""

import numpy as np
import pandas as pd

from poc_lib.metrics import LEVEL, summarize_cells
from poc_lib.phases.split import add_phases

ENOUGH = 0.8  # of a level's answers must be matched by frame
MATCHED_COLUMNS = (
    *("simulated", "baseline", "baseline_concurrency", "n_ok", "n_matched", "n_baseline"),
    *(
        "tokens_per_answer",
        "baseline_tokens_per_answer",
        "token_ratio",
        "time_ratio",
        "wall_s",
        "matched_wall_s",
    ),
    *("frames_per_s", "matched_frames_per_s", "baseline_frames_per_s"),
    *("speedup_frames", "matched_speedup_frames"),
)


def summarize_length_matched(
    requests: pd.DataFrame, baseline_server: str, baseline_concurrency: int
) -> pd.DataFrame:
    """One row per candidate (server, role, concurrency): its rate if its answers had the baseline's lengths.

    For a request i of frame f, with b = the baseline's mean output tokens for f (over its blocks) and o its
    own: matched total = total - decode + decode × (b - 1) / (o - 1); its TTFT and what follows the last
    chunk stay, its decoding keeps its TPOT. Then time_ratio = sum of matched totals ÷ sum of totals, and
    matched_wall_s = wall_s × time_ratio; matched_frames_per_s = n_ok ÷ matched_wall_s.

    Assumes that the slots stay as full as they were and that a token more costs what the measured ones did.
    Waiting inside TTFT for other requests' decoding is left as measured, so the correction is rather too
    small than too large under load.

    n_matched answers have token counts on both sides and came in more than one chunk; tokens_per_answer,
    baseline_tokens_per_answer and token_ratio (baseline ÷ candidate) are theirs. All rates built on them are
    NaN when that is fewer than ENOUGH of n_ok.
    """
    phases = add_phases(requests)
    answered = phases[phases["ok"]]
    is_baseline = (phases["server"] == baseline_server) & (phases["concurrency"] == baseline_concurrency)
    theirs = answered[is_baseline[answered.index]]
    wanted_tokens = theirs.groupby("frame_id")["output_tokens"].mean()
    cells = _cell_sums(requests)
    theirs_per_s = _baseline_rate(cells, baseline_server, baseline_concurrency)
    rows = []
    for key, level in phases[phases["role"] == "candidate"].groupby(LEVEL, sort=False):
        facts = _matched_facts(level[level["ok"]], wanted_tokens, cells.loc[key])
        rows.append(
            {
                **dict(zip(LEVEL, key, strict=True)),
                "simulated": bool(level["simulated"].any()),
                "baseline": baseline_server,
                "baseline_concurrency": baseline_concurrency,
                "n_baseline": len(theirs),
                **facts,
                "baseline_frames_per_s": theirs_per_s,
                "speedup_frames": facts["frames_per_s"] / theirs_per_s,
                "matched_speedup_frames": facts["matched_frames_per_s"] / theirs_per_s,
            }
        )
    return pd.DataFrame(rows, columns=[*LEVEL, *MATCHED_COLUMNS])


def _cell_sums(requests: pd.DataFrame) -> pd.DataFrame:
    n_frames = requests.loc[requests["phase"] == "measure", "frame_id"].nunique()
    sums = summarize_cells(requests, n_frames).groupby(LEVEL, sort=False)[["n_ok", "wall_s"]].sum()
    return sums.assign(frames_per_s=(sums["n_ok"] / sums["wall_s"].where(sums["wall_s"] > 0)))


def _baseline_rate(cells: pd.DataFrame, server: str, concurrency: int) -> float:
    found = cells.reset_index()
    found = found[(found["server"] == server) & (found["concurrency"] == concurrency) & (found["n_ok"] > 0)]
    return float(found["frames_per_s"].iloc[0]) if len(found) else np.nan


def _matched_facts(ok: pd.DataFrame, wanted_tokens: pd.Series, cell: pd.Series) -> dict:
    wanted = ok["frame_id"].map(wanted_tokens)
    factor = (wanted - 1) / (ok["output_tokens"] - 1).where(ok["output_tokens"] > 1)
    matched_s = ok["total_s"] - ok["decode_s"] + ok["decode_s"] * factor
    pairs = matched_s.notna()
    enough = pairs.sum() >= max(1, ENOUGH * len(ok))
    total_s = ok.loc[pairs, "total_s"].sum()
    time_ratio = matched_s[pairs].sum() / total_s if enough and total_s > 0 else np.nan
    tokens, theirs = ok.loc[pairs, "output_tokens"].mean(), wanted[pairs].mean()
    n_ok, wall_s = int(cell["n_ok"]), cell["wall_s"]
    return {
        "n_ok": n_ok,
        "n_matched": int(pairs.sum()),
        "tokens_per_answer": tokens,
        "baseline_tokens_per_answer": theirs,
        "token_ratio": theirs / tokens,
        "time_ratio": time_ratio,
        "wall_s": wall_s,
        "matched_wall_s": wall_s * time_ratio,
        "frames_per_s": cell["frames_per_s"] if n_ok else np.nan,
        "matched_frames_per_s": cell["frames_per_s"] / time_ratio if n_ok and time_ratio > 0 else np.nan,
    }

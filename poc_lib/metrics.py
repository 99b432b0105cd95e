"""Speed from the table of requests. Pure: tables in, tables out.

Every rate is work divided by the wall clock of its cell, never by the sum of overlapping latencies. Only
answered requests count as work; a cell that lost frames is marked incomplete. A missing value is NaN.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

LEVEL = ["server", "role", "concurrency"]
PERCENTILES = (50, 90, 95, 99)
MEASURES = {
    "ttft_s": "time to first token (content or reasoning)",
    "tpot_s": "time per output token after the first",
    "itl_s": "gap between two chunks of an answer",
    "total_s": "request sent to last byte",
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """What speed-ups are taken against."""

    name: str
    measured: bool  # False: recorded earlier elsewhere, not measured in this run
    concurrency: int
    frames_per_s: float
    output_tok_per_s: float
    complete: bool  # every frame answered

    @property
    def label(self) -> str:
        kind = "measured" if self.measured else "recorded, not measured"
        return f"{self.name} at {self.concurrency} in flight ({kind})"


def add_derived(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests with ``ok``, ``end_s`` (seconds from the sitting's start) and ``tpot_s``.

    tpot_s = (last chunk - first chunk) / (output_tokens - 1), as vLLM's benchmark defines it. It ends with
    the last chunk of text and not with the last byte: vllm-mlx holds back the usage chunk and the end of
    the stream while it reads the next wave's images. NaN for an answer that came in one chunk.
    """
    measured = requests[requests["phase"] == "measure"].copy()
    measured["ok"] = measured["error_class"].isna()
    measured["end_s"] = measured["start_s"] + measured["total_s"]
    after_first = pd.to_numeric(measured["output_tokens"]) - 1
    decode_s = measured["arrivals_s"].map(lambda s: s[-1] - s[0] if len(s) > 1 else np.nan).astype(float)
    measured["tpot_s"] = (decode_s / after_first.where(after_first > 0)).where(measured["ok"])
    return measured


def summarize_cells(requests: pd.DataFrame, n_frames: int) -> pd.DataFrame:
    """One row per (server, level, block): wall clock, counts and token sums.

    ``wall_s`` runs from the first request sent to the last reply; a cell measured in several sittings adds
    up its sittings' walls and is marked ``interrupted``.
    """
    measured = add_derived(requests)
    rows = [
        {**dict(zip([*LEVEL, "block"], key, strict=True)), **_cell_facts(cell, n_frames)}
        for key, cell in measured.groupby([*LEVEL, "block"], sort=False)
    ]
    columns = [*LEVEL, "block", *_CELL_COLUMNS]
    return pd.DataFrame(rows, columns=columns)


_CELL_COLUMNS = [
    "simulated",
    "n_requests",
    "n_ok",
    "n_failed",
    "n_not_sent",
    "complete",
    "interrupted",
    "wall_s",
    "busy_s",
    "prompt_tokens",
    "output_tokens",
    "n_with_usage",
    "n_with_prompt",
    "n_at_max_tokens",
]


def _cell_facts(cell: pd.DataFrame, n_frames: int) -> dict:
    sittings = cell.groupby("sitting")
    ok = cell[cell["ok"]]
    usage = ok[ok["output_tokens"].notna()]
    return {
        "simulated": bool(cell["simulated"].any()),
        "n_requests": len(cell),
        "n_ok": len(ok),
        "n_failed": len(cell) - len(ok),
        "n_not_sent": n_frames - len(cell),
        "complete": len(ok) == n_frames,
        "interrupted": len(sittings) > 1,
        "wall_s": float((sittings["end_s"].max() - sittings["start_s"].min()).sum()),
        "busy_s": float(cell["total_s"].sum()),
        "prompt_tokens": float(pd.to_numeric(ok["prompt_tokens"]).sum(min_count=1)),
        "output_tokens": float(pd.to_numeric(ok["output_tokens"]).sum(min_count=1)),
        "n_with_usage": len(usage),
        "n_with_prompt": int((pd.to_numeric(ok["prompt_tokens"]) > 0).sum()),
        "n_at_max_tokens": int((ok["finish_reason"] == "length").sum()),
    }


def summarize_speed(requests: pd.DataFrame, n_frames: int, recording_frames: int) -> pd.DataFrame:
    """One row per (server, level) over all blocks, fastest facts first in the columns.

    Args:
        requests: one row a reply (records.Reply).
        n_frames: frames sent per cell.
        recording_frames: frames of the whole recording, for ``recording_min`` (minutes at this rate).

    Columns: frames_per_s, s_per_frame, output_tok_per_s, total_tok_per_s (image tokens included),
    recording_min, ttft_p50_s, ttft_p95_s, total_p50_s, total_p95_s, tokens_per_answer, mean_in_flight,
    counts and flags.
    output_tok_per_s is NaN when any answered request lacks its token count, total_tok_per_s also when its
    prompt's count is missing or 0.
    """
    cells = summarize_cells(requests, n_frames)
    sums = cells.groupby(LEVEL, sort=False).agg(
        simulated=("simulated", "any"),
        blocks=("block", "nunique"),
        n_requests=("n_requests", "sum"),
        n_ok=("n_ok", "sum"),
        n_failed=("n_failed", "sum"),
        n_not_sent=("n_not_sent", "sum"),
        complete=("complete", "all"),
        interrupted=("interrupted", "any"),
        wall_s=("wall_s", "sum"),
        busy_s=("busy_s", "sum"),
        prompt_tokens=("prompt_tokens", "sum"),
        output_tokens=("output_tokens", "sum"),
        n_with_usage=("n_with_usage", "sum"),
        n_with_prompt=("n_with_prompt", "sum"),
        n_at_max_tokens=("n_at_max_tokens", "sum"),
    )
    speed = _rates(sums.reset_index(), recording_frames)
    return speed.merge(_middle_and_tail(requests), on=LEVEL, how="left")


def _rates(sums: pd.DataFrame, recording_frames: int) -> pd.DataFrame:
    wall_s = sums["wall_s"].where(sums["wall_s"] > 0)
    counted = (sums["n_with_usage"] == sums["n_ok"]) & (sums["n_ok"] > 0)
    output_tokens = sums["output_tokens"].where(counted)
    prompt_tokens = sums["prompt_tokens"].where(counted & (sums["n_with_prompt"] == sums["n_ok"]))
    frames_per_s = (sums["n_ok"] / wall_s).where(sums["n_ok"] > 0)
    rates = {
        "frames_per_s": frames_per_s,
        "s_per_frame": 1 / frames_per_s,
        "output_tok_per_s": output_tokens / wall_s,
        "total_tok_per_s": (output_tokens + prompt_tokens) / wall_s,
        "recording_min": recording_frames / frames_per_s / 60,
        "tokens_per_answer": output_tokens / sums["n_ok"],
        "mean_in_flight": sums["busy_s"] / wall_s,
    }
    kept = [column for column in sums.columns if column not in ("prompt_tokens", "output_tokens", "busy_s")]
    return sums[kept].assign(**rates)


def _middle_and_tail(requests: pd.DataFrame) -> pd.DataFrame:
    latency = summarize_latency(requests)
    wide = latency[latency["measure"].isin(["ttft_s", "total_s"])].pivot_table(
        index=LEVEL, columns="measure", values=["p50", "p95"], dropna=False
    )
    wide.columns = [f"{measure.removesuffix('_s')}_{point}_s" for point, measure in wide.columns]
    names = ["ttft_p50_s", "ttft_p95_s", "total_p50_s", "total_p95_s"]
    return wide.reindex(columns=names).reset_index()


def summarize_latency(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per (server, level, measure): n, mean, p50, p90, p95, p99 in seconds, over answered requests.

    ITL counts gaps between chunks, pooled over answers; the other measures count one value a request.
    """
    measured = add_derived(requests)
    rows = []
    for key, level in measured[measured["ok"]].groupby(LEVEL, sort=False):
        values = {name: level[name] for name in ("ttft_s", "tpot_s", "total_s")}
        values["itl_s"] = pd.Series(_gaps(level["arrivals_s"]))
        for measure in MEASURES:
            rows.append(
                {**dict(zip(LEVEL, key, strict=True)), "measure": measure, **_points(values[measure])}
            )
    points = [f"p{percent}" for percent in PERCENTILES]
    return pd.DataFrame(rows, columns=[*LEVEL, "measure", "n", "mean", *points])


def _gaps(arrivals: pd.Series) -> np.ndarray:
    gaps = [np.diff(one) for one in arrivals if len(one) > 1]
    return np.concatenate(gaps) if gaps else np.array([])


def _points(values: pd.Series) -> dict[str, float]:
    known = pd.to_numeric(values).dropna().to_numpy(dtype=float)
    if known.size == 0:
        return {"n": 0, "mean": np.nan} | {f"p{percent}": np.nan for percent in PERCENTILES}
    points = np.percentile(known, PERCENTILES)
    named = {f"p{percent}": float(value) for percent, value in zip(PERCENTILES, points, strict=True)}
    return {"n": int(known.size), "mean": float(known.mean()), **named}


def summarize_failures(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per (server, level, error_class): n, out_of, an example; empty: all is well."""
    measured = add_derived(requests)
    sent = measured.groupby(LEVEL).size()
    rows = [
        {
            **dict(zip([*LEVEL, "error_class"], key, strict=True)),
            "n": len(failed),
            "out_of": int(sent[key[:3]]),
            "example": failed["error_message"].iloc[0],
        }
        for key, failed in measured[~measured["ok"]].groupby([*LEVEL, "error_class"], sort=False)
    ]
    return pd.DataFrame(rows, columns=[*LEVEL, "error_class", "n", "out_of", "example"])


def pick_baseline(speed: pd.DataFrame, recorded: Baseline) -> Baseline:
    """The measured baseline at its fastest complete level; the recorded one where none was measured.

    A baseline that was measured and answered nothing has NaN rates: recorded figures never stand in for it.
    """
    tried = speed[speed["role"] == "baseline"]
    if tried.empty:
        return recorded
    measured = tried[tried["frames_per_s"].notna()]
    if measured.empty:
        measured = tried
    complete = measured[measured["complete"]]
    row = (measured if complete.empty else complete).sort_values("frames_per_s").iloc[-1]
    return Baseline(
        name=row["server"],
        measured=True,
        concurrency=int(row["concurrency"]),
        frames_per_s=float(row["frames_per_s"]),
        output_tok_per_s=float(row["output_tok_per_s"]),
        complete=bool(row["complete"]),
    )


def add_speedup(speed: pd.DataFrame, baseline: Baseline) -> pd.DataFrame:
    """The candidate rows' ``speedup_frames`` and ``speedup_tokens``: rate ÷ baseline's rate; else NaN."""
    is_candidate = speed["role"] == "candidate"
    return speed.assign(
        speedup_frames=(speed["frames_per_s"] / baseline.frames_per_s).where(is_candidate),
        speedup_tokens=(speed["output_tok_per_s"] / baseline.output_tok_per_s).where(is_candidate),
    )

"""Each request cut into waiting, prefill and decode, and the means of each level."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from poc_lib.metrics import LEVEL, add_derived

FROM_SERVER = "told by the server"
FROM_TTFT = "TTFT at 1 in flight"
FROM_CHUNKS = "first to last chunk"
_NUMBERS = ("ttft_s", "total_s", "output_tokens", "server_load_s", "server_prefill_s", "server_decode_s")
_SOURCES = ("prefill_source", "decode_source")
PHASE_COLUMNS = (
    *("simulated", "n", "ttft_mean_s", "ttft_median_s", "decode_mean_s", "decode_median_s", "after_mean_s"),
    *("n_split", "ttft_share", "decode_share", "after_share"),
    *("n_told", "load_mean_s", "queue_mean_s"),
    *("prefill_s", "prefill_source", "n_prefill", "decode_s", "decode_source", "n_decode"),
    *("decode_tok_per_s", "n_decode_rate", "decoding_wall_s", "level_decode_tok_per_s"),
    *("wave_size", "wave_prefill_s"),
)


def add_phases(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests with their phases in seconds; NaN where a request failed or nobody can tell.

    decode_s: first to last chunk; NaN for an answer in one chunk.
    after_s: last chunk to last byte; vllm-mlx holds the end of a stream back while it reads other images.
    queue_s: TTFT less the server's own load and prefill times, where it tells them (Ollama): the wait for
        other requests, and what the transport and the decoding of the image's file cost.
    Also ``ok``, ``end_s`` and ``tpot_s`` of metrics.add_derived.
    """
    measured = add_derived(requests)
    for name in _NUMBERS:
        measured[name] = pd.to_numeric(measured[name]).astype(float)
    spans = [
        arrivals[-1] - arrivals[0] if len(arrivals) > 1 else np.nan for arrivals in measured["arrivals_s"]
    ]
    ok = measured["ok"].astype(bool)
    measured["decode_s"] = pd.Series(spans, index=measured.index, dtype=float).where(ok)
    measured["after_s"] = (measured["total_s"] - measured["ttft_s"] - measured["decode_s"]).where(ok)
    told_s = measured["server_prefill_s"] + measured["server_load_s"].fillna(0)
    measured["queue_s"] = (measured["ttft_s"] - told_s).clip(lower=0).where(ok)
    return measured


def summarize_phases(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per (server, role, concurrency) over the answered requests of all blocks; times in seconds.

    ttft_*, decode_*, after_* (mean, median): as the client saw them, per request: see add_phases. The
        ``_share`` columns divide their sums by the sum of the n_split requests' total times.
    load_mean_s, queue_mean_s: of the n_told requests whose server told its prefill time, else NaN.
    prefill_s: mean per image, told by the server (Ollama's prompt_eval_duration); else the mean TTFT of the
        same server at 1 in flight, where nothing else waits and TTFT *is* prefill (with transport and the
        first token). prefill_source says which, n_prefill over how many requests.
    decode_s: mean per answer at this level, told by the server (Ollama's eval_duration), else first to last
        chunk; decode_source and n_decode likewise.
    decode_tok_per_s: mean over the requests of (output_tokens - 1) ÷ first to last chunk, as TPOT counts, or
        of the server's output_tokens ÷ eval_duration.
    level_decode_tok_per_s: the same tokens of all requests ÷ decoding_wall_s, the wall clock in which at
        least one of them decoded. NaN when an answer lacks its count or came in one chunk.
    wave_prefill_s: wave_size × prefill_s, what TTFT costs when a wave's images are read one by one;
        wave_size is the concurrency, or fewer where a cell had fewer requests.
    """
    measured = add_phases(requests)
    rows = [
        {**dict(zip(LEVEL, key, strict=True)), **_level_facts(level)}
        for key, level in measured.groupby(LEVEL, sort=False)
    ]
    table = pd.DataFrame(rows, columns=[*LEVEL, *PHASE_COLUMNS])
    return texts_or_none(_fill_prefill(table.astype(dict.fromkeys(_SOURCES, object))), _SOURCES)


def texts_or_none(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with None, not NaN, where a text is not known."""
    as_objects = {name: table[name].astype(object).where(table[name].notna(), None) for name in columns}
    return table.assign(**as_objects)


def _level_facts(level: pd.DataFrame) -> dict:
    ok = level[level["ok"]]
    return {
        "simulated": bool(level["simulated"].any()),
        "n": len(ok),
        "ttft_mean_s": ok["ttft_s"].mean(),
        "ttft_median_s": ok["ttft_s"].median(),
        "decode_mean_s": ok["decode_s"].mean(),
        "decode_median_s": ok["decode_s"].median(),
        "after_mean_s": ok["after_s"].mean(),
        "wave_size": int(min(level["concurrency"].iloc[0], level.groupby("block").size().max())),
        **_shares(ok),
        **_told_facts(ok),
        **_decode_rates(ok),
    }


def _shares(ok: pd.DataFrame) -> dict:
    split = ok[ok["after_s"].notna()]
    total_s = split["total_s"].sum() or np.nan
    shares = {f"{part}_share": split[f"{part}_s"].sum() / total_s for part in ("ttft", "decode", "after")}
    return {"n_split": len(split), **shares}


def _told_facts(ok: pd.DataFrame) -> dict:
    told = ok[ok["server_prefill_s"].notna()]
    server_decodes = ok["server_decode_s"].notna().any()
    decode_s = ok["server_decode_s" if server_decodes else "decode_s"].dropna()
    source = FROM_SERVER if server_decodes else FROM_CHUNKS if len(decode_s) else None
    return {
        "n_told": len(told),
        "load_mean_s": told["server_load_s"].mean(),
        "queue_mean_s": told["queue_s"].mean(),
        "prefill_s": told["server_prefill_s"].mean(),
        "prefill_source": FROM_SERVER if len(told) else None,
        "n_prefill": len(told),
        "decode_s": decode_s.mean(),
        "decode_source": source,
        "n_decode": len(decode_s),
    }


def _decode_rates(ok: pd.DataFrame) -> dict:
    after_first = ok["output_tokens"] - 1
    by_server = ok["output_tokens"] / ok["server_decode_s"].where(ok["server_decode_s"] > 0)
    rates = by_server.fillna(after_first / ok["decode_s"].where(ok["decode_s"] > 0)).dropna()
    wall_s = sum(_decoding_wall_s(cell) for _, cell in ok.groupby(["block", "sitting"]))
    known = len(ok) > 0 and ok["decode_s"].notna().all() and after_first.notna().all() and wall_s > 0
    return {
        "decode_tok_per_s": rates.mean(),
        "n_decode_rate": len(rates),
        "decoding_wall_s": wall_s if known else np.nan,
        "level_decode_tok_per_s": after_first.sum() / wall_s if known else np.nan,
    }


def _decoding_wall_s(cell: pd.DataFrame) -> float:
    split = cell[cell["decode_s"].notna()]
    from_s = split["start_s"] + split["ttft_s"]
    return covered_s(zip(from_s, from_s + split["decode_s"], strict=True))


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that lie in at least one of the (from, to) spans."""
    covered, reached = 0.0, -np.inf
    for from_s, to_s in sorted(spans):
        covered += max(0.0, to_s - max(from_s, reached))
        reached = max(reached, to_s)
    return covered


def _fill_prefill(table: pd.DataFrame) -> pd.DataFrame:
    """Take TTFT at 1 in flight where the server told no prefill time."""
    alone = table[(table["concurrency"] == 1) & (table["n"] > 0)].set_index(["server", "role"])
    for i, row in table[table["n_prefill"] == 0].iterrows():
        key = (row["server"], row["role"])
        if key in alone.index:
            found = alone.loc[key]
            table.loc[i, ["prefill_s", "prefill_source", "n_prefill"]] = (
                found["ttft_mean_s"],
                FROM_TTFT,
                int(found["n"]),
            )
    table["wave_prefill_s"] = table["wave_size"] * table["prefill_s"]
    return table

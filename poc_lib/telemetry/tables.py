"""Samples as a table, and what they say about each level. Pure: tables in, tables out. Not known is NaN."""

from collections.abc import Iterable, Mapping

import pandas as pd

from poc_lib.metrics import LEVEL, add_derived

TEXTS = ("source", "server", "error", "expires_at", "results")
NUMBERS = (
    *("sitting", "asked_s", "answered_s"),
    *("num_running", "num_waiting", "in_flight", "requests_total"),
    *("prompt_tokens_total", "completion_tokens_total"),
    *("answered_prompt_tokens_total", "answered_completion_tokens_total"),
    *("mlx_active_gb", "mlx_peak_gb", "mlx_cache_gb", "size_vram_gb", "context_length", "rss_gb"),
    *("cpu_pct", "memory_used_gb", "memory_available_gb", "sampler_cpu_s"),
    *("gpu_util_pct", "gpu_memory_gb", "gpu_power_w", "soc_power_w", "system_power_w"),
)
MEMORY_SOURCES = {
    "mlx_peak_gb": "MLX's peak since the server started",
    "rss_gb": "resident memory of its processes",
    "size_vram_gb": "Ollama's size_vram",
}
OUTPUT_COUNTERS = ("completion_tokens_total", "answered_completion_tokens_total")
CELL = ["server", "concurrency", "block", "sitting"]
_COLUMNS = (
    *("n_samples", "n_machine_samples", "answer_max_s"),
    *("memory_peak_gb", "memory_source", "mlx_active_max_gb"),
    *("waiting_max", "running_max", "in_flight_max"),
    *("cpu_mean_pct", "memory_available_min_gb"),
    *("gpu_util_mean_pct", "gpu_util_max_pct", "gpu_memory_max_gb", "gpu_power_mean_w", "gpu_power_max_w"),
    *("soc_power_mean_w", "soc_power_max_w"),
    *("server_output_tokens", "client_output_tokens", "n_windows", "n_windows_counted"),
)


def telemetry_table(samples: Iterable[Mapping]) -> pd.DataFrame:
    """One row a sample: ``source`` (server, process or host), ``server`` (None for host), moments, figures.

    asked_s and answered_s are seconds from the sitting's start, as requests' start_s; answered_s is NaN where
    no answer came before the sampling ended. GB are 1e9 bytes.
    """
    table = pd.DataFrame(list(samples)).reindex(columns=[*TEXTS, *NUMBERS])
    return table.astype(dict.fromkeys(NUMBERS, float))


def summarize_telemetry(
    samples: pd.DataFrame, requests: pd.DataFrame, events: Iterable[Mapping] = ()
) -> pd.DataFrame:
    """One row per (server, role, level): what servers and machine said while it was measured.

    Args:
        samples: telemetry_table.
        requests: one row a reply (records.Reply).
        events: the run's events; cell_started and cell_ended carry the counters that server_output_tokens
            is the difference of. It includes tokens of answers that failed or were given up.

    A sample belongs to a cell when it was answered between the cell's first request and its last reply, in
    the same sitting. A figure without a sample is NaN, as a cell shorter than the sampling interval may have.

    answer_max_s: the longest time the server took to answer a sample's question: how long its event loop
        was blocked. memory_peak_gb is the first known of MEMORY_SOURCES, and memory_source names it; MLX's
        peak never falls, so a level measured after a heavier one shows the heavier one's.
    gpu_*, soc_*, cpu_*, memory_available_*: of the machine that measures, also where the server is elsewhere.
    server_output_tokens, client_output_tokens: over the same windows (a cell in one sitting). The server's
        is NaN unless n_windows_counted == n_windows, the client's when an answer lacks its token count.
    """
    windows = _windows(requests)
    counted = windows.merge(_counted_tokens(events), on=CELL, how="left")
    inside = _samples_inside(samples, windows)
    rows = []
    for key, level in counted.groupby(LEVEL, sort=False):
        part = inside[(inside["level_server"] == key[0]) & (inside["concurrency"] == key[2])]
        facts = _server_facts(part[part["server"] == key[0]]) | _machine_facts(part[part["source"] == "host"])
        rows.append({**dict(zip(LEVEL, key, strict=True)), **facts, **_token_facts(level)})
    return pd.DataFrame(rows, columns=[*LEVEL, *_COLUMNS])


def _windows(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and sitting: from its first request to its last reply, and the client's tokens."""
    measured = add_derived(requests)
    tokens = pd.to_numeric(measured["output_tokens"])
    grouped = measured.assign(client_output_tokens=tokens.where(measured["ok"], 0)).groupby(
        [*LEVEL, "block", "sitting"], sort=False
    )
    return grouped.agg(
        start_s=("start_s", "min"),
        end_s=("end_s", "max"),
        client_output_tokens=("client_output_tokens", lambda tokens: tokens.sum(skipna=False)),
    ).reset_index()


def _samples_inside(samples: pd.DataFrame, windows: pd.DataFrame) -> pd.DataFrame:
    cells = windows.rename(columns={"server": "level_server"})
    pairs = samples.merge(cells[["level_server", "concurrency", "sitting", "start_s", "end_s"]], on="sitting")
    return pairs[pairs["answered_s"].between(pairs["start_s"], pairs["end_s"])]


def _server_facts(samples: pd.DataFrame) -> dict:
    answers = samples[samples["source"] == "server"]
    known = [name for name in MEMORY_SOURCES if samples[name].notna().any()]
    return {
        "n_samples": len(answers),
        "answer_max_s": (answers["answered_s"] - answers["asked_s"]).max(),
        "memory_peak_gb": samples[known[0]].max() if known else float("nan"),
        "memory_source": MEMORY_SOURCES[known[0]] if known else None,
        "mlx_active_max_gb": answers["mlx_active_gb"].max(),
        "waiting_max": answers["num_waiting"].max(),
        "running_max": answers["num_running"].max(),
        "in_flight_max": answers["in_flight"].max(),
    }


def _machine_facts(host: pd.DataFrame) -> dict:
    return {
        "n_machine_samples": len(host),
        "cpu_mean_pct": host["cpu_pct"].mean(),
        "memory_available_min_gb": host["memory_available_gb"].min(),
        "gpu_util_mean_pct": host["gpu_util_pct"].mean(),
        "gpu_util_max_pct": host["gpu_util_pct"].max(),
        "gpu_memory_max_gb": host["gpu_memory_gb"].max(),
        "gpu_power_mean_w": host["gpu_power_w"].mean(),
        "gpu_power_max_w": host["gpu_power_w"].max(),
        "soc_power_mean_w": host["soc_power_w"].mean(),
        "soc_power_max_w": host["soc_power_w"].max(),
    }


def _token_facts(windows: pd.DataFrame) -> dict:
    counted = windows["server_output_tokens"].notna()
    server_tokens, client_tokens = windows["server_output_tokens"], windows["client_output_tokens"]
    return {
        "server_output_tokens": server_tokens.sum() if counted.all() else float("nan"),
        "client_output_tokens": client_tokens.sum(skipna=False),
        "n_windows": len(windows),
        "n_windows_counted": int(counted.sum()),
    }


def _counted_tokens(events: Iterable[Mapping]) -> pd.DataFrame:
    """server_output_tokens per cell and sitting that both began and ended with a snapshot of counters."""
    began, rows = {}, {}
    for event in events:
        if event["event"] not in ("cell_started", "cell_ended") or "counters" not in event:
            continue
        if event.get("phase", "measure") != "measure":
            continue
        cell = tuple(event[name] for name in CELL)
        if event["event"] == "cell_started":
            began[cell] = event["counters"]
        else:
            rows[cell] = _difference(began.get(cell, {}), event["counters"])
    table = [{**dict(zip(CELL, cell, strict=True)), "server_output_tokens": n} for cell, n in rows.items()]
    kinds = {"server": str, "concurrency": int, "block": int, "sitting": int, "server_output_tokens": float}
    return pd.DataFrame(table, columns=list(kinds)).astype(kinds)


def _difference(before: Mapping, after: Mapping) -> float | None:
    for counter in OUTPUT_COUNTERS:
        if counter in before and counter in after:
            grown = after[counter] - before[counter]
            return grown if grown >= 0 else None  # negative: the server was started anew meanwhile
    return None

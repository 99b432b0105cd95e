"""Fairness of the machine: memory, other programs' load and power between what is compared."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from poc_lib.fairness.line import FairnessLine
from poc_lib.metrics import LEVEL, add_derived

LOW_MEMORY_SHARE = 0.05  # of used and available together
SWAP_GROWTH_GB = 0.5
IDLE_CPU_PCT = 20.0  # of all cores, while no request was in flight
CPU_APART_PCT = 20.0  # points between two blocks of one level
MANY_SAMPLES = 3


def machine_lines(requests: pd.DataFrame, telemetry: pd.DataFrame, params: Mapping) -> Iterator[FairnessLine]:
    """What the machine's samples say; columns that this machine does not fill give no line."""
    host = telemetry[telemetry["source"] == "host"] if "source" in telemetry else telemetry
    if host.empty:
        return
    host = host.sort_values(["sitting", "asked_s"], kind="stable")
    yield from _memory_lines(host)
    yield from _swap_lines(host)
    yield from _power_lines(host)
    # Warm-up requests are timed by a clock of their own, from before the first sample.
    yield from _idle_load_lines(requests[requests["phase"] != "warmup"], host, params)
    yield from _uneven_load_lines(requests, host)


def _known(host: pd.DataFrame, name: str) -> pd.Series:
    return host[name].dropna() if name in host else pd.Series(dtype=float)


def _memory_lines(host: pd.DataFrame) -> Iterator[FairnessLine]:
    available = _known(host, "memory_available_gb")
    if available.empty:
        return
    total = (available + host["memory_used_gb"]).max()
    low = available[available < LOW_MEMORY_SHARE * total]
    if len(low):
        yield FairnessLine(
            "memory",
            f"Only {available.min():.1f} of {total:.0f} GB of memory were available at the least (in "
            f"{len(low)} of {len(available)} samples below {LOW_MEMORY_SHARE:.0%}).",
            "warning",
            "The machine may have swapped: close other programs, or measure one server at a time.",
        )


def _swap_lines(host: pd.DataFrame) -> Iterator[FairnessLine]:
    swap = _known(host, "swap_used_gb")
    growth = swap.max() - swap.iloc[0] if len(swap) else 0.0
    if growth > SWAP_GROWTH_GB:
        yield FairnessLine(
            "memory",
            f"Swap grew by {growth:.1f} GB during the run (n = {len(swap)} samples).",
            "warning",
            "What was measured later ran on a machine that lacked memory.",
        )


def _power_lines(host: pd.DataFrame) -> Iterator[FairnessLine]:
    battery = _known(host, "on_battery").astype(bool)
    if battery.any():
        part = "during the whole run" if battery.all() else f"in {battery.sum()} of {len(battery)} samples"
        yield FairnessLine(
            "power",
            f"The machine ran on battery {part}.",
            "note" if battery.all() else "warning",
            "On battery it may be slower, and what ran on mains is not like for like.",
        )
    thermal = _known(host, "thermal_state").astype(str)
    hot = thermal[~thermal.str.lower().isin(["nominal", "normal", "0", "0.0"])]
    if len(hot):
        yield FairnessLine(
            "heat",
            f"The machine said it was hot in {len(hot)} of {len(thermal)} samples ({hot.iloc[0]}).",
            "warning",
            "It may have slowed down: let it rest before each cell (cooldown_s).",
        )


def _idle_load_lines(requests: pd.DataFrame, host: pd.DataFrame, params: Mapping) -> Iterator[FairnessLine]:
    # Untimed requests before each cell are on no record: only the rest before them is surely idle.
    rest_s = params.get("cooldown_s", 0.0) if params.get("warmup_per_cell") else np.inf
    load = [
        _unused_load(sitting, requests[requests["sitting"] == number], rest_s)
        for number, sitting in host.groupby("sitting")
    ]
    idle = pd.concat(load).dropna() if load else pd.Series(dtype=float)
    if len(idle) >= MANY_SAMPLES and idle.mean() > IDLE_CPU_PCT:
        yield FairnessLine(
            "other programs",
            f"With no request in flight the cores were {idle.mean():.0f} % busy (n = {len(idle)} samples).",
            "warning",
            "Other programs ran beside the measurement: close them and measure again.",
        )


def _unused_load(host: pd.DataFrame, requests: pd.DataFrame, rest_s: float) -> pd.Series:
    """cpu_pct of samples whose whole interval, since the sample before, lies outside every request, and
    within ``rest_s`` of the end of the last one before it."""
    from_s = host["asked_s"].shift()
    start_s = requests["start_s"].to_numpy(dtype=float)
    end_s = start_s + requests["total_s"].to_numpy(dtype=float)
    outside = [
        not np.any((start_s < to) & (end_s > since))
        and (np.isinf(rest_s) or to <= end_s[end_s <= since].max(initial=-np.inf) + rest_s)
        for since, to in zip(from_s, host["asked_s"], strict=True)
    ]
    return host["cpu_pct"][np.array(outside, dtype=bool) & from_s.notna().to_numpy()]


def _uneven_load_lines(requests: pd.DataFrame, host: pd.DataFrame) -> Iterator[FairnessLine]:
    """Blocks of one level that found the machine busier than others did."""
    blocks = add_derived(requests).groupby([*LEVEL, "block", "sitting"], sort=False)
    windows = blocks.agg(start_s=("start_s", "min"), end_s=("end_s", "max")).reset_index()
    pairs = windows.merge(host[["sitting", "answered_s", "cpu_pct"]], on="sitting")
    inside = pairs[pairs["answered_s"].between(pairs["start_s"], pairs["end_s"]) & pairs["cpu_pct"].notna()]
    means = inside.groupby([*LEVEL, "block"])["cpu_pct"].agg(["mean", "size"])
    means = means[means["size"] >= MANY_SAMPLES]
    for key, level in means.groupby(level=LEVEL, sort=False):
        low, high = level["mean"].min(), level["mean"].max()
        if high - low > CPU_APART_PCT:
            yield FairnessLine(
                "other programs",
                f"{key[0]} at {key[2]} in flight found the cores {low:.0f} % busy in one block and "
                f"{high:.0f} % in another (n = {level['size'].sum()} samples).",
                "note",
                "The same work should cost the same: something else may have run beside one of them.",
            )

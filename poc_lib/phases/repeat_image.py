"""What a cache gives when a frame is sent again: TTFT of a first and a second pass, paired by frame."""

import numpy as np
import pandas as pd
from scipy.stats import t as student

from poc_lib.metrics import LEVEL

CONFIDENCE = 0.95
# Warm ÷ cold: an interval within it is as good as no change, and one that reaches into it tells nothing: the
# passes follow one another, so that another program's load falls on all pairs alike.
NO_MATTER = (0.9, 1 / 0.9)
HELPS, NOTHING, SLOWER = "helps", "does nothing", "second pass is slower"
UNTOLD = "cannot be told"
REPEAT_COLUMNS = (
    *("simulated", "n_sent", "n_pairs", "ttft_cold_median_s", "ttft_warm_median_s"),
    *("ttft_ratio", "ttft_ratio_low", "ttft_ratio_high", "saving_s_per_frame"),
    *("frames_per_s_cold", "frames_per_s_if_warm", "effect", "sentence"),
)


def summarize_repeat_image(requests: pd.DataFrame) -> pd.DataFrame:
    """One row per (server, role, concurrency) of phase "repeat_image": block 0 cold, block 1 the same, warm.

    n_pairs frames were answered in both passes of one sitting; everything else is about these.
    ttft_ratio: geometric mean of warm ÷ cold; its 95 % interval (low, high) is Student's t over the
        logarithms of the pairs' ratios: NaN below two pairs.
    saving_s_per_frame: mean of cold - warm TTFT, negative where the second pass was slower.
    frames_per_s_cold, frames_per_s_if_warm: 1 ÷ mean total of the cold pass, and with the saving taken off:
        what an image that is known already would mean for one request after the other.
    effect: "does nothing" when the whole interval lies within NO_MATTER, else "helps" or "second pass is
        slower" when it lies below or above NO_MATTER, else "cannot be told".
    """
    sent = requests[(requests["phase"] == "repeat_image") & requests["block"].isin([0, 1])]
    rows = [
        {**dict(zip(LEVEL, key, strict=True)), **_repeat_facts(str(key[0]), level)}
        for key, level in sent.groupby(LEVEL, sort=False)
    ]
    return pd.DataFrame(rows, columns=[*LEVEL, *REPEAT_COLUMNS])


def _repeat_facts(server: str, level: pd.DataFrame) -> dict:
    pairs = _pairs(level)
    cold_s, warm_s = pairs["ttft_s", 0], pairs["ttft_s", 1]
    ratio, low, high = _ratio_interval(np.log(warm_s / cold_s).to_numpy(dtype=float))
    saving_s = (cold_s - warm_s).mean()
    total_s = pairs["total_s", 0].mean()
    facts = {
        "simulated": bool(level["simulated"].any()),
        "n_sent": len(level),
        "n_pairs": len(pairs),
        "ttft_cold_median_s": cold_s.median(),
        "ttft_warm_median_s": warm_s.median(),
        "ttft_ratio": ratio,
        "ttft_ratio_low": low,
        "ttft_ratio_high": high,
        "saving_s_per_frame": saving_s,
        "frames_per_s_cold": 1 / total_s,
        "frames_per_s_if_warm": 1 / (total_s - saving_s) if total_s > saving_s else np.nan,
        "effect": _effect(low, high),
    }
    return {**facts, "sentence": _sentence(server, facts)}


def _pairs(level: pd.DataFrame) -> pd.DataFrame:
    """One row a frame answered in both passes; columns (ttft_s or total_s, block)."""
    answered = level[level["error_class"].isna()]
    one_sitting = answered.groupby("frame_id")["sitting"].transform("nunique") == 1  # else caches are gone
    answered = answered[one_sitting]
    values = answered[["frame_id", "block"]].assign(
        ttft_s=pd.to_numeric(answered["ttft_s"]).astype(float), total_s=answered["total_s"].astype(float)
    )
    values = values[values["ttft_s"] > 0]
    wide = values.pivot_table(index="frame_id", columns="block", values=["ttft_s", "total_s"])
    columns = pd.MultiIndex.from_product([["ttft_s", "total_s"], [0, 1]])
    return wide.reindex(columns=columns).astype(float).dropna()


def _ratio_interval(logs: np.ndarray) -> tuple[float, float, float]:
    if logs.size == 0:
        return np.nan, np.nan, np.nan
    middle = logs.mean()
    if logs.size == 1:
        return float(np.exp(middle)), np.nan, np.nan
    half = student.ppf((1 + CONFIDENCE) / 2, logs.size - 1) * logs.std(ddof=1) / np.sqrt(logs.size)
    return tuple(float(np.exp(value)) for value in (middle, middle - half, middle + half))


def _effect(low: float, high: float) -> str:
    if low >= NO_MATTER[0] and high <= NO_MATTER[1]:
        return NOTHING
    return HELPS if high < NO_MATTER[0] else SLOWER if low > NO_MATTER[1] else UNTOLD


def _sentence(server: str, facts: dict) -> str:
    n = f"n = {facts['n_pairs']} frames sent twice"
    if np.isnan(facts["ttft_ratio"]):
        return f"{server}: what sending a frame again gives cannot be told, no frame was answered twice."
    times = (
        f"first token after {facts['ttft_warm_median_s']:.2f} s instead of "
        f"{facts['ttft_cold_median_s']:.2f} s (median; ratio {facts['ttft_ratio']:.2f}"
    )
    interval = f", 95 % interval {facts['ttft_ratio_low']:.2f} to {facts['ttft_ratio_high']:.2f}"
    times += f"{'' if np.isnan(facts['ttft_ratio_low']) else interval}; {n})"
    if facts["effect"] == HELPS:
        return (
            f"{server}: a cache helps when a frame is sent again: {times}, which saves "
            f"{facts['saving_s_per_frame']:.2f} s a frame: {facts['frames_per_s_if_warm']:.2f} instead of "
            f"{facts['frames_per_s_cold']:.2f} frames/s, one request at a time."
        )
    said = {
        NOTHING: "sending a frame again gains nothing",
        SLOWER: "sending a frame again is slower, so no cache helps",
        UNTOLD: "whether a cache helps when a frame is sent again cannot be told from so few frames",
    }
    return f"{server}: {said[facts['effect']]}: {times}."

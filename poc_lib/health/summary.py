"""How many answers of each level are sound."""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from poc_lib.confusion.chance import paired_p_value
from poc_lib.health.scores import FLAGS

LEVEL = ["server", "role", "concurrency"]
OF_REQUESTS = ("failed", "empty")  # the other flags can be set on an answer only
HEALTH_SUMMARY_COLUMNS = (
    *LEVEL,
    "n_requests",
    "n_answers",
    "healthy",
    "healthy_share",
    "healthy_low",
    "healthy_high",
    "unhealthy_p_value",
    "parse_rate",
    "parse_rate_low",
    "parse_rate_high",
    *(f"{flag}{part}" for flag in FLAGS for part in ("", "_share", "_low", "_high")),
    "median_chars",
    "median_chars_vs_reference",
    "n_vs_reference",
    "median_chars_vs_level_1",
    "n_vs_level_1",
)


def summarize_health(scores: pd.DataFrame) -> pd.DataFrame:
    """Count sound answers and each flag per server and level.

    Args:
        scores: ``score_health``'s table.

    Returns:
        One row per (server, role, concurrency) with HEALTH_SUMMARY_COLUMNS. Each count has its ``_share``,
        of ``n_requests`` for failed, empty and healthy, of ``n_answers`` (answered requests) for the others,
        and the ends ``_low`` and ``_high`` of its exact 95 % interval (Clopper and Pearson 1934), which takes
        answers to be independent; NaN without n. ``parse_rate`` is the share of well-formed answers.
        ``unhealthy_p_value``: exact one-sided test, frames paired, that more frames are unhealthy than at the
        same server's lowest level; NaN at that level. Length ratios are medians over answers, with their n.
    """
    lowest = scores.groupby("server")["concurrency"].min().to_dict() if len(scores) else {}
    rows = [
        dict(zip(LEVEL, key, strict=True))
        | _facts(level)
        | {"unhealthy_p_value": _p_value(scores, key, lowest)}
        for key, level in scores.groupby(LEVEL, sort=False)
    ]
    table = pd.DataFrame(rows, columns=list(HEALTH_SUMMARY_COLUMNS))
    return table.sort_values(LEVEL[1:] + LEVEL[:1], kind="stable").reset_index(drop=True)


def _facts(level: pd.DataFrame) -> dict:
    answered = level[level["chars"].notna()]
    n_requests, n_answers = len(level), len(answered)
    facts = {"n_requests": n_requests, "n_answers": n_answers}
    facts |= _share("healthy", int(level["healthy"].sum()), n_requests)
    well_formed = int((~answered["not_well_formed"].astype(bool)).sum())
    parsed = _share("parse_rate", well_formed, n_answers)
    facts |= {"parse_rate": parsed.pop("parse_rate_share")} | {
        name: parsed[name] for name in ("parse_rate_low", "parse_rate_high")
    }
    for flag in FLAGS:
        facts |= _share(flag, int(level[flag].sum()), n_requests if flag in OF_REQUESTS else n_answers)
    for ratio, n in (("chars_vs_reference", "n_vs_reference"), ("chars_vs_level_1", "n_vs_level_1")):
        facts |= {f"median_{ratio}": answered[ratio].median(), n: int(answered[ratio].notna().sum())}
    return facts | {"median_chars": answered["chars"].median()}


def _share(name: str, count: int, n: int) -> dict[str, float]:
    if n == 0:
        return {name: count, f"{name}_share": np.nan, f"{name}_low": np.nan, f"{name}_high": np.nan}
    interval = binomtest(count, n).proportion_ci(confidence_level=0.95, method="exact")
    ends = {f"{name}_low": float(interval.low), f"{name}_high": float(interval.high)}
    return {name: count, f"{name}_share": count / n} | ends


def _p_value(scores: pd.DataFrame, key: tuple, lowest: dict[str, int]) -> float:
    server, role, concurrency = key
    if concurrency == lowest[server]:
        return float("nan")
    same_server = scores[(scores["server"] == server) & (scores["role"] == role)]
    here, calm = (same_server[same_server["concurrency"] == level] for level in (concurrency, lowest[server]))
    return paired_p_value(_unhealthy(here), [_unhealthy(calm)])


def _unhealthy(rows: pd.DataFrame) -> pd.Series:
    index = pd.MultiIndex.from_arrays([rows["frame_id"], rows["block"]], names=["frame_id", "block"])
    return pd.Series(~rows["healthy"].to_numpy(dtype=bool), index=index)

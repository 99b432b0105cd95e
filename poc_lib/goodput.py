"""What an open loop showed: latency from the moment of being due, and the rate that a server holds. Pure.

A reply's own times count from its sending. Where requests have to wait before they are sent, that hides the
wait: Gil Tene's "coordinated omission" ("How NOT to Measure Latency", 2013; wrk2, HdrHistogram). So here

    ttft_from_due_s = start_s - due_s + ttft_s        total_from_due_s = start_s - due_s + total_s

and the times from sending stand beside them as service times, which is what a closed loop would have shown.
"Good" is a request answered within the service level; the highest rate at which enough requests are good is
the goodput of DistServe (Zhong et al., OSDI 2024), there per GPU, here per server.
"""

import numpy as np
import pandas as pd
from scipy.stats import binomtest

LOAD = ["server", "role", "arrivals", "rate_per_s"]
PERCENTILES = (50, 95, 99)
MIN_FOR_TREND = 9  # requests: three in each third
MIN_APART = 2  # first and last third, in latencies of one request
MAX_GROWTH = 0.1  # seconds of wait gained per second of arrivals


def add_from_due(requests: pd.DataFrame) -> pd.DataFrame:
    """The open loop's requests with ``ok``, ``dispatch_delay_s``, ``ttft_from_due_s``, ``total_from_due_s``.

    dispatch_delay_s = start_s - due_s: waiting for a free connection, and this program's own lateness.
    """
    rows = requests[requests["phase"] == "open_loop"].copy()
    for column in ("start_s", "due_s", "ttft_s", "total_s", "rate_per_s"):
        rows[column] = pd.to_numeric(rows[column]).astype(float)
    rows["ok"] = rows["error_class"].isna()
    rows["dispatch_delay_s"] = rows["start_s"] - rows["due_s"]
    rows["ttft_from_due_s"] = rows["dispatch_delay_s"] + rows["ttft_s"]
    rows["total_from_due_s"] = rows["dispatch_delay_s"] + rows["total_s"]
    return rows


def summarize_open_loop(
    requests: pd.DataFrame,
    slo_ttft_s: float,
    slo_total_s: float,
    slo_share: float,
    n_frames: int | None = None,
) -> pd.DataFrame:
    """One row per (server, role, arrivals, rate_per_s), rates ascending; empty: no open loop was run.

    Args:
        requests: one row a reply (records.Reply); only the phase "open_loop" counts.
        slo_ttft_s: a good request has its first token within so many seconds of being due; 0: no limit.
        slo_total_s: and its whole answer within so many; 0: no limit.
        slo_share: share of requests that must be good.
        n_frames: requests planned per cell; None: as many as have a row.

    Columns, beside the level asked for (slo_...):
        n_due, n_sent, n_not_sent, n_ok, n_failed: requests planned, with a reply, left over when the cell was
            stopped, answered, failed.
        rate_per_s: arrivals asked for; due_rate_per_s: as they were drawn; answered_per_s: answered ÷ time
            from the first request due to the last reply (below the rate in a short cell, whose last answers
            take their time).
        ttft_from_due_p50_s, ..., total_from_due_p99_s: percentiles over answered requests, from due.
        ttft_p50_s, total_p50_s: medians from sending.
        mean_in_flight: sum of total_s ÷ the same time (Little 1961); max_in_flight; slots: the most allowed;
            n_at_limit: requests sent with all slots taken, so that they may have waited for one.
        dispatch_delay_p99_s, dispatch_delay_max_s: of the other requests, whose delay is this program's own.
        n_good, goodput_per_s (÷ the same time), good_share of n_sent with good_share_low and
            good_share_high, its exact 95 % bounds (Clopper and Pearson 1934; requests taken as independent,
            which neighbours in a queue are not).
        holds: True when good_share reaches slo_share, False when not; None without any limit, or where the
            requests not sent could decide either way.
        kept_up: see ``_kept_up``.
    """
    asked = {"slo_ttft_s": slo_ttft_s, "slo_total_s": slo_total_s, "slo_share": slo_share}
    rows = []
    for (server, role, arrivals), series in add_from_due(requests).groupby(LOAD[:3], sort=False):
        for rate_per_s, load in series.groupby("rate_per_s"):
            key = dict(zip(LOAD, (server, role, arrivals, rate_per_s), strict=True))
            rows.append({**key, **_load_facts(load, asked, n_frames), **asked})
    summary = pd.DataFrame(rows, columns=[*LOAD, *_COLUMNS, *asked])
    return summary.astype({"holds": object, "kept_up": object})  # True, False or None, never a NumPy bool


_COLUMNS = [
    "simulated",
    "n_due",
    "n_sent",
    "n_not_sent",
    "n_ok",
    "n_failed",
    "due_rate_per_s",
    "answered_per_s",
    *(f"{measure}_from_due_p{percent}_s" for measure in ("ttft", "total") for percent in PERCENTILES),
    "ttft_p50_s",
    "total_p50_s",
    "mean_in_flight",
    "max_in_flight",
    "slots",
    "n_at_limit",
    "dispatch_delay_p99_s",
    "dispatch_delay_max_s",
    "n_good",
    "good_share",
    "good_share_low",
    "good_share_high",
    "goodput_per_s",
    "holds",
    "kept_up",
]


def _load_facts(load: pd.DataFrame, asked: dict[str, float], n_frames: int | None) -> dict:
    cells = load.groupby(["block", "sitting"])
    ok = load[load["ok"]]
    wall_s = _wall_s(load)
    planned = len(load) if n_frames is None else n_frames * load["block"].nunique()
    own = load[load["in_flight"] < load["concurrency"]]["dispatch_delay_s"]
    due_span_s = float((cells["due_s"].max() - cells["due_s"].min()).sum())
    n_not_sent = max(planned - len(load), 0)
    return {
        "simulated": bool(load["simulated"].any()),
        "n_due": len(load) + n_not_sent,
        "n_sent": len(load),
        "n_not_sent": n_not_sent,
        "n_ok": len(ok),
        "n_failed": len(load) - len(ok),
        "due_rate_per_s": (len(load) - cells.ngroups) / due_span_s if due_span_s > 0 else np.nan,
        "answered_per_s": len(ok) / wall_s,
        **_from_due(ok),
        "ttft_p50_s": ok["ttft_s"].median(),
        "total_p50_s": ok["total_s"].median(),
        "mean_in_flight": float(load["total_s"].sum()) / wall_s,
        "max_in_flight": int(load["in_flight"].max()),
        "slots": int(load["concurrency"].max()),
        "n_at_limit": len(load) - len(own),
        "dispatch_delay_p99_s": own.quantile(0.99),
        "dispatch_delay_max_s": own.max(),
        **_good_facts(load, asked, n_not_sent, wall_s),
        "kept_up": _kept_up(load),
    }


def _wall_s(load: pd.DataFrame) -> float:
    """From the first request due to the last reply, summed over a load's cells and sittings."""
    ends = load.assign(end_s=load["start_s"] + load["total_s"]).groupby(["block", "sitting"])
    wall_s = float((ends["end_s"].max() - ends["due_s"].min()).sum())
    return wall_s if wall_s > 0 else np.nan


def _from_due(ok: pd.DataFrame) -> dict[str, float]:
    return {
        f"{measure}_from_due_p{percent}_s": ok[f"{measure}_from_due_s"].quantile(percent / 100)
        for measure in ("ttft", "total")
        for percent in PERCENTILES
    }


def _good_facts(load: pd.DataFrame, asked: dict[str, float], n_not_sent: int, wall_s: float) -> dict:
    good = load["ok"]
    for measure in ("ttft", "total"):
        if limit_s := asked[f"slo_{measure}_s"]:
            good = good & (load[f"{measure}_from_due_s"] <= limit_s)
    n_good, n_sent = int(good.sum()), len(load)
    exact = binomtest(n_good, n_sent).proportion_ci(confidence_level=0.95, method="exact")
    return {
        "n_good": n_good,
        "good_share": n_good / n_sent,
        "good_share_low": float(exact.low),
        "good_share_high": float(exact.high),
        "goodput_per_s": n_good / wall_s,
        "holds": _holds(n_good, n_sent, n_not_sent, asked),
    }


def _holds(n_good: int, n_sent: int, n_not_sent: int, asked: dict[str, float]) -> bool | None:
    if not (asked["slo_ttft_s"] or asked["slo_total_s"]):
        return None
    n_due = n_sent + n_not_sent
    if n_good / n_due >= asked["slo_share"]:
        return True
    return False if (n_good + n_not_sent) / n_due < asked["slo_share"] else None


def _kept_up(load: pd.DataFrame) -> bool | None:
    """Whether the backlog stayed as it was: the wait of the last third of requests against the first third's.

    The wait is ttft_from_due_s, endless for a failed request; thirds are taken by due_s within each cell and
    pooled over cells, and their medians compared. A queue that is offered more than it can serve gains wait
    in proportion to time, so the server fell behind (False) when the wait grew by more than 0.1 s per second
    that lies between the two thirds, and also by more than the first third's median total_from_due_s: what
    less than one request's time brings is the filling of an empty server. None where that cannot be told:
    fewer than 9 requests, or thirds less than two such totals apart, where an offer of half as much again as
    can be served might not show yet.

    In simulated queues (one server, Poisson, 60 requests, 25 runs each) it said True at 70 % of what can be
    served in 24, False at 125 % in 21; with 12 requests, True in 17 and False in 17.
    """
    thirds = _first_and_last_third(load)
    if len(thirds[0]) < MIN_FOR_TREND // 3:
        return None
    first, last = (third[["wait_s", "elapsed_s"]].median() for third in thirds)
    if np.isinf([first["wait_s"], last["wait_s"]]).any():
        return False
    own_s = thirds[0]["total_from_due_s"].median()
    growth_s, apart_s = last["wait_s"] - first["wait_s"], last["elapsed_s"] - first["elapsed_s"]
    if growth_s > max(MAX_GROWTH * apart_s, own_s):
        return False
    return True if apart_s >= MIN_APART * own_s else None


def _first_and_last_third(load: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    cells = load.groupby(["block", "sitting"])["due_s"]
    place, n_cell = cells.rank(method="first") - 1, cells.transform("size")
    wait_s = load["ttft_from_due_s"].where(load["ok"], np.inf)
    rows = load.assign(wait_s=wait_s, elapsed_s=load["due_s"] - cells.transform("min"))
    return rows[place < n_cell // 3], rows[place >= n_cell - n_cell // 3]


def highest_rate(open_loop: pd.DataFrame) -> pd.DataFrame:
    """One row per (server, role, arrivals): the highest rate that holds, with every lower measured rate.

    Args:
        open_loop: summarize_open_loop, one row per rate.

    Columns: n_rates; highest_rate_per_s, NaN when not even the lowest measured rate holds or no service level
    was asked for; next_rate_per_s, the lowest rate measured above it, NaN when all hold;
    kept_up_rate_per_s, as highest_rate_per_s for ``kept_up`` instead of ``holds``; sentence. A rate that held
    above one that did not is luck and is not taken.
    """
    rows = []
    for key, series in open_loop.groupby(LOAD[:3], sort=False):
        rates = series.sort_values("rate_per_s")
        held, kept_up = _leading(rates, "holds"), _leading(rates, "kept_up")
        rows.append(
            {
                **dict(zip(LOAD[:3], key, strict=True)),
                "n_rates": len(rates),
                "highest_rate_per_s": held["rate_per_s"].max(),
                "next_rate_per_s": rates["rate_per_s"].iloc[len(held) :].min(),
                "kept_up_rate_per_s": kept_up["rate_per_s"].max(),
                "sentence": f"{key[0]}, {key[2]} arrivals: {_in_words(rates, len(held))}.",
            }
        )
    columns = ["n_rates", "highest_rate_per_s", "next_rate_per_s", "kept_up_rate_per_s", "sentence"]
    return pd.DataFrame(rows, columns=[*LOAD[:3], *columns])


def _leading(rates: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rates before the first that is not True, lowest first."""
    return rates[rates[column].eq(True).cummin()]


def _in_words(rates: pd.DataFrame, n_held: int) -> str:
    level = rates.iloc[0]
    asked = describe_level(level["slo_ttft_s"], level["slo_total_s"], level["slo_share"])
    if not (level["slo_ttft_s"] or level["slo_total_s"]):
        return "no service level was asked for, so no rate holds one"
    if not n_held:
        return f"{asked} held at none of the {len(rates)} rates measured; {_one_rate(rates.iloc[0])}"
    best = f"{asked} held up to {_one_rate(rates.iloc[n_held - 1])}"
    if n_held == len(rates):
        return f"{best}, the highest rate measured, so the limit lies above it"
    return f"{best}; {_one_rate(rates.iloc[n_held])}"


def describe_level(slo_ttft_s: float, slo_total_s: float, slo_share: float) -> str:
    """The service level in words; times count from the moment a request was due."""
    limits = [("first token", slo_ttft_s), ("whole answer", slo_total_s)]
    named = [f"{what} within {limit_s:g} s" for what, limit_s in limits if limit_s]
    return f"{' and '.join(named)} for {100 * slo_share:g} % of requests" if named else "no limit"


def _one_rate(row: pd.Series) -> str:
    bounds = f"95 % interval {100 * row['good_share_low']:.0f} to {100 * row['good_share_high']:.0f} %"
    left = f", {row['n_not_sent']} never sent" if row["n_not_sent"] else ""
    good = f"{row['n_good']} of {row['n_sent']} in time, {bounds}{left}"
    return f"{row['rate_per_s']:g} requests/s ({good})"

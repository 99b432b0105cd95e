"""Arrivals at a rate: does the server keep the service level, surely?"""

import pandas as pd

from poc_lib.metrics.speedup import binomial_bounds, interval
from poc_lib.records import Finding

KEPT_SHARE = 0.95  # of requests that must keep the service level, by the lower bound


def open_loop_findings(answers: pd.DataFrame, ttft_s: float, total_s: float) -> list[Finding]:
    """One finding a candidate and rate: the latency from the due moment, and whether the service level holds.

    A latency counts from the moment at which the request was due, so that waiting for a slot is in it. The
    level holds where the lower 95 % bound (Clopper-Pearson) of the share that keeps it is at least 95 %.

    Args:
        ttft_s, total_s: the service level in seconds; 0: no limit. Without any limit only latencies are told.
    """
    findings = []
    rows = answers[(answers["phase"] == "open_loop") & answers["complete"].astype(bool)]
    for (server, rate), cell in rows.groupby(["server", "rate_per_s"]):
        waited_s = cell["start_s"] - cell["due_s"]
        first_s, last_s = cell["ttft_s"] + waited_s, cell["total_s"] + waited_s
        answered = cell["error_class"].isna()
        first_p50_s, last_p95_s = first_s[answered].median(), last_s[answered].quantile(0.95)
        text = f"Open loop, {server} at {rate:.3g} arrivals/s: TTFT p50 {first_p50_s:.2f} s, answer p95 "
        text += f"{last_p95_s:.2f} s from the due moment, {answered.sum()} of {len(cell)} answered"
        state = "note"
        if ttft_s or total_s:
            kept = answered & ((first_s <= ttft_s) | (not ttft_s)) & ((last_s <= total_s) | (not total_s))
            low, high = binomial_bounds(int(kept.sum()), len(cell))
            state = "ok" if low >= KEPT_SHARE else "problem" if high < KEPT_SHARE else "warning"
            word = {"ok": "holds", "problem": "does not hold", "warning": "is not decided"}[state]
            share = interval(100 * kept.mean(), 100 * low, 100 * high, "%", ".0f")
            text += f"; the service level {word}: kept by {share} of {len(cell)}"
        findings.append(Finding("open loop", state, f"{text}.", server=server))
    return findings

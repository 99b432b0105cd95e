"""Runs against each other: before and after an upgrade, two models, two settings. Unlike runs are refused."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from poc_lib.metrics.speed import level_row
from poc_lib.metrics.speedup import interval
from poc_lib.records import Finding, State, Verdict

COMPARE_COLUMNS = (  # one row a run and candidate; change: its speed-up ÷ the first run's, with bounds
    *("run_id", "candidate", "level", "label", "speedup", "low", "high", "n_blocks", "proof"),
    *("change", "change_low", "change_high", "baseline", "baseline_level", "baseline_frames_per_s"),
    *("frames_per_s", "output_tok_per_s", "ttft_p50_s", "ref_ratio", "n_code_other", "n_proof"),
)
NOT_MEASURING = {"run_id", "outputs_dir", "note", "compare_with", "screenshots", "labels", "max_blocks"}
NOT_MEASURING |= {"candidate_model", "baseline_model", "candidate_url", "baseline_url"}  # told by the servers
CONDITION = re.compile("frames|prompt|temperature|max_tokens|servers|baseline|(host|baseline) .+")
DRIFT = 0.1  # of the baseline's own rate: more is worth a word
ComparedRun = tuple[str, Mapping, pd.DataFrame, Sequence[Verdict]]  # run_id, facts, levels, verdicts


def compare_runs(runs: Sequence[ComparedRun]) -> tuple[pd.DataFrame, list[Finding]]:
    """Hold every run against the first: a row a run and candidate (COMPARE_COLUMNS), and what was found.

    A run under another CONDITION has no row and a finding that says why. ``change_low`` and ``change_high``
    put the one interval's worst end against the other's best: wider than need be; NaN without a speed-up.
    """
    rows, findings = [], []
    first_id, first_facts, _, first_verdicts = runs[0]
    by_name = {verdict.candidate: verdict for verdict in first_verdicts}
    only = first_verdicts[0] if len(first_verdicts) == 1 else None

    def say(state: State, text: str, to_do: str = "", server: str = "") -> None:
        findings.append(Finding("compare", state, text, to_do, server))

    for run_id, facts, levels, verdicts in runs:
        before, now = describe(first_facts), describe(facts)
        unlike, changed = [], []
        for name, value in now.items():
            if None not in (value, before.get(name)) and value != before[name]:
                told = f"{name} is {value}, there {before[name]}"
                told = f"other {name}" if name in ("frames", "prompt") else told  # values would tell nothing
                (unlike if CONDITION.fullmatch(name) else changed).append(told)
        if unlike:
            text = f"'{run_id}' cannot be compared with '{first_id}': {'; '.join(unlike)}."
            say("problem", text, "Measure both alike, or leave it out.")
            continue
        for verdict in verdicts:
            first = by_name.get(verdict.candidate, only)
            ends = [[v.speedup, v.low, v.high] if v else [math.nan] * 3 for v in (verdict, first)]
            ours, theirs = np.array(ends, dtype=float)
            change, low, high = ours / theirs[[0, 2, 1]]
            rate = level_row(levels, verdict.baseline, verdict.baseline_level)["frames_per_s"]
            row = dict(level_row(levels, verdict.candidate, verdict.level)) | asdict(verdict)
            row |= {"run_id": run_id, "change": change, "change_low": low, "change_high": high}
            rows.append(row | {"baseline_frames_per_s": rate})
            if run_id == first_id:
                continue
            told = "faster" if low > 1 else "slower" if high < 1 else "no difference seen"
            told = "cannot be judged without an interval" if math.isnan(low) else told
            told = f"{told}, {interval(change, low, high)} its speed-up"
            told, state = ("one of them has no speed-up", "note") if math.isnan(change) else (told, "ok")
            text = f"{verdict.candidate} in '{run_id}' against '{first_id}': {told}."
            say(state, text, server=verdict.candidate)
            drift = rate / rows[0]["baseline_frames_per_s"]
            if abs(drift - 1) > DRIFT:
                text = f"The baseline itself ran {drift:.2f} × as fast as in '{first_id}'"
                say("warning", f"{text}: compare speed-ups, not rates.", server=verdict.baseline)
        if run_id != first_id:
            text = f"Changed in '{run_id}' against '{first_id}': {'; '.join(changed) or 'nothing on record'}."
            if len(changed) > 1:
                text += f" {len(changed)} things at once: no effect can be put down to one of them."
            say("note", text)
    return pd.DataFrame(rows, columns=list(COMPARE_COLUMNS)), findings


def describe(facts: Mapping) -> dict:
    """What may differ between runs: the conditions, and what a comparison may be about."""
    host, servers = facts.get("host", {}), facts["servers"]
    baselines = sorted(server["name"] for server in servers if server["role"] == "baseline")
    told = {name: value for name, value in facts.get("params", {}).items() if name not in NOT_MEASURING}
    told |= {
        "frames": {frame["frame_id"]: frame["sha256"] for frame in facts["frames"]},
        "prompt": facts["prompt_sha256"],
        "host chip": host.get("chip"),
        "host gpu": host.get("gpu"),
        "host memory": f"{host['memory_gb']:.0f} GB" if host.get("memory_gb") else None,
        "host system": str(host["os"]).split("-")[0] if host.get("os") else None,
        "servers": "simulated" if any(server["simulated"] for server in servers) else "real",
        "baseline": ", ".join(baselines) or "none measured",
    }
    for server in servers:
        server = server | {"digest": (server.get("details") or {}).get("digest")}
        who = "baseline" if server["role"] == "baseline" else server["name"]
        told |= {f"{who} {name}": server.get(name) for name in ("software", "version", "model", "digest")}
    return told

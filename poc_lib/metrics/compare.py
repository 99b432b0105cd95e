"""Runs against each other: before and after an upgrade, two models, two settings. Unlike runs are refused."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from poc_lib.metrics.speedup import interval
from poc_lib.records import Finding, Verdict

COMPARE_COLUMNS = (  # one row a run and candidate; change: its speed-up ÷ the first run's, with bounds
    *("run_id", "candidate", "level", "label", "speedup", "low", "high", "n_blocks", "proof", "simulated"),
    *("change", "change_low", "change_high", "baseline", "baseline_level", "baseline_frames_per_s"),
    *("frames_per_s", "output_tok_per_s", "ttft_p50_s", "ref_ratio", "ref_cosine", "base_cosine"),
    *("n_scored", "n_code_other", "n_proof", "mixup_upper", "n_signs", "n_texts"),
)
NOT_MEASURING = {"run_id", "outputs_dir", "note", "compare_with", "screenshots", "labels", "max_blocks"}
DRIFT = 0.1  # of the baseline's own rate: more is worth a word
ComparedRun = tuple[
    str, Mapping[str, Any], pd.DataFrame, Sequence[Verdict]
]  # run_id, facts, levels, verdicts


def compare_runs(runs: Sequence[ComparedRun]) -> tuple[pd.DataFrame, list[Finding]]:
    """Hold every run against the first: a row a run and candidate (COMPARE_COLUMNS), and what was found.

    A run with other frames, prompt, sampling, host or baseline has no row and a finding that says why.
    ``change_low`` and ``change_high`` put the one interval's worst end against the other's best, so they
    are wider than they need be. NaN where a run has no speed-up.
    """
    rows, findings = [], []
    first_id, first_facts, _, first_verdicts = runs[0]
    for run_id, facts, levels, verdicts in runs:
        unlike = _differing(_conditions(first_facts), _conditions(facts))
        if unlike:
            text = f"'{run_id}' cannot be compared with '{first_id}': {'; '.join(unlike)}."
            findings.append(Finding("compare", "problem", text, "Measure both alike, or leave it out."))
            continue
        for verdict in verdicts:
            by_name = {one.candidate: one for one in first_verdicts}
            first = by_name.get(verdict.candidate, first_verdicts[0] if len(first_verdicts) == 1 else None)
            rows.append(_row(run_id, levels, verdict, first))
            if run_id != first_id:
                findings += _judge(first_id, rows, verdict)
        if run_id != first_id:
            changed = _differing(_settings(first_facts), _settings(facts))
            text = f"Changed in '{run_id}' against '{first_id}': {'; '.join(changed) or 'nothing on record'}."
            if len(changed) > 1:
                text += f" {len(changed)} things at once: no effect can be put down to one of them."
            findings.append(Finding("compare", "note", text))
    return pd.DataFrame(rows, columns=list(COMPARE_COLUMNS)), findings


def _conditions(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal; None: not known, and not compared."""
    host, params = facts.get("host", {}), facts.get("params", {})
    memory_gb = host.get("memory_gb")
    baselines = [server for server in facts["servers"] if server["role"] == "baseline"]
    return {
        "frames": {frame["frame_id"]: frame["sha256"] for frame in facts["frames"]},
        "prompt": facts["prompt_sha256"],
        **{name: params.get(name) for name in ("temperature", "max_tokens")},
        **{f"host {name}": host.get(name) for name in ("chip", "gpu")},
        "host memory": f"{memory_gb:.0f} GB" if memory_gb else None,
        "host system": str(host["os"]).split("-")[0] if host.get("os") else None,
        "servers": "simulated" if any(server["simulated"] for server in facts["servers"]) else "real",
        "baseline": ", ".join(sorted(server["name"] for server in baselines)) or "none measured",
        **{f"baseline {k}": v for server in baselines[:1] for k, v in _software(server).items()},
    }


def _settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison may be about."""
    candidates = [server for server in facts["servers"] if server["role"] == "candidate"]
    params = {k: v for k, v in facts.get("params", {}).items() if k not in NOT_MEASURING}
    same_facts = ("candidate_model", "baseline_model", "candidate_url", "baseline_url")
    return {f"{s['name']} {k}": v for s in candidates for k, v in _software(s).items()} | {
        name: value for name, value in params.items() if name not in same_facts
    }


def _software(server: Mapping[str, Any]) -> dict[str, Any]:
    digest = (server.get("details") or {}).get("digest")
    return {name: server.get(name) for name in ("software", "version", "model")} | {"digest": digest}


def _differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What both know and is not the same, in words."""
    names = [
        name for name in first if None not in (first[name], other.get(name)) and first[name] != other[name]
    ]
    untold = {"frames", "prompt"}  # their values tell a reader nothing
    return [f"other {n}" if n in untold else f"{n} is {other[n]}, there {first[n]}" for n in names]


def _row(run_id: str, levels: pd.DataFrame, verdict: Verdict, first: Verdict | None) -> dict[str, Any]:
    def at(server: str, level: int | None) -> dict[str, Any]:
        found = levels[(levels["server"] == server) & (levels["concurrency"] == level)]
        return found.iloc[0].to_dict() if len(found) else {}

    row = at(verdict.candidate, verdict.level)
    row |= {name: getattr(verdict, name) for name in COMPARE_COLUMNS if hasattr(verdict, name)}
    row |= {name: math.nan for name in ("speedup", "low", "high") if row[name] is None}
    row["baseline_frames_per_s"] = at(verdict.baseline, verdict.baseline_level).get("frames_per_s", math.nan)
    ends = {"change": ("speedup", "speedup"), "change_low": ("low", "high"), "change_high": ("high", "low")}
    before = {name: getattr(first, name, None) or math.nan for name in ("speedup", "low", "high")}
    row |= {name: row[own] / before[theirs] for name, (own, theirs) in ends.items()}
    return row | {"run_id": run_id}


def _judge(first_id: str, rows: Sequence[Mapping[str, Any]], verdict: Verdict) -> list[Finding]:
    row, first = rows[-1], rows[0]
    change, low, high = (row[name] for name in ("change", "change_low", "change_high"))
    who = f"{verdict.candidate} in '{row['run_id']}' against '{first_id}'"
    if math.isnan(change):
        return [Finding("compare", "note", f"{who}: one of them has no speed-up.", server=verdict.candidate)]
    told = "no difference seen" if low <= 1 <= high else "faster" if low > 1 else "slower"
    told = told if low == low else "cannot be judged without an interval"
    text = f"{who}: {told}, {interval(change, low, high)} its speed-up."
    found = [Finding("compare", "ok", text, server=verdict.candidate)]
    drift = row["baseline_frames_per_s"] / first["baseline_frames_per_s"]
    if abs(drift - 1) > DRIFT:
        text = (
            f"The baseline itself ran {drift:.2f} × as fast as in '{first_id}': compare speed-ups, not rates."
        )
        found.append(Finding("compare", "warning", text, server=verdict.baseline))
    return found

"""What a run says: the verdict, its levels, its failures, what to do next, and the same as files."""

import json
import shlex
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import pandas as pd

from poc_lib import metrics, text
from poc_lib.metrics.speedup import NOT_RECOMMENDED, STEPS, step_of
from poc_lib.params import Params
from poc_lib.records import Finding, Verdict
from poc_lib.runs import replace_file, write_json
from poc_lib.show.tables import Shown, count_range, gravity, interval, render_part, say, table

if TYPE_CHECKING:
    from poc_lib.analysis import Analysis

FILES = ("run.json", "requests.jsonl", "events.jsonl", "telemetry.jsonl", "verdict.json", "tables/README.md")
LONGEST_LABEL = 90  # characters that are set as a headline
LEVELS = {
    "server": "{server}",
    "in flight": "{concurrency}",
    "measured": "{measured}",
    "frames/s": "{frames_per_s:.2f}",
    "× baseline": "{gain}",
    "output tok/s": "{output_tok_per_s:.0f}",
    "first token p50 · p95, s": "{ttft_p50_s:.2f} · {ttft_p95_s:.2f}",
    "answer p50 · p95, s": "{total_p50_s:.2f} · {total_p95_s:.2f}",
    "p99, s": "{tail}",
    "match": "{match_rate:.0%}",
    "like baseline": "{base_ratio:.2f}",
    "codes right": "{n_code_own} of {n_proof:.0f}",
    "failed": "{n_failed} of {n_sent}",
}
LOOK_COLUMNS = ["candidate", "n_blocks", "speedup", "low", "high", "decided"]
LEVELS_CAPTION = (
    "Bold: chosen. Match: share of answers over 0.8 alike the stored text (difflib). Like baseline: mean "
    "likeness to the baseline's answers, one at a time. p99 from 100 answers on, else the slowest."
)


def banner(analysis: "Analysis") -> Shown:
    """The decision with its reason and its reservations, and what was measured, on top of everything."""
    verdicts = [asdict(v) | _lead(v) | {"steps": _steps(v)} for v in analysis.verdicts]
    return render_part("banner", analysis=analysis, verdicts=verdicts)


def _lead(verdict: Verdict) -> dict[str, str]:
    """The headline's beginning, which names the decision, as ``label``; the rest, which says why."""
    label = verdict.label[:1].upper() + verdict.label[1:]
    lead, _, rest = verdict.headline.partition(": ")
    if verdict.headline.startswith(f"{label}: "):
        lead, rest = label, verdict.headline[len(label) + 2 :]
    if not rest or len(lead) > LONGEST_LABEL or verdict.label.lower() not in lead.lower():
        lead, rest = label, verdict.headline
    return {"label": lead, "headline": rest}


def _steps(verdict: Verdict) -> dict[str, Any]:
    """The verdict's steps, lowest first, which is reached (-1: speed decided nothing), and the last open."""
    names = [NOT_RECOMMENDED, *(name for _, name in STEPS)]
    is_reached = not pd.isna(verdict.low) and step_of(verdict.low) == verdict.label
    at = names.index(verdict.label) if is_reached else -1
    top = names.index(step_of(verdict.high)) if verdict.open_above else at
    return {"names": names, "starts": [f"{start:g}" for start, _ in STEPS], "at": at, "top": top}


def levels_table(analysis: "Analysis") -> Shown:
    """Speed and quality of every server and level: the one table to compare numbers in."""
    rows, whole = analysis.levels, analysis.answers[analysis.answers["complete"].eq(True)]
    if rows.empty:
        return say("No level was measured.")
    n_blocks = whole.groupby(["server", "concurrency", "phase"])["block"].nunique().to_dict()
    verdicts = {(v.candidate, v.level): v for v in analysis.verdicts if not pd.isna(v.speedup)}
    measured, gains, tails = [], [], []
    for row in rows.to_dict("records"):
        n = n_blocks.get((row["server"], row["concurrency"], row["source"]), 0)
        measured.append("pilot" if row["source"] == "pilot" else "1 block" if n == 1 else f"{n} blocks")
        v = verdicts.get((row["server"], row["concurrency"]))
        gains.append(interval(v.speedup, v.low, v.high) if v else interval(row["pilot_speedup"]))
        p99, slowest = (interval(row[name], unit="") for name in ("total_p99_s", "slowest_s"))
        tails.append(f"slowest {slowest}" if pd.isna(row["total_p99_s"]) else p99)
    n_proof = rows["n_proof"].where(rows["n_proof"] > 0)
    rows = rows.assign(measured=measured, gain=gains, tail=tails, n_proof=n_proof)
    rows = rows.sort_values(["role", "server", "concurrency"], kind="stable")
    caption = f"n = {count_range(rows['n_answered'])} answers a row. {LEVELS_CAPTION}"
    return table(rows, LEVELS, caption, about="Speed and quality of every level", marked="chosen")


def failures_table(analysis: "Analysis") -> Shown:
    """How many requests failed where and how, with the first message of each kind."""
    rows = _failures(analysis).query("error_class != 'aborted'")  # those were given up on purpose
    return table(rows, about="Failed requests", empty="No request failed.")


def _failures(analysis: "Analysis") -> pd.DataFrame:
    rows = analysis.answers[analysis.answers["error_class"].notna()]
    by = ["server", "concurrency", "phase", "error_class"]
    counted = rows.groupby(by, sort=False)["error_message"].agg(["size", "first"]).reset_index()
    return counted.set_axis([*by, "n", "error_message"], axis=1)


def next_steps(analysis: "Analysis") -> Shown:
    """What the findings ask for; report.md has the verdict before it, once more."""
    to_dos = [finding.to_do for finding in sorted(analysis.findings, key=gravity) if finding.to_do]
    return render_part("next", to_dos=list(dict.fromkeys(to_dos)), verdicts=analysis.verdicts)


def reproduce(analysis: "Analysis") -> Shown:
    """The command that measures the same again, and links to the run's files."""
    defaults = Params().model_dump(exclude={"run_id", "outputs_dir"})
    words = ["python -m poc_lib run"]
    for name, value in analysis.run.facts["params"].items():
        if name in defaults and value != defaults[name]:
            values = value if isinstance(value, list) else [] if isinstance(value, bool) else [value]
            texts = [json.dumps(v) if isinstance(v, dict) else text.one_line(v, None) for v in values]
            words += [f"--{'no-' * (value is False)}{name}", *map(shlex.quote, texts)]
    command = " ".join(words)
    files = [name for name in FILES if (analysis.run.folder / name).is_file()]
    fence = "`" * next(n for n in range(3, len(command) + 4) if "`" * n not in command)
    return render_part("reproduce", command=command, fence=fence, files=files)


def write_tables(analysis: "Analysis") -> Shown:
    """Write tables/*.csv, tables/README.md and verdict.json of a run; says what lies there.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    found = pd.DataFrame([asdict(f) for f in analysis.findings], columns=[f.name for f in fields(Finding)])
    tables = {
        "answers": analysis.answers,
        "levels": analysis.levels,
        "blocks": analysis.blocks,
        "looks": pd.DataFrame(analysis.looks, columns=LOOK_COLUMNS),
        "findings": found,
        "failures": _failures(analysis),
    }
    folder = analysis.run.folder / "tables"
    for name, frame in tables.items():
        data = frame.map(text.csv_cell).to_csv(index=False, float_format="%.9g", lineterminator="\n")
        replace_file(folder / f"{name}.csv", data.encode("utf-8", "replace"))
    readme = render_part("readme", answers=metrics.COLUMNS, levels=metrics.LEVEL_COLUMNS)
    replace_file(folder / "README.md", f"{readme.markdown}\n".encode())
    names = ("name", "role", "software", "version", "model")
    facts = {"run_id": analysis.run.run_id, "created_at": analysis.run.facts.get("created_at")}
    facts["servers"] = [{key: s.get(key) for key in names} for s in analysis.run.facts["servers"]]
    facts |= {"simulated": analysis.run.simulated, "verdicts": [asdict(v) for v in analysis.verdicts]}
    write_json(analysis.run.folder / "verdict.json", facts)
    return say(f"Written: verdict.json, tables/README.md and {', '.join(f'{name}.csv' for name in tables)}.")

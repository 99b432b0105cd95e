"""What a run says: the verdict, its levels, its failures, what to do next; and several runs side by side."""

import json
import math
import shlex
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pandas as pd

from poc_lib import metrics, text
from poc_lib.metrics.speedup import NOT_RECOMMENDED, STEPS, step_of
from poc_lib.params import Params
from poc_lib.records import Finding
from poc_lib.runs import list_runs, read_events, replace_file, write_json
from poc_lib.show.tables import Shown, count_range, findings, gravity, interval, render_part, say, table

if TYPE_CHECKING:
    from poc_lib.analysis import Analysis

FILES = ("run.json", "requests.jsonl", "events.jsonl", "telemetry.jsonl", "verdict.json", "tables/README.md")
LEVELS = {
    "server": "{server}",
    "in flight": "{concurrency}",
    "measured": "{measured}",
    "frames/s": "{frames_per_s:.2f}",
    "× baseline": "{gain}",
    "output tok/s": "{output_tok_per_s:.0f}",
    "first token p50 · p95, s": "{ttft_p50_s:.2f} · {ttft_p95_s:.2f}",
    "answer p50 · p95, s": "{total_p50_s:.2f} · {total_p95_s:.2f}",
    "answer tail, s": "{tail}",
    "match": "{match_rate:.0%}",
    "like baseline": "{base_ratio:.2f}",
    "codes right": "{n_code_own} of {n_proof:.0f}",
    "failed": "{n_failed} of {n_sent}",
}
LEVELS_CAPTION = (
    "Bold: chosen. Tail: p99 from 100 answers on, else the maximum. Match: share of answers over 0.8 alike "
    "the stored text (difflib). Like baseline: mean likeness to the baseline's answers, one at a time."
)
RUNS = {
    "run": "{run_id}",
    "candidate": "{candidate}",
    "in flight": "{level}",
    "verdict": "{label}",
    "speed-up": "{gain}",
    "against the first run": "{changed}",
    "frames/s": "{frames_per_s:.2f}",
    "first token p50, s": "{ttft_p50_s:.2f}",
    "like stored text": "{ref_ratio:.2f}",
    "others' codes": "{n_code_other} of {n_proof}",
}
LOOK_COLUMNS = ["candidate", "n_blocks", "speedup", "low", "high", "decided"]


def banner(analysis: "Analysis") -> Shown:
    """The decision with its reason and its reservations, and what was measured, on top of everything."""
    names = [NOT_RECOMMENDED, *(name for _, name in STEPS)]
    starts = [f"below {STEPS[0][0]:g} ×", *(f"from {start:g} ×" for start, _ in STEPS)]
    shown = []
    for v in analysis.verdicts:
        lead, rest = v.headline, ""
        if (cut := v.headline.find(": ", len(v.label))) > 0:  # before it stands the decision, behind it why
            lead, rest = v.headline[:cut], v.headline[cut + 2 :]
        steps = []
        if not pd.isna(v.low) and step_of(v.low) == v.label:  # else speed did not decide
            at, top = (names.index(step_of(bound)) for bound in (v.low, v.high))
            steps = [
                (names[i], starts[i], i == at, v.open_above and at < i <= top) for i in range(len(names))
            ]
        shown.append(asdict(v) | {"label": lead, "headline": rest, "steps": steps})
    return render_part("banner", analysis=analysis, verdicts=shown)


def levels_table(analysis: "Analysis") -> Shown:
    """Speed and quality of every server and level: the one table to compare numbers in."""
    if analysis.levels.empty:
        return say("No level was measured.")
    whole = analysis.answers[analysis.answers["complete"].eq(True)]
    n_blocks = whole.groupby(["server", "concurrency", "phase"])["block"].nunique().to_dict()
    verdicts = {(v.candidate, v.level): v for v in analysis.verdicts if not pd.isna(v.speedup)}
    rows = analysis.levels.to_dict("records")
    for row in rows:
        at, is_p99 = (row["server"], row["concurrency"]), not pd.isna(row["total_p99_s"])
        n, v = n_blocks.get((*at, row["source"]), 0), verdicts.get(at)
        row["measured"] = "pilot" if row["source"] == "pilot" else f"{n} block{'s' * (n != 1)}"
        row["gain"] = interval(v.speedup, v.low, v.high) if v else interval(row["pilot_speedup"])
        tail = interval(row["total_p99_s" if is_p99 else "slowest_s"], unit="")
        row |= {"tail": f"{'p99' if is_p99 else 'max'} {tail}", "n_proof": row["n_proof"] or math.nan}
    caption = f"n = {count_range(analysis.levels['n_answered'])} answers a row. {LEVELS_CAPTION}"
    frame = pd.DataFrame(rows).sort_values(["role", "server", "concurrency"], kind="stable")
    return table(frame, LEVELS, caption, marked="chosen")


def failures_table(analysis: "Analysis") -> Shown:
    """How many requests failed where and how, with the first message of each kind."""
    rows = _failures(analysis).query("error_class != 'aborted'")  # those were given up on purpose
    return table(rows, empty="No request failed.")


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
    files = [name for name in FILES if (analysis.run.folder / name).is_file()]
    return render_part("reproduce", command=" ".join(words), files=files)


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
    for name, frame in tables.items():
        _write_csv(analysis.run.folder / "tables" / f"{name}.csv", frame)
    columns = {"answers": metrics.COLUMNS, "levels": metrics.LEVEL_COLUMNS, "blocks": metrics.BLOCK_COLUMNS}
    readme = render_part("readme", **columns)
    replace_file(analysis.run.folder / "tables" / "README.md", f"{readme.markdown}\n".encode())
    run, names = analysis.run, ("name", "role", "software", "version", "model")
    facts = {"run_id": run.run_id, "created_at": run.facts.get("created_at")}
    facts["servers"] = [{key: server.get(key) for key in names} for server in run.facts["servers"]]
    facts |= {"simulated": analysis.run.simulated, "verdicts": [asdict(v) for v in analysis.verdicts]}
    write_json(analysis.run.folder / "verdict.json", facts)
    return say(f"Written: verdict.json, tables/README.md and {', '.join(f'{name}.csv' for name in tables)}.")


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    data = frame.map(text.csv_cell).to_csv(index=False, float_format="%.9g", lineterminator="\n")
    replace_file(path, data.encode("utf-8", "replace"))


def runs_table(outputs: Path) -> str:
    """One line a run below a folder, newest first: when, whether it is finished, what came out."""
    lines = []
    for run in list_runs(outputs):
        done = any(event["event"] == "finished" for event in read_events(run))
        labels = "; ".join(f"{v['candidate']}: {v['label']}" for v in _verdicts(run.folder)) or "not analysed"
        at, state = str(run.facts.get("created_at"))[:16].replace("T", " "), "" if done else "not finished; "
        lines.append(f"{text.one_line(run.run_id):<32}  {at}  {state}{text.one_line(labels)}")
    return "\n".join(lines) or f"no run in {outputs}"


def verdict_text(folder: Path) -> str:
    """The levels and the verdict of an analysed run for a terminal, from its tables/ and verdict.json."""
    levels = pd.read_csv(folder / "tables" / "levels.csv")
    shown = ["server", "concurrency", "source", "frames_per_s", "ttft_p50_s", "total_p50_s", "n_failed"]
    rows = levels[shown].map(lambda value: text.one_line(value) if isinstance(value, str) else value)
    lines = [text.one_line(verdict["headline"], 1000) for verdict in _verdicts(folder)]
    return "\n".join([rows.to_string(index=False, float_format="{:.2f}".format, na_rep="–"), "", *lines])


def _verdicts(folder: Path) -> list[dict]:
    try:
        return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["verdicts"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def comparison_table(rows: pd.DataFrame, empty: str = "") -> Shown | None:
    """Runs side by side, as metrics.compare_runs gives them; without any, what ``empty`` says, or None."""
    if rows.empty:
        return say(empty) if empty else None
    pairs = {"gain": ["speedup", "low", "high"], "changed": ["change", "change_low", "change_high"]}
    rows = rows.assign(change=rows["change"].where(rows["run_id"] != rows["run_id"].iloc[0]))
    shown = {name: [interval(*row) for row in rows[columns].to_numpy()] for name, columns in pairs.items()}
    caption = f"n = {len(rows)}, a row a run and candidate. Intervals as in the verdicts."
    return table(rows.assign(**shown), RUNS, caption)


def write_comparison(folder: Path, name: str, rows: pd.DataFrame, found: Iterable[Finding]) -> Path:
    """Write name.html, name.md and name.csv: one row a run, and what is to be said of them; returns the page.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    from poc_lib.show.pages import export_page

    parts, v4 = [comparison_table(rows, "No run ended."), findings(found)], nbformat.v4
    cells = [v4.new_markdown_cell("# Runs compared")]
    for part in parts:
        cells.append(v4.new_code_cell(outputs=[v4.new_output("display_data", {"text/html": part.html})]))
    markdown = "\n\n".join(["# Runs compared", *(part.markdown for part in parts)])
    replace_file(folder / f"{name}.md", f"{markdown}\n".encode("utf-8", "replace"))
    _write_csv(folder / f"{name}.csv", rows)
    return export_page(v4.new_notebook(cells=cells), folder / f"{name}.html")

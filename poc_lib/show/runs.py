"""What is said of several runs: a line each in a terminal, and the page that compares them."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from poc_lib import text
from poc_lib.records import Finding
from poc_lib.runs import list_runs, read_events, replace_file
from poc_lib.show.tables import findings, table


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


def _verdicts(folder: Path) -> list[Mapping[str, Any]]:
    try:
        return json.loads((folder / "verdict.json").read_text(encoding="utf-8"))["verdicts"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_comparison(folder: Path, name: str, rows: pd.DataFrame, found: Iterable[Finding]) -> Path:
    """Write name.html, name.md and name.csv: one row a run, and what is to be said of them; returns the page.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    from poc_lib.show.pages import write_page

    shown = [table(rows, caption=f"n = {len(rows)} runs.", empty="No run ended."), findings(found)]
    data = [{"text/html": part.html, "text/markdown": part.markdown} for part in shown if part]
    outputs = [nbformat.v4.new_output("display_data", each) for each in data]
    cells = [nbformat.v4.new_markdown_cell("# Runs compared")]
    cells += [nbformat.v4.new_code_cell("", outputs=[output]) for output in outputs]
    lines = ["# Runs compared", *(each["text/markdown"] for each in data)]
    replace_file(folder / f"{name}.md", ("\n\n".join(lines) + "\n").encode("utf-8", "replace"))
    replace_file(
        folder / f"{name}.csv", rows.map(text.csv_cell).to_csv(index=False).encode("utf-8", "replace")
    )
    return write_page(nbformat.v4.new_notebook(cells=cells), folder / f"{name}.html")

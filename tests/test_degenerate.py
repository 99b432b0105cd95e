"""Runs of which little or nothing can be said: each ends in tables, a verdict and a page that says so."""

import json
import re
import shutil
import sqlite3
from contextlib import closing

import pytest

from demo.server import start, stop
from poc_lib.analysis import analyse
from poc_lib.measure import instrument
from poc_lib.measure.experiment import run_all
from poc_lib.reading import validate_params
from poc_lib.show import export_report
from tests.demo_kit import demo
from tests.test_pages import execute, headings_of, look_at

LEAN = {"n_frames": 8, "block_frames": 8, "max_blocks": 2, "proof_frames": 0, "concurrency": [8]}
DEGENERATE = {  # faults of the candidate, other parameters -> the label, and what the page says
    "all failed": (["error"], {"proof_frames": 4}, "?", "?"),
    "all empty": (["empty"], {}, "?", "?"),
    "all cut": (["truncate"], {"proof_frames": 4}, "?", "?"),
    "crashed after three": (["crash_after:3"], {}, "?", "?"),
    "nothing answered": (["hang"], {"timeout_s": 0.3}, "?", "?"),
    "no references": ([], {"recording": "cap-2026-11-20"}, "?", "?"),
    "one frame": ([], {"n_frames": 1}, "?", "?"),
    "one level": ([], {"concurrency": [1]}, "?", "?"),
    "one block": ([], {"max_blocks": 1}, "?", "?"),
    "no baseline": ([], {"baseline_url": ""}, "?", "?"),
}


@pytest.fixture(scope="module")
def baseline():
    server = start("ollama", "demo-vlm", demo().answers)
    yield server.url
    stop(server)


@pytest.fixture
def database(request, tmp_path):
    if "no references" not in request.node.name:
        return demo().database
    path = tmp_path / "escribano.db"
    shutil.copy(demo().database, path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE observations SET vlm_description = NULL, activity_type = NULL, apps = NULL, topics = NULL"
        )
        connection.commit()
    return path


@pytest.mark.parametrize("name", DEGENERATE)
async def test_a_degenerate_run_ends_in_tables_a_verdict_and_a_page_that_says_so(
    name, tmp_path, baseline, database, monkeypatch
):
    faults, more, label, sentence = DEGENERATE[name]
    monkeypatch.setattr(instrument, "TTFT_MS", 10)
    monkeypatch.setattr(instrument, "CHUNKS", 2)
    candidate = start("openai", "demo-vlm", demo().answers, faults=faults)
    try:
        urls = {"candidate_url": candidate.url, "baseline_url": baseline, "database": str(database)}
        params = validate_params(LEAN | urls | {"outputs_dir": str(tmp_path), "run_id": "run"} | more)
        analysis = analyse(await run_all(params))
    finally:
        stop(candidate)
    folder = analysis.run.folder
    execute(analysis, folder)
    page, markdown = export_report(folder)
    words = " ".join(look_at(page.read_text(encoding="utf-8")).main.get_text(" ").split())
    (verdict,) = json.loads((folder / "verdict.json").read_text())["verdicts"]
    print(name, "|", verdict["label"], "|", verdict["headline"], "|", verdict["reasons"])
    print(words[1100:])

"""Runs of which little or nothing can be said: each ends in tables, a verdict and a page that says so."""

import json
import re
import shutil
import sqlite3
from contextlib import closing

import pandas as pd
import pytest

from demo.server import start, stop
from poc_lib.analysis import analyse
from poc_lib.measure import instrument
from poc_lib.measure.experiment import run_all
from poc_lib.params import validate_params
from poc_lib.show.pages import export_report
from tests.demo_kit import demo
from tests.lean import LEAN
from tests.test_pages import execute, look_at

NOTHING = "vllm-mlx answered none of 8 requests"
STEP = "not recommended|marginal|(strong )?recommendation|inconclusive"
DEGENERATE = {  # the candidate's fault, other parameters -> the verdict's label, what the page says
    "all failed": ("error", {"proof_frames": 4}, "no verdict", NOTHING, "12 requests failed (http_status)"),
    "all empty": ("empty", {}, "no verdict", NOTHING, "8 of 8 requests failed (empty)"),
    "all cut": ("truncate", {"proof_frames": 4}, STEP, "vllm-mlx wrote 30 tokens", "read 0 of 12 of its own"),
    "crashed after three": ("crash_after:6", {"concurrency": [1]}, "not recommended", "lost 5 of 8 frames"),
    "nothing answered": ("hang", {"timeout_s": 0.3}, "no verdict", NOTHING, "8 requests failed (timeout)"),
    "no references": ("", {"recording": "cap-2026-11-20"}, STEP, "alike the stored text: –"),
    "one frame": ("", {"n_frames": 1}, STEP, "· 1 frame ·"),
    "one level": ("", {"concurrency": [1]}, STEP, "vllm-mlx at 1 in flight is"),
    "one block": ("", {"max_blocks": 1}, "pilot only: no verdict", "max_blocks is 1, and an interval"),
    "no baseline": ("", {"baseline_url": ""}, "strong recommendation", "recorded, not measured"),
}


@pytest.fixture(scope="module")
def url_of():
    """The address of a server of an API with a fault, which is started when it is first asked for."""
    running = {}

    def find(api, fault=""):
        if (api, fault) not in running:
            running[api, fault] = start(api, "demo-vlm", demo().answers, faults=[fault] if fault else [])
        return running[api, fault].url

    yield find
    for server in running.values():
        stop(server)


@pytest.fixture(autouse=True)
def quick_calibration(monkeypatch):
    """The paced server answers at once: what every run begins with is not looked at here."""
    monkeypatch.setattr(instrument, "TTFT_MS", 10)
    monkeypatch.setattr(instrument, "CHUNKS", 2)


def without_texts(folder):
    """The demo's database, all that was ever said of its frames taken out."""
    path = shutil.copy(demo().database, folder / "escribano.db")
    told = "vlm_description = NULL, activity_type = NULL, apps = NULL, topics = NULL"
    with closing(sqlite3.connect(path)) as connection, connection:  # the second: commits
        connection.execute(f"UPDATE observations SET {told}")
    return path


@pytest.mark.parametrize("name", DEGENERATE)
async def test_a_degenerate_run_ends_in_tables_a_verdict_and_a_page_that_says_so(name, tmp_path, url_of):
    fault, more, label, *sentences = DEGENERATE[name]
    database = without_texts(tmp_path) if name == "no references" else demo().database
    where = {"database": str(database), "outputs_dir": str(tmp_path), "run_id": "run"}
    urls = {"candidate_url": url_of("openai", fault), "baseline_url": url_of("ollama")}
    analysis = analyse(await run_all(validate_params(LEAN | where | urls | more)))
    folder = analysis.run.folder
    execute(analysis, folder)
    page, markdown = export_report(folder)
    said = " ".join(look_at(page.read_text(encoding="utf-8")).main.get_text(" ").split())
    (verdict,) = json.loads((folder / "verdict.json").read_text())["verdicts"]
    assert re.fullmatch(label, verdict["label"])
    assert [sentence for sentence in sentences if sentence not in said] == []
    assert not re.search(r"\bnan\b|\bNone\b", said + markdown.read_text(encoding="utf-8"))
    levels = pd.read_csv(folder / "tables" / "levels.csv")
    assert set(levels["role"]) == {"candidate"} | ({"baseline"} if name != "no baseline" else set())
    assert (folder / "tables" / "answers.csv").stat().st_size > 1000

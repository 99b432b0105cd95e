"""The whole job, from the demo's database to the page to share, through the command line."""

import json
import re
import shutil

import nbformat
import pandas as pd
import pytest

from poc_lib.cli import main
from poc_lib.runs import read_replies, read_run
from tests.conftest import DEMO_RUN

NOTEBOOKS = ("setup_check", "benchmark", "accuracy", "report")
PAGES = ("report.html", *(f"pages/{name}.html" for name in NOTEBOOKS))


def test_a_run_folder_holds_everything_the_run_produced(demo_run):
    expected = {
        "run.json",
        "frames.jsonl",
        "requests.jsonl",
        "events.jsonl",
        "setup_check.json",
        "report.md",
        "report.html",
        "pages",
        *(f"{name}.ipynb" for name in NOTEBOOKS),
    }
    assert expected <= {path.name for path in demo_run.iterdir()}
    assert {"speed.csv", "latency.csv", "scores.csv", "criteria.csv"} <= {
        path.name for path in (demo_run / "tables").iterdir()
    }


def test_each_frame_was_answered_once_by_every_cell(demo_run):
    replies = [reply for reply in read_replies(read_run(demo_run)) if reply.phase == "measure"]
    assert len(replies) == 6 * 3 * 2  # frames × levels × blocks
    assert len({reply.request_id for reply in replies}) == len(replies)
    assert all(reply.error_class is None and reply.output_tokens for reply in replies)


def test_run_json_says_what_was_run_where_and_by_whom(demo_run):
    facts = json.loads((demo_run / "run.json").read_text())
    assert facts["params"]["n_frames"] == 6
    assert {server["name"] for server in facts["servers"]} == {"ollama", "vllm-mlx"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", frame["sha256"]) for frame in facts["frames"])
    assert facts["host"]["chip"]
    assert facts["versions"]["httpx"]
    assert facts["prompt_sha256"]


def test_executed_notebooks_hold_no_error(demo_run):
    for path in demo_run.glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
        assert outputs
        assert not [o for o in outputs if o.output_type == "error"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_and_table_of_the_demo_says_simulated(demo_run, page):
    assert "simulated" in (demo_run / page).read_text(encoding="utf-8").lower()
    assert pd.read_csv(demo_run / "tables" / "speed.csv")["simulated"].all()
    assert pd.read_csv(demo_run / "tables" / "requests.csv")["simulated"].all()


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_from_elsewhere(demo_run, page):
    text = (demo_run / page).read_text(encoding="utf-8")
    loading = re.findall(
        r"""<(?:script|img|link|iframe|source)[^>]*(?:src|href)\s*=\s*["'](?!data:|#)[^"']*""", text
    )
    assert loading == []
    assert "@import" not in text


def test_the_report_can_be_made_again_from_the_requests_alone(demo_run, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(demo_run, folder)
    verdict = (folder / "verdict.txt").read_text()
    for derived in ("report.html", "report.md", "verdict.txt"):
        (folder / derived).unlink()
    shutil.rmtree(folder / "tables")
    assert main(["report", *DEMO_RUN, "--output", str(folder)]) == 0
    assert (folder / "verdict.txt").read_text() == verdict
    assert (folder / "report.html").is_file()
    pd.testing.assert_frame_equal(
        pd.read_csv(folder / "tables" / "speed.csv"), pd.read_csv(demo_run / "tables" / "speed.csv")
    )


def test_no_screenshots_leaves_every_image_out(demo_run, tmp_path):
    folder = tmp_path / "private"
    shutil.copytree(demo_run, folder)
    assert main(["report", *DEMO_RUN, "--no-screenshots", "--output", str(folder)]) == 0
    for page in ("report.html", "pages/accuracy.html"):
        assert "data:image/jpeg" not in (folder / page).read_text(encoding="utf-8")
    assert "data:image/jpeg" in (demo_run / "report.html").read_text(encoding="utf-8")
    assert "image/jpeg" not in (folder / "report.md").read_text(encoding="utf-8")


def test_without_a_baseline_the_report_says_recorded_not_measured(outputs):
    folder = outputs / "recorded"
    flags = ["--n_frames", "4", "--concurrent", "2", "--demo_speed", "20", "--baseline_url", ""]
    assert main(["run", *flags, "--output", str(folder)]) == 0
    for page in ("report.html", "report.md"):
        assert "recorded, not measured" in (folder / page).read_text(encoding="utf-8")

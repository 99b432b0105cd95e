"""Run folders of the first edition: read, and the same numbers where the method is the same."""

import json
import shutil
from pathlib import Path

import pytest

from poc_lib.analysis import analyse
from poc_lib.params import Params
from poc_lib.records import SetupProblem
from poc_lib.runs import check_folder, read_frames, read_requests, read_run

FROZEN = Path(__file__).parent / "frozen"
NAMES = ("clean", "faults", "interrupted", "recorded", "no_references", "hostile")
SAME = ("n_answered", "ttft_p50_s", "ttft_p95_s", "total_p50_s", "total_p95_s", "tpot_p50_s", "frames_per_s")
SAME += ("output_tok_per_s",)
SCORES = {"ref_ratio": "difflib_mean", "match_rate": "match_rate", "activity_rate": "activity_rate"}


@pytest.fixture(scope="module", params=NAMES)
def frozen(request):
    analysis = analyse(FROZEN / request.param)
    return analysis, json.loads((FROZEN / request.param / "expected.json").read_text())


def at_level(table, level: dict):
    return table[(table["server"] == level["server"]) & (table["concurrency"] == level["concurrency"])]


def test_rates_percentiles_and_answers_are_those_of_the_first_edition(frozen):
    analysis, expected = frozen
    for wanted in expected["levels"]:
        if wanted["interrupted"] or wanted["n_not_sent"]:
            continue  # a cell that was cut was counted otherwise: see below
        level = at_level(analysis.levels, wanted).iloc[0]
        for name in SAME:
            assert wanted[name] is None or level[name] == pytest.approx(wanted[name], rel=1e-5), name


def test_every_failure_is_counted_by_its_class(frozen):
    analysis, expected = frozen
    for wanted in expected["levels"]:
        rows = at_level(analysis.answers[analysis.answers["phase"] == "measure"], wanted)
        assert rows["error_class"].value_counts().to_dict() == wanted["failures"]
        assert len(rows) == wanted["n_requests"]


def test_scores_against_the_stored_texts_are_those_of_the_first_edition(frozen):
    analysis, expected = frozen
    cut = [(level["server"], level["concurrency"]) for level in expected["levels"] if level["interrupted"]]
    for wanted in expected["quality"]:
        is_whole = (wanted["server"], wanted["concurrency"]) not in cut
        if wanted["against"] == "stored reference" and wanted["difflib_mean"] is not None and is_whole:
            level = at_level(analysis.levels, wanted).iloc[0]
            assert level["n_scored"] == wanted["n_scored"]
            for name, first_name in SCORES.items():
                assert level[name] == pytest.approx(wanted[first_name], rel=1e-5), name


def test_a_cell_that_was_cut_and_continued_is_told_and_left_out_of_the_rates():
    analysis = analyse(FROZEN / "interrupted")
    cut = analysis.answers[~analysis.answers["complete"].astype(bool)]
    assert set(cut[cut["phase"] == "measure"]["concurrency"]) == {2}
    assert any(finding.about == "interruption" for finding in analysis.findings)


def test_there_is_no_verdict_without_confirmation_blocks(frozen):
    analysis, _ = frozen
    assert {verdict.label for verdict in analysis.verdicts} <= {"no verdict", "not recommended"}
    assert analysis.blocks.empty


def test_a_run_of_the_first_edition_is_not_continued(tmp_path):
    shutil.copytree(FROZEN / "clean", tmp_path / "clean")
    with pytest.raises(SetupProblem, match="measured by the first edition"):
        check_folder(tmp_path / "clean", Params())


def test_hostile_texts_are_read_as_they_were_written():
    run = read_run(FROZEN / "hostile")
    kept = [read_requests(run).to_dict(), [str(frame) for frame in read_frames(run)], run.facts]
    everything = json.dumps(kept, default=str)
    injected = json.loads((FROZEN / "hostile" / "expected.json").read_text())["injected"]
    markers = {word[:3] for each in injected for word in each["text"].split("H")[1:] if word[:2].isdigit()}
    assert sum(f"H{marker[:2]}" in everything for marker in markers) > 20

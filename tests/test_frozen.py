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
SAME = {  # level column -> what the first edition called it
    "n_answered": "n_answered",
    "ttft_p50_s": "ttft_p50_s",
    "ttft_p95_s": "ttft_p95_s",
    "total_p50_s": "total_p50_s",
    "total_p95_s": "total_p95_s",
    "tpot_p50_s": "tpot_p50_s",
    "frames_per_s": "frames_per_s",
    "output_tok_per_s": "output_tok_per_s",
}


@pytest.fixture(scope="module", params=NAMES)
def frozen(request):
    analysis = analyse(FROZEN / request.param)
    return analysis, json.loads((FROZEN / request.param / "expected.json").read_text())


def level_of(analysis, wanted: dict):
    rows = analysis.levels[analysis.levels["server"] == wanted["server"]]
    return rows[rows["concurrency"] == wanted["concurrency"]].iloc[0]


def test_rates_percentiles_and_answers_are_those_of_the_first_edition(frozen):
    analysis, expected = frozen
    for wanted in expected["levels"]:
        if wanted["interrupted"] or wanted["n_not_sent"]:
            continue  # a cell that was cut was counted otherwise: see the next test
        level = level_of(analysis, wanted)
        for ours, theirs in SAME.items():
            if wanted[theirs] is not None:
                assert level[ours] == pytest.approx(wanted[theirs], rel=1e-5), (wanted["server"], ours)


def test_every_failure_is_counted_by_its_class(frozen):
    analysis, expected = frozen
    rows = analysis.answers[analysis.answers["phase"] == "measure"]
    for wanted in expected["levels"]:
        here = rows[(rows["server"] == wanted["server"]) & (rows["concurrency"] == wanted["concurrency"])]
        assert here["error_class"].value_counts().to_dict() == wanted["failures"]
        assert len(here) == wanted["n_requests"]


def test_scores_against_the_stored_texts_are_those_of_the_first_edition(frozen):
    analysis, expected = frozen
    for wanted in expected["quality"]:
        is_stored = wanted["against"] == "stored reference"
        level = level_of(analysis, wanted)
        cut = next(
            w
            for w in expected["levels"]
            if (w["server"], w["concurrency"]) == (wanted["server"], wanted["concurrency"])
        )
        if not is_stored or wanted["difflib_mean"] is None or cut["interrupted"]:
            continue
        assert level["n_scored"] == wanted["n_scored"]
        assert level["ref_ratio"] == pytest.approx(wanted["difflib_mean"], rel=1e-5)
        assert level["match_rate"] == pytest.approx(wanted["match_rate"], rel=1e-5)
        assert level["activity_rate"] == pytest.approx(wanted["activity_rate"], rel=1e-5)


def test_a_cell_that_was_cut_and_continued_is_told_and_left_out_of_the_rates():
    analysis = analyse(FROZEN / "interrupted")
    cut = analysis.answers[
        ~analysis.answers["complete"].astype(bool) & (analysis.answers["phase"] == "measure")
    ]
    assert set(cut["concurrency"]) == {2}
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

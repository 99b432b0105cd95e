"""Runs against each other: alike ones compared, unlike ones refused with the reason."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from poc_lib.analysis import analyse
from poc_lib.metrics import LEVEL_COLUMNS, compare_runs
from poc_lib.metrics.compare import COMPARE_COLUMNS
from poc_lib.params import Params
from poc_lib.records import SetupProblem, Verdict
from poc_lib.runs import read_run

FROZEN = Path(__file__).parent / "frozen"

CANDIDATE = {"name": "vllm", "role": "candidate", "software": "vllm-mlx", "version": "0.5.0", "model": "vl"}
BASELINE = {"name": "ollama", "role": "baseline", "software": "ollama", "version": "0.12", "model": "vl:4b"}
FACTS = {
    "frames": [{"frame_id": "f1", "sha256": "aa"}, {"frame_id": "f2", "sha256": "bb"}],
    "prompt_sha256": "cc",
    "params": {"temperature": 0.3, "max_tokens": 1024, "seed": 0, "image_width": 0, "run_id": "old"},
    "host": {"chip": "M4", "gpu": None, "memory_gb": 127.6, "os": "macOS-26.1"},
    "servers": [server | {"simulated": False, "details": {}} for server in (CANDIDATE, BASELINE)],
}


def verdict(speedup: float | None = 2.0, **changes) -> Verdict:
    bounds = {"low": 0.9 * speedup, "high": 1.1 * speedup} if speedup else {"low": None, "high": None}
    usual = {"candidate": "vllm", "baseline": "ollama", "label": "recommendation", "headline": "", "level": 8}
    usual |= {"baseline_level": 1, "decided": True, "confidence": 0.99, "n_blocks": 6, "n_frames": 144}
    usual |= {"more_blocks": None, "open_above": False, "proof": "met", "speedup": speedup}
    return Verdict(**usual | bounds | changes)


def run(run_id: str, speedup: float | None = 2.0, base_rate: float = 1.0, change=None, **changes):
    rows = [{"server": "vllm", "concurrency": 8, "frames_per_s": 4.0, "output_tok_per_s": 200.0}]
    rows.append({"server": "ollama", "concurrency": 1, "frames_per_s": base_rate})
    levels = pd.DataFrame(rows).reindex(columns=list(LEVEL_COLUMNS)).assign(n_code_other=0)
    facts = copy.deepcopy(FACTS)
    if change:
        change(facts)
    return run_id, facts, levels, [verdict(speedup, **changes)]


def said(findings) -> str:
    return " ".join(f"{finding.state}: {finding.text}" for finding in findings)


def test_a_run_has_a_row_with_its_numbers_and_those_of_its_baseline():
    table, findings = compare_runs([run("old")])
    assert list(table.columns) == list(COMPARE_COLUMNS)
    shown = table.loc[0, ["run_id", "speedup", "low", "high", "frames_per_s", "output_tok_per_s", "proof"]]
    assert shown.tolist() == ["old", 2.0, 1.8, pytest.approx(2.2), 4.0, 200.0, "met"]
    assert table.loc[0, ["baseline_frames_per_s", "n_code_other", "change"]].tolist() == [1.0, 0, 1.0]
    assert findings == []


UNLIKE = {
    "other frames": lambda facts: facts["frames"][0].update(sha256="zz"),
    "other prompt": lambda facts: facts.update(prompt_sha256="zz"),
    "host chip is M1, there M4": lambda facts: facts["host"].update(chip="M1"),
    "host memory is 16 GB, there 128 GB": lambda facts: facts["host"].update(memory_gb=16.0),
    "host system is Linux, there macOS": lambda facts: facts["host"].update(os="Linux-6.1"),
    "temperature is 0.0, there 0.3": lambda facts: facts["params"].update(temperature=0.0),
    "baseline version is 0.13, there 0.12": lambda facts: facts["servers"][1].update(version="0.13"),
    "baseline is none measured, there ollama": lambda facts: facts["servers"].pop(),
    "servers is simulated, there real": lambda facts: facts["servers"][0].update(simulated=True),
}


@pytest.mark.parametrize(("reason", "change"), UNLIKE.items())
def test_an_unlike_run_is_refused_with_the_reason_and_has_no_row(reason, change):
    table, (refused, *others) = compare_runs([run("old"), run("new", change=change), run("third")])
    assert table["run_id"].tolist() == ["old", "third"]
    assert (refused.about, refused.state) == ("compare", "problem")
    assert "'new' cannot be compared with 'old'" in refused.text
    assert reason in refused.text
    assert "new" not in said(others)


def test_what_one_run_does_not_tell_is_not_held_against_it():
    table, _ = compare_runs([run("old"), run("new", change=lambda changed: changed["host"].pop("chip"))])
    assert len(table) == 2


@pytest.mark.parametrize(
    ("speedup", "word"),
    [(2.6, "faster"), (2.1, "no difference seen"), (1.4, "slower"), (None, "no speed-up")],
)
def test_a_run_is_faster_or_slower_where_the_intervals_leave_no_doubt(speedup, word):
    table, findings = compare_runs([run("old"), run("new", speedup)])
    assert word in said(findings)
    if speedup:
        change = table.loc[1, ["change", "change_low", "change_high"]].astype(float)
        assert change.tolist() == pytest.approx([speedup / 2, speedup * 0.9 / 2.2, speedup * 1.1 / 1.8])
    else:
        assert np.isnan(float(table.loc[1, "change"]))


def test_without_an_interval_nothing_is_called_faster():
    _, findings = compare_runs([run("old"), run("new", 9.0, low=None, high=None)])
    assert "cannot be judged" in said(findings)
    assert "faster" not in said(findings)


def test_one_change_is_named_as_the_cause_and_several_are_not():
    def upgrade(changed: dict) -> None:
        changed["servers"][0].update(version="0.6.0")
        changed["params"].update(run_id="new")

    def more(changed: dict) -> None:
        upgrade(changed)
        changed["params"].update(image_width=1024)

    findings = compare_runs([run("old"), run("new", change=upgrade), run("wide", change=more)])[1]
    notes = [finding.text for finding in findings if finding.state == "note"]
    assert notes[0] == "Changed in 'new' against 'old': vllm version is 0.6.0, there 0.5.0."
    assert "image_width is 1024, there 0" in notes[1]
    assert "2 things at once" in notes[1]
    assert "nothing on record" in compare_runs([run("old"), run("again")])[1][-1].text


def test_a_baseline_that_ran_at_another_pace_is_a_warning():
    findings = compare_runs([run("old"), run("new", base_rate=0.7), run("alike", base_rate=1.05)])[1]
    warned = [finding for finding in findings if finding.state == "warning"]
    assert len(warned) == 1
    assert "0.70 × as fast as in 'old'" in warned[0].text


def test_candidates_pair_by_name_or_as_the_only_ones():
    table, _ = compare_runs([run("old"), run("new", 4.0, candidate="mlx-vlm")])
    assert table["change"].tolist() == [1.0, 2.0]


def test_the_parameter_compare_with_gives_rows_and_findings(tmp_path):
    for name in ("new", "old", "other"):
        shutil.copytree(FROZEN / ("hostile" if name == "other" else "clean"), tmp_path / name)
    run = read_run("new", tmp_path)
    assert analyse(run).compared.empty
    seen = analyse(run, Params(compare_with=["old", "other"]))
    assert seen.compared["run_id"].tolist() == ["new", "old"]
    told = [finding for finding in seen.findings if finding.about == "compare"]
    assert "'old' against 'new': nothing on record" in said(told)
    assert "problem: 'other' cannot be compared with 'new': " in said(told)
    with pytest.raises(SetupProblem, match=r"no run in .*lost"):
        analyse(run, Params(compare_with=["lost"]))

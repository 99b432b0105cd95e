"""Tables, findings, the verdict's banner, galleries and the files of a run."""

import dataclasses
import json
import re
import shlex

import example
import numpy as np
import pandas as pd
import pytest

from poc_lib import cli, metrics, show
from poc_lib.analysis import analyse
from poc_lib.labels import judge_labels, write_label_template
from poc_lib.metrics.compare import COMPARE_COLUMNS
from poc_lib.params import Params, validate_params
from poc_lib.records import Finding, SetupProblem
from poc_lib.runs import open_run, write_json
from poc_lib.show import pages


@pytest.fixture(scope="module")
def analysis():
    return example.example_analysis()


def changed(analysis, **parts):
    return type(analysis)(**{**vars(analysis), **parts})


def rows_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_html_and_markdown_of_a_table_show_the_same_cells():
    frame = pd.DataFrame({"server": ["a|b", "<i>c</i>"], "rate": [1.5, np.nan], "best": [True, False]})
    frame["apps"] = [("Mail",), None]
    shown = show.table(frame, {"server": "{server}", "1/s": "{rate:.1f}"}, "n = 2.", marked="best")
    assert re.findall(r">([^<>]+)</(?:td|b)>", shown.html) == ["a|b", "1.5", "&lt;i&gt;c&lt;/i&gt;", "–"]
    body = [["**a\\|b**", "**1.5**"], ["&lt;i&gt;c&lt;/i&gt;", "–"]]
    assert rows_of(shown.markdown) == [["server", "1/s"], [":--", "--:"], *body]
    assert 'role="region" tabindex="0" aria-label="Table of server, 1/s"' in shown.html
    assert "*n = 2.*" in shown.markdown
    both = rows_of(show.table(frame, {"of": "{rate:.0%} of {apps}"}).markdown)
    assert both == [["of"], [":--"], ["150% of ('Mail',)"], ["–"]]
    nothing = show.table(frame[:0], empty="No request failed.")
    assert (nothing.html, nothing.markdown) == ("<p>No request failed.</p>", "No request failed.")


def test_findings_come_gravest_first_and_criteria_in_their_order():
    found = [Finding("fairness", "note", "x"), Finding("proof", "problem", "y", "do z")]
    assert show.findings(found).markdown == "- **problem** y → do z\n- **note** x"
    assert show.findings(found, but=["proof"]).markdown == "- **note** x"
    criteria = [Finding("criteria", "ok", "first"), Finding("criteria", "problem", "second")]
    assert show.findings(criteria, about="criteria").markdown == "- **met** first\n- **not met** second"
    assert show.findings(found, about="criteria", empty="None.").markdown == "None."
    assert show.findings(found, about="compare", empty="") is None


PERHAPS = "At least recommendation, perhaps strong recommendation"
RESERVED, CLEAR = "Before acting on it", "What it rests on"
NONE = "no verdict"
BANNERS = [  # changes to a verdict "recommendation" -> title, marked step, steps still open, reasons' heading
    ({}, "Recommendation", "Recommendation", 0, CLEAR),
    ({"high": 3.2, "open_above": True, "headline": f"{PERHAPS}: x."}, PERHAPS, "Recommendation", 1, CLEAR),
    ({"headline": "Recommendation: x. But y."}, "Recommendation", "Recommendation", 0, RESERVED),
    ({"label": "not recommended", "headline": "Not recommended: x."}, "Not recommended", "", 0, CLEAR),
    ({"label": NONE, "headline": "No verdict: x.", "proof": "not yet"}, "No verdict", "", 0, RESERVED),
    ({"label": f"a: {NONE}", "low": None, "headline": f"A: {NONE}: x."}, f"A: {NONE}", "", 0, CLEAR),
]


@pytest.mark.parametrize(("changes", "title", "step", "n_open", "heading"), BANNERS)
def test_the_banner_names_decision_step_and_reservations(analysis, changes, title, step, n_open, heading):
    verdict = dataclasses.replace(analysis.verdicts[0], **changes)
    shown = show.banner(changed(analysis, verdicts=[verdict]))
    assert re.findall('<h1 class="label">(.*?)</h1>', shown.html) == [title]
    assert f"**{title}.**" in shown.markdown
    marked = re.findall('<li class="chosen" aria-current="true"><span>(.*?)</span>', shown.html)
    assert "".join(marked) == step
    assert shown.html.count("still open") == n_open
    for said in (shown.html, shown.markdown):
        assert re.findall(f"{RESERVED}|{CLEAR}", said) == [heading]


def test_the_banner_says_what_is_simulated_recorded_and_noted(analysis):
    verdict = dataclasses.replace(analysis.verdicts[0], recorded_baseline=True)
    noted = analysis.params.model_copy(update={"note": "before the upgrade"})
    shown = show.banner(changed(analysis, verdicts=[verdict], params=noted))
    for words in ("Simulated servers", "recorded figure", "before the upgrade", "24 frames"):
        assert words in shown.html
        assert words in shown.markdown
    assert "recorded figure" not in show.banner(analysis).html


def test_only_the_chosen_level_of_the_candidate_has_an_interval(analysis):
    rows = rows_of(show.levels_table(analysis).markdown)[2:]
    verdict = analysis.verdicts[0]
    assert [row[:3] for row in rows[1:3]] == [["vllm-mlx", "1", "pilot"], ["vllm-mlx", "4", "pilot"]]
    assert [" to " in row[4] for row in rows] == [False, False, False, True]
    assert rows[3][4] == f"**{show.interval(verdict.speedup, verdict.low, verdict.high)}**"
    assert rows[3][2] == "**6 blocks**"
    assert [row[8].strip("*").split()[0] for row in rows] == ["p99", "max", "max", "p99"]
    assert rows[3][11] == "**168 of 168**"


def test_failures_are_counted_with_their_first_message_and_given_up_ones_left_out(analysis):
    answers = analysis.answers.copy()
    answers.loc[[3, 5], ["error_class", "error_message"]] = ["timeout", "no byte for 120 s"]
    answers.loc[[7], ["error_class", "error_message"]] = ["aborted", "given up"]
    rows = rows_of(show.failures_table(changed(analysis, answers=answers)).markdown)
    assert sum(int(row[4]) for row in rows[2:]) == 2
    assert "given up" not in str(rows)
    assert show.failures_table(analysis).markdown == "No request failed."


def test_what_to_do_next_is_each_thing_once_and_report_md_has_the_verdict_before_it(analysis):
    findings = [Finding("proof", "note", "x", "Later."), Finding("proof", "problem", "y", "First.")] * 2
    shown = show.next_steps(changed(analysis, findings=findings))
    assert shown.html == "<ul><li>First.</li><li>Later.</li></ul>"
    assert shown.markdown.index("## Verdict") < shown.markdown.index("## Next steps\n\n- First.\n- Later.")


def test_the_command_that_reproduces_a_run_gives_its_parameters_again(analysis, tmp_path):
    asked = {"n_frames": 12, "concurrency": [1, 16], "aborts": True, "note": "it's `odd` $(x)"}
    facts = {**analysis.run.facts, "params": {**analysis.run.facts["params"], **asked}}
    run = dataclasses.replace(analysis.run, facts=facts, folder=tmp_path)
    write_json(tmp_path / "run.json", facts)
    shown = show.reproduce(changed(analysis, run=run))
    command = re.match(r"    (.*)\n\n", shown.markdown)[1]
    assert validate_params(cli.read_arguments(shlex.split(command)[3:])[1]) == validate_params(asked)
    assert '<a href="run.json">' in shown.html


def test_tables_and_verdict_are_written_with_every_column_explained(analysis, tmp_path):
    findings = [*analysis.findings, Finding("fairness", "note", "=1+1", "+cmd")]
    run = dataclasses.replace(analysis.run, folder=tmp_path)
    show.write_tables(changed(analysis, run=run, findings=findings))
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "tables").glob("*.csv")}
    assert set(tables) == {"answers", "levels", "blocks", "findings"}
    readme = (tmp_path / "tables" / "README.md").read_text(encoding="utf-8").replace("\\", "")
    for name, frame in tables.items():
        part = readme.split(f"## {name}.csv")[1].split("\n## ")[0]
        assert [column for column in frame if not re.search(rf"\b{column}\b", part)] == [], name
    assert list(tables["answers"]) == list(metrics.COLUMNS)
    assert tables["findings"]["text"].iloc[-1] == "'=1+1"
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert {(server["name"], server["version"]) for server in written["servers"]} >= {("vllm-mlx", "0.6.0")}
    verdict = written["verdicts"][0]
    assert np.exp(tables["blocks"]["log_ratio"].mean()) == pytest.approx(verdict["speedup"], rel=1e-6)
    text = show.verdict_text(tmp_path)
    assert verdict["headline"] in text
    assert len(text.split("\n\n")[0].splitlines()) == 1 + len(analysis.levels)


def test_runs_are_listed_with_state_and_verdict(analysis, tmp_path):
    assert show.runs_table(tmp_path) == f"no run in {tmp_path}"
    for name in ("one", "two"):
        write_json(tmp_path / name / "run.json", {**analysis.run.facts, "frames": []})
    show.write_tables(changed(analysis, run=dataclasses.replace(analysis.run, folder=tmp_path / "two")))
    ends = ["not finished; not analysed", "not finished; vllm-mlx: recommendation"]
    lines = sorted(show.runs_table(tmp_path).splitlines())
    assert [line.endswith(end) for line, end in zip(lines, ends, strict=True)] == [True, True]


def test_marked_differences_keep_both_texts_whole():
    answer, stored = "Reading the docs, in Chrome", "reading mail in Chrome!"
    left, right = show.mark_differences(answer, stored)
    assert "".join(piece for _, piece in left) == answer
    assert "".join(piece for _, piece in right) == stored
    assert [piece for kind, piece in left if kind == "ins"] == ["the docs, "]
    assert [piece for kind, piece in right if kind == "del"] == ["mail "]


def test_samples_go_from_least_to_most_alike_and_keep_screenshots_private(tmp_path):
    shown = example.example_analysis(tmp_path, n_frames=12)
    markdown = show.samples(shown).markdown
    alike = [float(value) for value in re.findall(r"alike: ([\d.]+)", markdown)]
    assert len(alike) == 3
    assert alike == sorted(alike)
    assert "<ins>" in markdown
    html = show.samples(shown).html
    assert "private" in html
    assert "<img" not in html
    asked = changed(shown, params=shown.params.model_copy(update={"screenshots": True}))
    assert len(re.findall('src="data:image/jpeg;base64,[^"]{2000,30000}"', show.samples(asked).html)) == 3
    for path in tmp_path.glob("*.jpg"):
        path.write_text("no image")
    assert show.samples(asked).html.count("The image is not there any more.") == 3


UNASKED = [("demo", False, True), ("escribano.db", False, False), ("escribano.db", True, True)]


@pytest.mark.parametrize(("database", "asked", "shown"), UNASKED)
def test_only_the_demos_screenshots_are_shown_unasked(database, asked, shown, tmp_path):
    params = {"database": database, "max_blocks": 0}
    run = open_run(tmp_path / "run", {"frames": [], "prompt_sha256": "", "params": params}, [])
    assert analyse(run, Params(screenshots=asked)).params.screenshots is shown


def test_mixed_up_answers_show_victim_donor_and_the_code(analysis):
    assert show.worst_pairs(analysis) is None
    frames = example.example_frames(12)
    requests = example.example_requests(frames)
    proof = requests[(requests["phase"] == "proof") & (requests["concurrency"] == 8)].index
    requests.loc[proof[5], "text"] = requests.loc[proof[4], "text"]
    victim, donor = requests.loc[proof[5]], requests.loc[proof[4]]
    shown = show.worst_pairs(example.analysis_of(requests, frames, screenshots=True))
    assert shown.html.count('class="sample"') == 1
    assert f"<mark>{donor['code']}</mark>" in shown.html
    assert f"proven: its image shows {victim['code']}" in shown.html
    labels = {frame.frame_id: frame.label for frame in frames}
    assert f"sent: {labels[victim['frame_id']]}" in shown.html
    assert f"answered: {labels[donor['frame_id']]}" in shown.html


def test_compared_runs_become_a_page_a_text_and_a_table(tmp_path):
    rows = pd.DataFrame([dict.fromkeys(COMPARE_COLUMNS, 1.0)] * 2)
    rows = rows.assign(run_id=["a", "=b"], speedup=[2.41, np.nan])
    rows[["low", "high", "change_low", "change_high"]] = [2.2, 2.66, 0.9, 1.1]
    cells = rows_of(show.comparison_table(rows).markdown)
    assert [row[0] for row in cells[2:]] == ["a", "\\=b"]
    assert [row[4:6] for row in cells[2:]] == [["2.41 × (2.20 to 2.66)", "–"], ["–", "1.00 × (0.90 to 1.10)"]]
    page = pages.write_comparison(tmp_path, "matrix", rows, [Finding("matrix", "problem", "c: refused")])
    assert "2.41 × (2.20 to 2.66)" in page.read_text(encoding="utf-8")
    assert "c: refused" in (tmp_path / "matrix.md").read_text(encoding="utf-8")
    assert pd.read_csv(tmp_path / "matrix.csv")["run_id"].tolist() == ["a", "'=b"]
    nothing = pages.write_comparison(tmp_path, "none", rows[:0], [])
    assert "No run ended." in nothing.read_text(encoding="utf-8")


def test_human_labels_judge_the_answers_to_the_frames_that_they_name(analysis, tmp_path):
    frames = analysis.frames
    run = open_run(
        tmp_path, {"frames": [], "prompt_sha256": "", "params": {"max_blocks": 1}}, frames.values()
    )
    path, n = write_label_template(run)
    table = pd.read_csv(path, dtype=str)
    assert n == len(table) == 15
    table.loc[:2, "must_contain"] = ["vs code; Parser", "Chrome", "pytest"]
    table.loc[:2, "must_not_contain"] = ["mail", "RELEASE", ""]
    table.to_csv(path, index=False)
    assert write_label_template(run) == (path, 15)  # what a person filled in is kept
    found = judge_labels(path, frames, analysis.answers)
    assert (found[0].state, found[0].server, found[0].level) == ("warning", "ollama", 1)
    assert "28 of 42 answers fit the human labels (67%)" in found[0].text
    with pytest.raises(SetupProblem, match="labels other frames"):
        judge_labels(path, {"other": None}, analysis.answers)
    path.write_text("frame,words")
    with pytest.raises(SetupProblem, match=r"cannot read labels from .*must_contain"):
        judge_labels(path, frames, analysis.answers)

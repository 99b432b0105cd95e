"""Tables, findings, the verdict's banner, galleries and the files of a run."""

import dataclasses
import json
import re
import shlex

import example
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from poc_lib import cli, metrics, show
from poc_lib.metrics.compare import COMPARE_COLUMNS
from poc_lib.reading import validate_params
from poc_lib.records import Finding
from poc_lib.runs import write_json
from poc_lib.show.gallery import mark_differences, thumbnail
from poc_lib.show.tables import fill_template


@pytest.fixture(scope="module")
def analysis():
    return example.example_analysis()


def changed(analysis, **parts):
    return type(analysis)(**{**vars(analysis), **parts})


def rows_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize(
    ("template", "row", "cell"),
    [
        ("{a:.2f}", {"a": 1.234}, "1.23"),
        ("{a:.2f} · {b:.2f}", {"a": 1.0, "b": np.nan}, "–"),
        ("{a}", {"a": None}, "–"),
        ("{a:.0%}", {"a": 0.256}, "26%"),
        ("{a} x", {"a": ("Mail",)}, "('Mail',) x"),
    ],
)
def test_a_template_is_filled_and_a_missing_value_is_a_dash(template, row, cell):
    assert fill_template(template, row) == cell


def test_html_and_markdown_of_a_table_show_the_same_cells():
    frame = pd.DataFrame({"server": ["a|b", "<i>c</i>"], "rate": [1.5, np.nan], "best": [True, False]})
    shown = show.table(frame, {"server": "{server}", "1/s": "{rate:.1f}"}, "n = 2.", marked="best")
    assert re.findall(r">([^<>]+)</(?:td|b)>", shown.html) == ["a|b", "1.5", "&lt;i&gt;c&lt;/i&gt;", "–"]
    body = [["**a\\|b**", "**1.5**"], ["&lt;i&gt;c&lt;/i&gt;", "–"]]
    assert rows_of(shown.markdown) == [["server", "1/s"], [":--", "--:"], *body]
    assert 'role="region" tabindex="0" aria-label="Table of server, 1/s"' in shown.html
    assert "*n = 2.*" in shown.markdown
    nothing = show.table(frame[:0], empty="No request failed.")
    assert (nothing.html, nothing.markdown) == ("<p>No request failed.</p>", "No request failed.")


def test_an_interval_has_one_notation():
    assert show.interval(2.412, 2.2, 2.655) == "2.41 × (2.20 to 2.65)"
    assert show.interval(2.412, 2.2, np.nan) == show.interval(2.412) == "2.41 ×"
    assert show.interval(np.nan, 1.0, 2.0) == "–"


def test_findings_come_gravest_first_and_criteria_in_their_order():
    found = [Finding("fairness", "note", "x"), Finding("proof", "problem", "y", "do z")]
    assert show.findings(found).markdown == "- **problem** y → do z\n- **note** x"
    assert show.findings(found, but=["proof"]).markdown == "- **note** x"
    criteria = [Finding("criteria", "ok", "first"), Finding("criteria", "problem", "second")]
    assert show.findings(criteria, about="criteria").markdown == "- **met** first\n- **not met** second"
    assert show.findings(found, about="criteria", empty="None.").markdown == "None."
    assert show.findings(found, about="compare", empty="") is None


PERHAPS = "At least recommendation, perhaps strong recommendation"
BANNERS = [  # changes to a verdict "recommendation" -> the title, the step that is marked, steps still open
    ({}, "Recommendation", "Recommendation", 0),
    ({"high": 3.2, "open_above": True, "headline": f"{PERHAPS}: x."}, PERHAPS, "Recommendation", 1),
    ({"label": "not recommended", "headline": "Not recommended, ever: x."}, "Not recommended, ever", None, 0),
    ({"label": "no verdict", "low": None, "headline": "No verdict: no answer."}, "No verdict", None, 0),
    (
        {"label": "pilot only: no verdict", "low": None, "headline": "Pilot only: no verdict: x."},
        "Pilot only: no verdict",
        None,
        0,
    ),
]


@pytest.mark.parametrize(("changes", "title", "chosen", "n_open"), BANNERS)
def test_the_banner_names_the_decision_and_the_step_that_speed_reached(
    analysis, changes, title, chosen, n_open
):
    verdict = dataclasses.replace(analysis.verdicts[0], **changes)
    shown = show.banner(changed(analysis, verdicts=[verdict]))
    assert re.findall('<h1 class="label">(.*?)</h1>', shown.html) == [title]
    assert f"**{title}.**" in shown.markdown
    marked = re.findall('<li class="chosen" aria-current="true"><span>(.*?)</span>', shown.html)
    assert marked == ([chosen] if chosen else [])
    assert shown.html.count("still open") == n_open


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
    assert set(tables) == {"answers", "levels", "blocks", "looks", "findings", "failures"}
    readme = (tmp_path / "tables" / "README.md").read_text(encoding="utf-8").replace("\\", "")
    for name, frame in tables.items():
        part = readme.split(f"## {name}.csv")[1].split("\n## ")[0]
        assert [column for column in frame if not re.search(rf"\b{column}\b", part)] == [], name
    assert list(tables["answers"]) == list(metrics.COLUMNS)
    assert tables["findings"]["text"].iloc[-1] == "'=1+1"
    verdict = json.loads((tmp_path / "verdict.json").read_text())["verdicts"][0]
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
    left, right = mark_differences(answer, stored)
    assert "".join(piece for _, piece in left) == answer
    assert "".join(piece for _, piece in right) == stored
    assert [piece for kind, piece in left if kind == "ins"] == ["the docs, "]
    assert [piece for kind, piece in right if kind == "del"] == ["mail "]


def test_a_thumbnail_is_small_and_none_for_what_is_no_image(tmp_path):
    Image.effect_noise((2000, 1200), 90).convert("RGB").save(tmp_path / "big.png")
    uri = thumbnail(tmp_path / "big.png")
    assert uri.startswith("data:image/jpeg;base64,")
    assert len(uri) < 50_000
    (tmp_path / "text.png").write_text("no image")
    assert thumbnail(tmp_path / "text.png") == thumbnail(tmp_path / "absent.png") == ""


def test_samples_go_from_least_to_most_alike_and_keep_screenshots_private(tmp_path):
    shown = example.example_analysis(tmp_path, n_frames=12)
    markdown = show.samples(shown).markdown
    alike = [float(value) for value in re.findall(r"alike: ([\d.]+)", markdown)]
    assert len(alike) == 3
    assert alike == sorted(alike)
    assert "<ins>" in markdown
    private = shown.params.model_copy(update={"database": "escribano.db"})
    asked = private.model_copy(update={"screenshots": True})
    html = [show.samples(changed(shown, params=params)).html for params in (shown.params, private, asked)]
    assert [page.count("<img") for page in html] == [3, 0, 3]  # the demo's pictures are nobody's
    assert "private" in html[1]


def test_mixed_up_answers_show_victim_donor_and_the_code(analysis):
    assert show.worst_pairs(analysis) is None
    frames = example.example_frames(12)
    requests = example.example_requests(frames)
    proof = requests[(requests["phase"] == "proof") & (requests["concurrency"] == 8)].index
    requests.loc[proof[5], "text"] = requests.loc[proof[4], "text"]
    victim, donor = requests.loc[proof[5]], requests.loc[proof[4]]
    shown = show.worst_pairs(example.analysis_of(requests, frames))
    assert shown.html.count('class="sample"') == 1
    assert f"<mark>{donor['code']}</mark>" in shown.html
    assert f"proven: its image shows {victim['code']}" in shown.html
    labels = {frame.frame_id: frame.label for frame in frames}
    assert f"sent: {labels[victim['frame_id']]}" in shown.html
    assert f"answered: {labels[donor['frame_id']]}" in shown.html


def test_compared_runs_become_a_page_a_text_and_a_table(tmp_path):
    rows = pd.DataFrame([dict.fromkeys(COMPARE_COLUMNS, 1.0)] * 2).assign(
        run_id=["a", "=b"], speedup=[2.41, np.nan]
    )
    rows[["low", "high", "change_low", "change_high"]] = [2.2, 2.66, 0.9, 1.1]
    cells = rows_of(show.comparison_table(rows).markdown)
    assert [row[0] for row in cells[2:]] == ["a", "\\=b"]
    assert [row[4:6] for row in cells[2:]] == [["2.41 × (2.20 to 2.66)", "–"], ["–", "1.00 × (0.90 to 1.10)"]]
    page = show.write_comparison(tmp_path, "matrix", rows, [Finding("matrix", "problem", "c: refused")])
    assert "2.41 × (2.20 to 2.66)" in page.read_text(encoding="utf-8")
    assert "c: refused" in (tmp_path / "matrix.md").read_text(encoding="utf-8")
    assert pd.read_csv(tmp_path / "matrix.csv")["run_id"].tolist() == ["a", "'=b"]
    nothing = show.write_comparison(tmp_path, "none", rows[:0], [])
    assert "No run ended." in nothing.read_text(encoding="utf-8")

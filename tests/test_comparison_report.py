import re
import shutil

import pytest

from poc_lib.analysis import analyse_run
from poc_lib.comparison import compare_runs, gather_comparison, refuse_unlike
from poc_lib.errors import SetupProblem
from poc_lib.figures import figure_to_svg
from poc_lib.figures.comparison import draw_comparison
from poc_lib.report.blocks import Figures, Note, Table, Text
from poc_lib.report.comparison import comparison_section
from tests.comparisons import measured_again, small_analysis, small_run, twin, with_params, with_server


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Before, after an upgrade on a slower day, and a run of one block on another machine."""
    first = small_analysis(tmp_path_factory.mktemp("first"))
    times = {"vllm-mlx": 0.72, "ollama": 1.2}
    faster = measured_again(first, with_server(first.run, "faster", "vllm-mlx", version="0.7.0"), times)
    moved = measured_again(first, twin(first.run, "moved", host=first.run.facts["host"] | {"chip": "M3"}))
    return [first, faster, moved]


@pytest.fixture(scope="module")
def section(runs):
    return comparison_section(compare_runs(runs), refuse_unlike([one.run for one in runs], anyway=True))


def blocks(section, kind):
    return [block for block in section.blocks if isinstance(block, kind)]


def table_with(section, title):
    [table] = [t for t in blocks(section, Table) if title in [column.title for column in t.columns]]
    return table


def texts(section):
    return " ".join(block.text for block in section.blocks if isinstance(block, Text | Note))


def test_warnings_come_first_and_what_changed_before_any_number(section):
    kinds = [type(block).__name__ for block in section.blocks]
    assert kinds[:2] == ["Note", "Note"]
    assert "not alike (host chip)" in section.blocks[0].text
    assert "not the same on both days" in section.blocks[1].text
    titles = [block.columns[0].title for block in blocks(section, Table)]
    assert titles == ["what changed", "what changed", "run", "run", "run"]


def test_the_change_is_named_with_what_it_was_in_each_run(section):
    upgrade, moved = (t for t in blocks(section, Table) if t.columns[0].title == "what changed")
    assert [c.title for c in upgrade.columns[1:3]] == ["run-example", "faster"]
    assert [c.text for c in upgrade.rows[0]][:3] == [
        "vllm-mlx: software",
        "vllm-mlx (version not told)",
        "vllm-mlx 0.7.0",
    ]
    assert [row[3].text for row in (*upgrade.rows, *moved.rows)] == ["may differ", "✗ should be equal"]


def test_both_ratios_stand_in_the_table_and_the_leading_one_is_read(section):
    speed = table_with(section, "× normalised (95 % interval)")
    rows = {(row[0].text, row[2].text): row for row in speed.rows}
    row = rows["faster", "4"]
    assert all(re.fullmatch(r"\d\.\d\d\xa0× \(\d\.\d\d to \d\.\d\d\)", cell.text) for cell in row[4:6])
    assert (row[6].text, row[6].tone) == ("faster", "good")
    assert rows["moved", "4"][6].text == "no difference seen"
    assert rows["run-example", "4"][6].text == "held against"


def test_the_best_level_is_marked_in_its_own_row(section):
    speed = table_with(section, "× normalised (95 % interval)")
    assert [speed.rows[i][2].text for i in sorted(speed.marked_rows)] == ["4", "4", "4"]
    assert len(speed.rows) == 6


def test_the_section_says_which_ratio_leads_and_what_it_can_be_put_down_to(section):
    said = texts(section)
    assert "the normalised ratio leads" in said
    assert "One thing changed on record: vllm-mlx: software" in said


def test_alike_runs_on_a_like_day_get_no_warning(runs):
    first = runs[0]
    again = measured_again(first, with_params(first.run, "again", note="again"))
    section = comparison_section(
        compare_runs([first, again]), refuse_unlike([first.run, again.run], anyway=False)
    )
    assert blocks(section, Note) == []


def test_the_figure_names_runs_levels_unit_and_n(runs):
    figure = draw_comparison(compare_runs(runs))
    svg = figure_to_svg(figure, "comparison")
    for words in ("faster", "vllm-mlx · 4 in flight", "as a multiple of run-example [×]"):
        assert words in svg
    assert "n = 36 answered requests" in figure.caption_text
    assert re.search(r"faster at 4: 1\.\d\d × \(1\.\d\d to \d\.\d\d\)", figure.alt_text)


def test_the_figure_is_in_the_section_unless_no_level_is_shared(runs, section):
    assert [figure.name for figure in blocks(section, Figures)[0].figures] == ["comparison"]
    alone = comparison_section(compare_runs(runs[:1]), {})
    assert blocks(alone, Figures) == []


def test_no_named_run_is_no_comparison_and_an_unknown_one_is_refused(runs):
    analysis = runs[0]
    assert gather_comparison(analysis, analysis.params) is None
    params = analysis.params.model_copy(update={"compare_with": ["no-such-run"]})
    with pytest.raises(SetupProblem, match="no run in"):
        gather_comparison(analysis, params)


def test_the_runs_named_are_read_and_the_first_of_them_is_the_measure(tmp_path):
    run, params = small_run(tmp_path)
    shutil.copytree(run.folder, run.folder.parent / "before")
    params = params.model_copy(update={"compare_with": ["before"]})
    comparison = gather_comparison(analyse_run(run, params), params)
    assert set(comparison.table["first_run_id"]) == {"before"}
    assert list(comparison.table["run_id"].unique()) == ["before", run.run_id]
    assert comparison.differences == {run.run_id: []}

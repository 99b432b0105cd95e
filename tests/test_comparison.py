import math
import re

import numpy as np
import pytest

from poc_lib.comparison import compare_runs, comparison_sentence, drift_sentences, reason_sentence
from poc_lib.comparison.ratios import half_width
from tests.comparisons import analysed, measured_again, small_analysis, twin, with_params, with_server


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return small_analysis(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def again(first):
    return measured_again(first, twin(first.run, "again"))


@pytest.fixture(scope="module")
def faster(first):
    """Another day on which all is slower by a fifth, and a candidate that needs 0.6 of its time."""
    times = {"vllm-mlx": 0.6 * 1.2, "ollama": 1.2}
    return measured_again(first, with_server(first.run, "faster", "vllm-mlx", version="0.7.0"), times)


@pytest.fixture(scope="module")
def table(first, again, faster):
    return compare_runs([first, again, faster])


def rows_of(table, run_id, scope="level"):
    return table[(table["run_id"] == run_id) & (table["scope"] == scope)]


def best(table, run_id):
    return rows_of(table, run_id, "best").iloc[0]


def without(analysis, run_id, wanted):
    """The analysis of a twin that has only the wanted requests."""
    requests = analysis.requests[wanted(analysis.requests)]
    return analysed(twin(analysis.run, run_id), requests, analysis)


def test_there_is_a_row_per_run_and_level_and_one_for_the_best(table):
    keys = list(zip(table["run_id"], table["scope"], table["concurrency"], strict=True))
    assert keys[:3] == [("run-example", "level", 1), ("run-example", "level", 4), ("run-example", "best", 4)]
    assert [key[0] for key in keys[3:]] == ["again"] * 3 + ["faster"] * 3


def test_each_row_tells_what_the_runs_own_tables_tell(table, first):
    row = rows_of(table, "run-example").iloc[1]
    speed = first.speed[(first.speed["server"] == "vllm-mlx") & (first.speed["concurrency"] == 4)].iloc[0]
    for name in ("frames_per_s", "output_tok_per_s", "ttft_p50_s", "n_ok"):
        assert row[name] == speed[name]
    assert (row["match_n"], row["suspicious"], row["n_lost"]) == (36, 0, 0)


def test_the_first_run_is_held_against_nothing(table):
    assert table.loc[table["run_id"] == "run-example", ["frames_ratio", "normalised"]].isna().all(axis=None)


def test_equal_runs_give_intervals_that_include_1(table):
    for _, row in table[table["run_id"] == "again"].iterrows():
        for ends in ("frames", "tokens", "normalised", "baseline"):
            assert row[f"{ends}_low"] < 1 < row[f"{ends}_high"], (row["concurrency"], ends)
        assert not row["drift"]


def test_the_ratio_is_that_of_the_rates_in_the_table(table):
    for run_id in ("again", "faster"):
        rates = rows_of(table, run_id)["frames_per_s"].to_numpy()
        before = rows_of(table, "run-example")["frames_per_s"].to_numpy()
        assert rows_of(table, run_id)["frames_ratio"].to_numpy() == pytest.approx(rates / before)


def test_the_normalised_ratio_takes_the_machines_day_out_and_leads(table):
    row = best(table, "faster")
    assert row["frames_ratio"] == pytest.approx(1 / 0.72, rel=0.05)
    assert row["normalised"] == pytest.approx(1 / 0.6, rel=0.05)
    assert row["normalised_low"] > 1
    assert row["leads"] == "normalised"
    assert row["baseline"] == "ollama at 1 in flight"


def test_a_baseline_that_changed_by_more_than_its_interval_is_a_drift(table):
    row = best(table, "faster")
    assert row["baseline_high"] < 1
    [warning] = drift_sentences(table)
    assert "not the same on both days" in warning
    assert "'faster' against 'run-example'" in warning


@pytest.mark.parametrize("change", ["another version", "not measured", "lost a frame"])
def test_without_a_common_whole_baseline_the_ratio_as_measured_leads(first, change):
    if change == "another version":
        other = measured_again(first, with_server(first.run, "b", "ollama", version="0.12"))
    elif change == "not measured":
        other = without(first, "b", lambda rows: rows["role"] != "baseline")
    else:
        other = without(first, "b", lambda rows: (rows["role"] != "baseline") | (rows["frame_id"] != "f000"))
    table = compare_runs([first, other])
    row = best(table, "b")
    assert math.isnan(row["normalised"])
    assert row["leads"] == "as measured"
    assert not row["drift"]
    assert "no baseline in common" in reason_sentence(table)


def test_levels_of_one_run_alone_have_no_ratio(first):
    other = without(first, "b", lambda rows: rows["concurrency"] == 1)
    table = compare_runs([first, other])
    assert list(rows_of(table, "b")["concurrency"]) == [1]
    back = compare_runs([other, first])
    assert back.loc[back["concurrency"] == 4, "frames_ratio"].isna().sum() == 1


def test_the_best_levels_are_held_together_even_where_they_differ(first):
    other = without(first, "b", lambda rows: rows["concurrency"] == 1)
    row = best(compare_runs([first, other]), "b")
    assert (row["first_concurrency"], row["concurrency"]) == (4, 1)
    assert row["frames_high"] < 1


def test_a_level_that_lost_frames_is_not_the_best_and_is_marked(first):
    other = without(first, "b", lambda rows: (rows["concurrency"] != 4) | (rows["frame_id"] != "f003"))
    table = compare_runs([first, other])
    assert best(table, "b")["concurrency"] == 1
    lossy = rows_of(table, "b").iloc[1]
    assert (lossy["complete"], lossy["n_lost"]) == (False, 3)


def test_one_block_gives_a_ratio_without_an_interval(first):
    other = without(first, "b", lambda rows: rows["block"] == 0)
    row = best(compare_runs([first, other]), "b")
    assert row["frames_ratio"] > 0
    assert math.isnan(row["frames_low"])
    assert "without an interval, which takes two blocks" in comparison_sentence(row)


def test_the_sentence_says_faster_slower_or_no_difference(table, first, faster):
    row = best(table, "faster")
    words = rf"'faster' .* is faster than 'run-example' .* by {100 * (row['normalised'] - 1):.0f} %"
    assert re.search(words, comparison_sentence(row))
    assert "no difference seen" in comparison_sentence(best(table, "again"))
    back = compare_runs([faster, first])
    assert re.search(
        r"is slower than 'faster' .* by (3|4)\d %", comparison_sentence(best(back, "run-example"))
    )


def test_candidates_with_other_names_are_held_together_when_they_are_the_only_ones(first):
    renamed = first.requests.replace({"server": {"vllm-mlx": "mlx-vlm"}})
    run = with_server(with_params(first.run, "b", candidate_name="mlx-vlm"), "b", "vllm-mlx", name="mlx-vlm")
    row = best(compare_runs([first, analysed(run, renamed, first)]), "b")
    assert (row["first_server"], row["server"]) == ("vllm-mlx", "mlx-vlm")
    assert row["frames_ratio"] == pytest.approx(1)


def test_similarity_is_paired_by_frame(first):
    other = measured_again(first, twin(first.run, "b"))
    other.scores = first.scores.assign(difflib_ratio=first.scores["difflib_ratio"] - 0.1)
    row = best(compare_runs([first, other]), "b")
    assert row["similarity_change"] == pytest.approx(-0.1)
    assert row["similarity_high"] - row["similarity_low"] == pytest.approx(0, abs=1e-9)
    assert row["similarity_n"] == 12


def test_frames_whose_reference_was_rewritten_are_left_out_of_the_similarity(first):
    other = measured_again(first, twin(first.run, "b"))
    references = first.frames["ref_description"].where(first.frames["frame_id"] != "f000", "rewritten since")
    other.frames = first.frames.assign(ref_description=references)
    assert best(compare_runs([first, other]), "b")["similarity_n"] == 11


def test_one_run_alone_gives_its_own_rows(first):
    table = compare_runs([first])
    assert list(table["scope"]) == ["level", "level", "best"]


def draw(rng, n_blocks, n_groups, of_blocks, of_groups, rest):
    blocks = rng.normal(0, of_blocks, (n_blocks, 1))
    return blocks + of_groups + rng.normal(0, rest, (n_blocks, n_groups))


@pytest.mark.parametrize(
    ("n_blocks", "n_groups", "of_blocks", "of_groups", "rest"),
    [(3, 8, 0.03, 0.0, 0.05), (3, 8, 0.03, 0.05, 0.05), (2, 4, 0.05, 0.02, 0.02), (5, 8, 0.0, 0.1, 0.02)],
)
def test_95_of_100_intervals_hold_the_true_ratio(n_blocks, n_groups, of_blocks, of_groups, rest):
    rng = np.random.default_rng(3)
    hits, n = 0, 400
    for _ in range(n):
        frames = rng.normal(0, 0.4, n_groups)  # what frames cost in both runs pairs off
        gained = rng.normal(0, of_groups, n_groups)
        one = draw(rng, n_blocks, n_groups, of_blocks, frames, rest)
        two = draw(rng, n_blocks, n_groups, of_blocks, frames + gained, rest)
        hits += abs(two.mean() - one.mean()) <= half_width(one, two)
    assert hits / n > 0.93  # 0.95 less two standard errors of the count


def test_blocks_of_two_runs_scatter_apart_and_frames_pair_off():
    frames = np.array([0.0, 1.0, 2.0, 3.0])
    steady = np.tile(frames, (3, 1))
    assert half_width(steady, steady) == 0
    scattered = steady + np.array([[-0.1], [0.0], [0.1]])
    expected = 2.776445 * 0.1 * math.sqrt(2 / 3)  # t on 4 degrees of freedom: Welch's, with equal variances
    assert half_width(scattered, scattered) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(half_width(steady[:1], steady))


def test_the_interval_grows_when_frames_gain_differently():
    one = np.zeros((3, 4))
    two = np.tile([0.0, 0.2, 0.4, 0.6], (3, 1))
    assert half_width(one, two) > 0.3
    assert half_width(one, np.full((3, 4), 0.3)) == 0

import math

import pandas as pd
import pytest

from poc_lib.accuracy import (
    LEVELS_COLUMNS,
    MODELS_COLUMNS,
    compare_levels,
    compare_models,
    judge_margin,
    level_sentence,
    model_sentence,
    score_answers,
)
from tests.builders import failed, reply, table

N = 12
SCREENS = [f"editor shows file{i}.py with {i} tests and error E{i}" for i in range(N)]
BASELINE = {"server": "ollama", "role": "baseline"}


def line(text, activity="coding"):
    return f"description: {text} | activity: {activity} | apps: [VS Code] | topics: [tests]"


def frames(hashes=None):
    rows = [
        {
            "frame_id": f"f{i}",
            "timestamp_s": float(i),
            "phash": hashes[i] if hashes else None,
            "ref_description": text,
            "ref_activity": "coding",
            "ref_apps": ["Code"],
            "ref_topics": ["tests"],
        }
        for i, text in enumerate(SCREENS)
    ]
    return pd.DataFrame(rows)


def answers(texts=SCREENS, **changes):
    return [reply(f"f{i}", text=line(text), **changes) for i, text in enumerate(texts)]


def reworded(share, word="screen"):
    """Every text with some of its words lost; by frame a little more or less."""
    return [
        " ".join([*text.split()[: max(1, round(8 * share) - i % 2)], word]) for i, text in enumerate(SCREENS)
    ]


def levels(replies, margin=0.05, hashes=None):
    return compare_levels(table(replies), frames(hashes), margin).set_index("measure")


def test_the_difference_is_taken_by_frame_of_means_over_blocks():
    low = [*answers(), *answers(reworded(0.5), block=1)]
    high = [*answers(reworded(0.5), concurrency=4), *answers(reworded(0.5), concurrency=4, block=1)]
    requests = table([*low, *high])
    row = compare_levels(requests, frames(), 0.05).set_index("measure").loc["difflib_ratio"]
    by_frame = (
        score_answers(requests, frames(), 0.8).groupby(["concurrency", "frame_id"])["difflib_ratio"].mean()
    )
    expected = (by_frame[4] - by_frame[1]).mean()
    assert row.difference == pytest.approx(expected)
    assert row.low < expected < row.high < 0
    assert (row.concurrency, row.lowest_concurrency, row.n_frames, row.verdict) == (4, 1, N, "worse")
    assert row.mean_at_level - row.mean_at_lowest == pytest.approx(expected)


def test_equal_answers_are_not_worse_and_the_texts_are_counted_as_a_diagnostic():
    found = levels([*answers(), *answers(block=1), *answers(concurrency=8)])
    row = found.loc["tfidf_cosine"]
    assert (row.difference, row.verdict) == (0.0, "not worse")
    assert (row.same_text, row.n_same_text, row.same_text_at_lowest) == (1.0, N, 1.0)
    said = level_sentence(pd.concat([row, pd.Series({"measure": "tfidf_cosine"})]))
    assert said.startswith("vllm-mlx at 8 in flight: not worse than 1 in flight by more than 0.05")
    assert "n = 12 frames" in said


def test_other_words_of_the_same_worth_are_not_worse():
    found = levels([*answers(reworded(0.6, "screen")), *answers(reworded(0.6, "window"), concurrency=8)])
    assert found.loc["tfidf_cosine", "verdict"] == "not worse"
    assert found.loc["tfidf_cosine", "same_text"] == 0.0


@pytest.mark.parametrize(
    ("low", "high", "n_groups", "verdict"),
    [
        (-0.04, 0.10, 12, "not worse"),
        (-0.04, -0.01, 12, "not worse"),
        (-0.06, 0.10, 12, "inconclusive"),
        (-0.20, -0.06, 12, "worse"),
        (-0.05, 0.00, 12, "inconclusive"),
        (-0.04, 0.10, 4, "not judgeable"),
        (float("nan"), float("nan"), 12, "not judgeable"),
    ],
)
def test_the_verdict_is_where_the_interval_lies_to_the_margin(low, high, n_groups, verdict):
    assert judge_margin(low, high, 0.05, n_groups) == verdict


def test_frames_that_failed_at_a_level_are_counted_and_not_scored_as_wrong():
    replies = [*answers(), *answers(concurrency=4)[3:], *[failed(f"f{i}", concurrency=4) for i in range(3)]]
    row = levels(replies).loc["tfidf_cosine"]
    assert (row.n_frames, row.n_missing, row.difference) == (N - 3, 3, 0.0)


def test_near_duplicate_frames_count_as_one_group():
    hashes = ["0" * 16] * 6 + ["f" * 16] * 6
    row = levels([*answers(), *answers(reworded(0.5), concurrency=4)], hashes=hashes).loc["tfidf_cosine"]
    assert (row.n_frames, row.n_groups, row.verdict) == (N, 2, "not judgeable")


def test_no_change_of_activity_among_few_frames_excludes_no_rare_change():
    row = levels([*answers(), *answers(concurrency=4)]).loc["activity_agrees"]
    assert (row.difference, row.low) == (0.0, pytest.approx(-(1 - 0.025 ** (1 / N))))
    assert row.verdict == "inconclusive"


def test_each_server_is_held_against_its_own_lowest_level_and_one_level_is_no_comparison():
    replies = [*answers(**BASELINE), *answers(concurrency=2), *answers(concurrency=4)]
    found = compare_levels(table(replies), frames(), 0.05)
    assert set(zip(found["server"], found["concurrency"], found["lowest_concurrency"], strict=True)) == {
        ("vllm-mlx", 4, 2)
    }
    only = compare_levels(table(answers()), frames(), 0.05)
    assert only.empty
    assert tuple(only.columns) == LEVELS_COLUMNS


def models(replies, margin=0.05):
    return compare_models(table(replies), frames(), margin).set_index("measure")


def test_a_candidate_that_varies_as_the_baseline_does_is_not_worse():
    replies = [*answers(reworded(0.6, "a"), **BASELINE), *answers(reworded(0.6, "b"), **BASELINE, block=1)]
    row = models([*replies, *answers(reworded(0.6, "c"))]).loc["difflib_ratio"]
    assert row.difference == pytest.approx(0.0, abs=1e-9)
    assert (row.verdict, row.baseline, row.n_frames) == ("not worse", "ollama", N)
    assert 0 < row.baseline_with_itself < 1


def test_a_candidate_that_says_less_is_worse_than_the_baseline_is_to_itself():
    replies = [*answers(**BASELINE), *answers([f"{t} again" for t in SCREENS], **BASELINE, block=1)]
    row = models([*replies, *answers(reworded(0.3)), *answers(concurrency=4)]).loc["tfidf_cosine"]
    assert (row.verdict, row.concurrency) == ("worse", 1)  # the lowest level only: load is the other question
    assert row.difference == pytest.approx(row.with_baseline - row.baseline_with_itself)


def test_a_baseline_with_one_block_gives_no_yardstick():
    found = models([*answers(**BASELINE), *answers()])
    assert set(found["verdict"]) == {"not judgeable"}
    row = found.loc["tfidf_cosine"]
    assert (row.with_baseline, row.n_frames) == (pytest.approx(1.0), 0)
    assert math.isnan(row.baseline_with_itself)
    assert "cannot be judged" in model_sentence(pd.concat([row, pd.Series({"measure": "tfidf_cosine"})]))


def test_a_baseline_that_repeats_itself_letter_for_letter_is_said_to():
    found = models([*answers(**BASELINE), *answers(**BASELINE, block=1), *answers(reworded(0.5))])
    row = found.loc["tfidf_cosine"]
    assert row.baseline_same_text == 1.0
    assert "letter for letter" in model_sentence(pd.concat([row, pd.Series({"measure": "tfidf_cosine"})]))


def test_without_a_baseline_or_without_requests_there_is_nothing_to_compare():
    for replies in ([], answers()):
        empty = compare_models(table(replies), frames(), 0.05)
        assert empty.empty
        assert tuple(empty.columns) == MODELS_COLUMNS


def test_where_nothing_can_be_lost_nothing_is_judged():
    assert judge_margin(-0.01, 0.01, 0.05, n_groups=12, at_stake=0.02) == "not judgeable"
    assert judge_margin(-0.01, 0.01, 0.05, n_groups=12, at_stake=0.4) == "not worse"

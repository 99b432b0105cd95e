import math
import random

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from poc_lib.accuracy import CALIBRATION_COLUMNS, calibration_sentence, summarize_calibration
from poc_lib.accuracy.matrices import difflib_sample, similarity_matrix
from poc_lib.accuracy.pairs import MEASURES, run_vectors, score_pairs
from poc_lib.accuracy.separation import OwnOther, separating_thresholds, summarize_auc
from poc_lib.accuracy.sides import Side, answer_side
from tests.builders import failed, reply, table

WORDS = [
    *("editor", "browser", "slide", "table", "chart", "invoice", "issue"),
    *("commit", "review", "pytest", "cargo", "memory", "cache", "index"),
]
ALIKE, UNLIKE = "0000000000000000", "ffffffffffffffff"


def own_other(own, other, group=None, own_frame=None):
    other = np.array(other, dtype=float)
    frames = np.arange(len(other))
    group = frames if group is None else np.array(group)
    return OwnOther(
        np.array(own, dtype=float), frames if own_frame is None else np.array(own_frame), other, group
    )


def drawn(n=12, shift=0.5, seed=0):
    draw = np.random.default_rng(seed)
    other = draw.normal(0, 0.5, (n, n))
    other[np.diag_indices(n)] = np.nan
    return own_other(draw.normal(shift, 0.5, n), other)


def test_the_auc_is_scikit_learns_ties_half():
    pairs = drawn()
    pairs.own[:] = pairs.own.round(1)
    pairs.other[:] = pairs.other.round(1)
    others = pairs.other[~np.isnan(pairs.other)]
    labels = [1] * pairs.own.size + [0] * others.size
    assert summarize_auc(pairs).value == pytest.approx(roc_auc_score(labels, [*pairs.own, *others]))


def test_values_that_cannot_be_scored_are_left_out_of_the_auc():
    nan = float("nan")
    pairs = own_other([0.9, nan, 0.5], [[nan, 0.1, 0.6], [nan, nan, 0.2], [0.5, nan, nan]])
    assert summarize_auc(pairs).value == pytest.approx((4 + 2.5) / 8)
    assert (pairs.n_own, pairs.n_other) == (2, 4)


def test_perfect_separation_still_has_an_uncertain_low_end():
    low = [summarize_auc(own_other(np.ones(n), np.zeros((n, n)))).low for n in (2, 10, 100)]
    assert low == pytest.approx([0.025 ** (1 / n) for n in (2, 10, 100)])
    assert summarize_auc(own_other(np.zeros(10), np.ones((10, 10)))).low == 0.0


def test_frames_that_look_alike_count_as_one_so_the_interval_widens():
    few = drawn(12)
    copied = own_other(np.repeat(few.own, 4), np.kron(few.other, np.ones((4, 4))))
    grouped = own_other(copied.own, copied.other, np.repeat(np.arange(12), 4))
    widths = [auc.high - auc.low for auc in map(summarize_auc, (few, grouped, copied))]
    assert widths[1] == pytest.approx(widths[0])
    assert widths[2] < 0.7 * widths[0]


def test_the_interval_covers_the_true_auc_about_as_often_as_it_says():
    inside = 0
    for seed in range(300):
        auc = summarize_auc(drawn(20, 0.5, seed))
        inside += auc.low <= 0.7602 <= auc.high  # Φ(0.5 ÷ (0.5 √2))
    assert 0.92 <= inside / 300 <= 0.99


def test_one_group_has_an_auc_and_no_interval_and_nothing_has_neither():
    one = summarize_auc(own_other([0.9, 0.8], [[np.nan, 0.1], [0.2, np.nan]], group=[0, 0]))
    assert one.value == 1.0
    assert math.isnan(one.low)
    assert math.isnan(summarize_auc(own_other([np.nan], [[np.nan]])).value)


def test_the_threshold_lies_half_way_between_the_last_own_and_the_next_other():
    n = 20
    own = np.linspace(0.6, 0.9, n)
    other = np.linspace(0.0, 0.2, n * n).reshape(n, n)
    threshold, by_frame = separating_thresholds(own_other(own, other))
    assert threshold == pytest.approx(0.4)
    assert by_frame[1:] == pytest.approx(np.full(n - 1, 0.4), abs=0.02)
    assert by_frame[0] > 0.405  # its own value, the lowest, was left out


def test_youdens_threshold_is_the_best_of_all_possible_ones():
    pairs = drawn(15, 0.8, 3)
    threshold, _ = separating_thresholds(pairs)
    others = pairs.other[~np.isnan(pairs.other)]

    def gain(at):
        return (pairs.own >= at).mean() - (others >= at).mean()

    assert gain(threshold) == pytest.approx(max(gain(at) for at in [*pairs.own, *others]))


def test_a_frames_threshold_does_not_depend_on_its_own_values():
    pairs = drawn(15, 0.8, 3)
    before = separating_thresholds(pairs)[1]
    pairs.own[4], pairs.other[4], pairs.other[:, 4] = -5, 7, 7
    after = separating_thresholds(pairs)[1]
    assert after[4] == before[4]
    assert not np.array_equal(after, before)


def sides(n, seed):
    draw = random.Random(seed)
    lines = []
    for i in range(n):
        words = " ".join(draw.choices(WORDS, k=draw.randint(1, 9)))
        said = f"{words} 'Q3 plan' file{draw.randint(0, 3)}.py" if i % 4 else words
        activity, topics = draw.choice(["coding", "review"]), said[:6]
        apps = ", ".join(draw.sample(["VS Code", "Chrome", "Slack"], draw.randint(0, 3)))
        lines.append(f"description: {said} | activity: {activity} | apps: [{apps}] | topics: [{topics}]")
    return [answer_side(line, None) for line in lines]


@pytest.mark.parametrize("measure", [name for name in MEASURES if name != "difflib_ratio"])
def test_a_matrix_holds_what_scoring_the_pairs_one_by_one_gives(measure):
    answers = [*sides(9, 1), Side(problem="failed: timeout"), answer_side("plain text", None)]
    others = [*sides(7, 2), Side(problem="no reference")]
    draw = np.random.default_rng(0)
    embeddings = {one.text: draw.normal(size=5) for one in (*answers[:-1], *others)}
    vectors = run_vectors([*answers, *others])
    matrix = similarity_matrix(measure, answers, others, vectors, embeddings)
    for i, answer in enumerate(answers):
        plain = score_pairs([answer] * len(others), others, vectors, embeddings)[measure]
        assert matrix[i] == pytest.approx(plain.to_numpy(), abs=1e-6, nan_ok=True)
    assert np.isfinite(matrix).any()


def test_difflib_takes_all_wanted_pairs_while_they_are_few_and_then_equally_many_an_answer(monkeypatch):
    answers, others = sides(30, 1), sides(30, 2)
    wanted = ~np.eye(30, dtype=bool)
    whole = difflib_sample(answers, others, wanted)
    assert np.array_equal(~np.isnan(whole), wanted)
    monkeypatch.setattr("poc_lib.accuracy.matrices.DIFFLIB_PAIRS", 150)
    some = difflib_sample(answers, others, wanted)
    drawn_pairs = ~np.isnan(some)
    assert drawn_pairs.sum(axis=1).tolist() == [5] * 30
    assert np.array_equal(some[drawn_pairs], whole[drawn_pairs])
    assert np.array_equal(some, difflib_sample(answers, others, wanted), equal_nan=True)


def frames_of(descriptions, hashes=None):
    rows = [
        {
            "frame_id": f"f{i}",
            "timestamp_s": float(i),
            "phash": (hashes or [f"{(1 << 60 >> 6 * i) * 63:016x}" for i in range(len(descriptions))])[i],
            "ref_description": text,
            "ref_activity": None,
            "ref_apps": None,
            "ref_topics": None,
        }
        for i, text in enumerate(descriptions)
    ]
    return pd.DataFrame(rows)


TEXTS = [" ".join(WORDS[i : i + 3]) for i in range(0, 12, 3)]
FAR = ["000000000000ffff", "00000000ffff0000", "0000ffff00000000", "ffff000000000000"]


def calibration(replies, descriptions=TEXTS, hashes=FAR, **frame_columns):
    frames = frames_of(descriptions, hashes).assign(**frame_columns)
    return summarize_calibration(table(replies), frames, 0.8).set_index(["server", "against", "measure"])


def answers(texts, **changes):
    return [reply(f"f{i}", text=text, **changes) for i, text in enumerate(texts)]


BASELINE = {"server": "ollama", "role": "baseline"}
AGAIN = [f"{text} memory" for text in TEXTS]


def test_agreement_is_placed_between_another_screen_and_the_baseline_again():
    texts = [f"window {text}" for text in TEXTS]
    replies = [*answers(texts, **BASELINE), *answers(AGAIN, **BASELINE, block=1), *answers(texts)]
    row = calibration(replies, texts).loc[("vllm-mlx", "stored reference", "tfidf_cosine")]
    assert row.own_mean == pytest.approx(1.0)
    assert 0 < row.other_mean < 0.2
    assert (row.n_own, row.n_other, row.n_frames, row.n_groups, row.n_ceiling) == (4, 12, 4, 4, 4)
    assert row.ceiling_of == "ollama"
    assert 0.5 < row.ceiling_mean < 0.95
    assert row.position == pytest.approx((1 - row.other_mean) / (row.ceiling_mean - row.other_mean))
    assert (row.auc, row.ceiling_same_text, row.match_rate_plan) == (1.0, 0.0, 1.0)
    assert (row.match_rate_calibrated, row.false_match_rate) == (1.0, 0.0)


def test_a_baseline_that_repeats_itself_says_so_and_one_block_gives_no_ceiling():
    twice = [*answers(TEXTS, **BASELINE), *answers(TEXTS, **BASELINE, block=1), *answers(AGAIN)]
    row = calibration(twice).loc[("vllm-mlx", "baseline ollama", "difflib_ratio")]
    assert (row.ceiling_mean, row.ceiling_same_text) == (1.0, 1.0)
    assert "letter for letter" in calibration_sentence(_named(row))
    once = calibration([*answers(TEXTS, **BASELINE), *answers(AGAIN)])
    row = once.loc[("vllm-mlx", "baseline ollama", "difflib_ratio")]
    assert row.n_ceiling == 0
    assert math.isnan(row.ceiling_mean)
    assert math.isnan(row.position)
    assert "each other" not in calibration_sentence(_named(row))


def _named(row):
    server, against, measure = row.name
    return pd.concat([row, pd.Series({"server": server, "against": against, "measure": measure})])


def test_frames_that_look_alike_or_have_no_hash_are_no_other_frames():
    rows = calibration(answers(TEXTS), hashes=[ALIKE, ALIKE, UNLIKE, None])
    row = rows.loc[("vllm-mlx", "stored reference", "tfidf_cosine")]
    assert row.n_other == 4  # the two alike ones with the third, and back
    assert (row.n_own, row.n_groups) == (4, 3)


def test_a_level_is_judged_by_the_threshold_of_the_lowest_one():
    worse = [*AGAIN[:2], TEXTS[3], TEXTS[2]]
    frames = frames_of(TEXTS, FAR)
    found = summarize_calibration(table([*answers(TEXTS), *answers(worse, concurrency=8)]), frames, 0.8)
    found = found[found["measure"] == "tfidf_cosine"].set_index("concurrency")
    assert found.loc[1, "threshold"] == found.loc[8, "threshold"]
    assert found["match_rate_calibrated"].to_dict() == {1: 1.0, 8: 0.5}
    assert found.loc[8, "match_rate_low"] < 0.5 < found.loc[8, "match_rate_high"]


def test_ocr_counts_the_answers_names_that_the_screen_shows():
    said = ["schema.sql 42", "notes.md 17", "a slide", "report.pdf"]
    seen = ["open schema.sql", "notes.md line 17", "a slide", None]
    rows = calibration(answers(said), descriptions=said, ocr_text=seen)
    row = rows.loc[("vllm-mlx", "stored reference", "ocr_share")]
    assert (row.own_mean, row.n_own) == (0.75, 2)  # half and all; no name, and no OCR text, tell nothing
    assert row.other_mean == 0.0


def test_failed_requests_and_frames_without_reference_give_nan_with_n_zero():
    rows = calibration([failed(f"f{i}") for i in range(4)])
    assert (rows["n_own"] == 0).all()
    assert (
        rows[["own_mean", "auc", "match_rate_plan", "match_rate_calibrated", "threshold"]]
        .isna()
        .all(axis=None)
    )
    assert calibration(answers(TEXTS), descriptions=[None] * 4)["n_own"].sum() == 0


def test_an_empty_run_gives_an_empty_calibration():
    for requests in (pd.DataFrame(), table([]), table(answers(TEXTS, phase="warmup"))):
        empty = summarize_calibration(requests, frames_of(TEXTS, FAR), 0.8)
        assert tuple(empty.columns) == CALIBRATION_COLUMNS
        assert empty.empty


def test_embeddings_are_one_more_measure_where_vectors_are_given():
    vectors = {text: np.eye(4)[i] for i, text in enumerate(TEXTS)}
    requests, frames = table(answers(TEXTS)), frames_of(TEXTS, FAR)
    found = summarize_calibration(requests, frames, 0.8, vectors).set_index("measure")
    assert (found.loc["embedding_cosine", "own_mean"], found.loc["embedding_cosine", "other_mean"]) == (
        1.0,
        0.0,
    )
    assert "embedding_cosine" not in set(summarize_calibration(requests, frames, 0.8)["measure"])

import difflib
import math
import random
from dataclasses import asdict

import pandas as pd
import pytest

from poc_lib.accuracy import (
    SCORE_COLUMNS,
    STORED_REFERENCE,
    difflib_ratio,
    embedding_cosine,
    frame_groups,
    pick_samples,
    score_answers,
    summarize_agreement,
    texts_of,
)
from poc_lib.accuracy.similarity import cosine_matrix, cosine_pairs, difflib_ratios, vectorize_texts
from poc_lib.records import Reply

EDITOR = "The user edits frames.py in VS Code; pytest in the terminal reports a KeyError."
EDITOR_PARAPHRASE = "VS Code with frames.py open, and a KeyError from pytest in its terminal."
BROWSER = "The user reads a GitHub issue about growing memory in Google Chrome."
MEETING = "Four people in a Zoom call look at a slide titled Q3 roadmap."


def line(description, activity="coding", apps="VS Code", topics="frames"):
    return f"description: {description} | activity: {activity} | apps: [{apps}] | topics: [{topics}]"


def reply(frame_id, text="", server="vllm-mlx", concurrency=1, block=0, phase="measure", error_class=None):
    return Reply(
        request_id=f"{server}/{phase}/c{concurrency}/b{block}/{frame_id}",
        server=server,
        role="baseline" if server == "ollama" else "candidate",
        concurrency=concurrency,
        block=block,
        phase=phase,
        frame_id=frame_id,
        sitting=0,
        slot=0,
        simulated=False,
        sent_at="2026-11-22T10:00:00",
        start_s=0.0,
        in_flight=1,
        total_s=1.0,
        text=text,
        error_class=error_class,
    )


def requests_of(*replies):
    return pd.DataFrame([asdict(one) for one in replies])


def frame(frame_id, description, activity=None, apps=None, topics=None, timestamp_s=0.0):
    return {
        "frame_id": frame_id,
        "timestamp_s": timestamp_s,
        "ref_description": description,
        "ref_activity": activity,
        "ref_apps": apps,
        "ref_topics": topics,
        "ref_model": None,
        "phash": None,
        "image_path": f"{frame_id}.jpg",
    }


def only_row(requests, *frames, threshold=0.8):
    scores = score_answers(requests, pd.DataFrame(frames), threshold)
    assert len(scores) == 1
    return scores.iloc[0]


def test_the_ratio_is_difflibs_own_to_the_last_digit():
    assert difflib_ratio("abcd", "bcde") == 0.75  # 2 × 3 matching ÷ 8
    assert difflib_ratio("ab" * 150, "ba" * 150) == 0.0  # autojunk: both letters are "popular"
    assert difflib_ratio(EDITOR, BROWSER) == difflib.SequenceMatcher(None, EDITOR, BROWSER).ratio()
    assert difflib_ratio(EDITOR, BROWSER) != difflib_ratio(BROWSER, EDITOR)  # the reference comes first


def test_a_thousand_pairs_at_once_have_difflibs_values():
    draw = random.Random(0)
    words = f"{EDITOR} {BROWSER} {MEETING} été 🖥".split()
    texts = [" ".join(draw.choices(words, k=draw.randint(0, 90))) for _ in range(150)]  # 200 letters and more
    pairs = [(draw.choice(texts), draw.choice(texts)) for _ in range(1000)]
    expected = [difflib.SequenceMatcher(None, a, b).ratio() for a, b in pairs]
    assert difflib_ratios([a for a, _ in pairs], [b for _, b in pairs]).tolist() == expected


def test_embeddings_are_compared_by_cosine_and_unknown_ones_not_at_all():
    a, b = [[3.0, 4.0], [1.0, 0.0], [0.0, 0.0], None], [[4.0, 3.0], [-2.0, 0.0], [1.0, 1.0], [1.0, 0.0]]
    assert embedding_cosine(a, b) == pytest.approx([0.96, -1.0, math.nan, math.nan], nan_ok=True)
    assert embedding_cosine([], []).size == 0


def test_only_the_description_is_compared_with_the_stored_one():
    row = only_row(requests_of(reply("f1", line(EDITOR))), frame("f1", EDITOR))
    assert (row.difflib_ratio, row.match, row.against) == (1.0, 1.0, STORED_REFERENCE)
    assert row.tfidf_cosine == pytest.approx(1.0)
    assert (row.well_formed, row.why_not_scored) == (1.0, None)
    assert row.answer_chars == len(line(EDITOR))


def test_a_free_text_answer_is_compared_whole_and_is_not_well_formed():
    row = only_row(requests_of(reply("f1", EDITOR)), frame("f1", EDITOR, activity="coding", apps=["VS Code"]))
    assert (row.difflib_ratio, row.well_formed) == (1.0, 0.0)
    assert math.isnan(row.activity_agrees)
    assert math.isnan(row.apps_jaccard)


def test_a_ratio_equal_to_the_threshold_is_no_match():
    requests, reference = requests_of(reply("f1", "bcde")), frame("f1", "abcd")
    assert only_row(requests, reference, threshold=0.75).match == 0.0
    assert only_row(requests, reference, threshold=0.74).match == 1.0


def test_a_paraphrase_fails_the_plans_threshold_yet_shares_more_than_another_screen():
    requests = requests_of(reply("f1", line(EDITOR_PARAPHRASE)), reply("f2", line(EDITOR_PARAPHRASE)))
    scores = score_answers(requests, pd.DataFrame([frame("f1", EDITOR), frame("f2", BROWSER)]), 0.8)
    paraphrase, other_screen = scores.itertuples()
    assert paraphrase.match == 0.0
    assert paraphrase.tfidf_cosine > 0.3 > 0.1 > other_screen.tfidf_cosine


def test_the_tfidf_cosine_is_the_one_computed_by_hand():
    # "red" is in both texts: idf ln(3/3) + 1 = 1; "cat", "dog" and the pairs in one: ln(3/2) + 1 = 1.405465.
    expected = 1 / (1 + 2 * 1.405465**2)
    vectors = vectorize_texts(["Red cat", "red dog"])
    assert cosine_pairs(vectors, ["Red cat"], ["red dog"])[0] == pytest.approx(expected, abs=1e-6)
    assert cosine_matrix(vectors, ["Red cat"], ["Red cat", "red dog"]).tolist() == [
        [pytest.approx(1.0), pytest.approx(expected, abs=1e-6)]
    ]


def test_measuring_the_same_answers_again_does_not_change_the_cosine():
    frames = pd.DataFrame([frame("f1", EDITOR), frame("f2", BROWSER)])
    once = [reply("f1", EDITOR_PARAPHRASE), reply("f2", "A GitHub issue in Chrome")]
    again = [reply(r.frame_id, r.text, concurrency=4) for r in once for _ in range(3)]
    first = score_answers(requests_of(*once), frames, 0.8)["tfidf_cosine"]
    more = score_answers(requests_of(*once, *again), frames, 0.8)["tfidf_cosine"]
    assert more.iloc[:2].tolist() == pytest.approx(first.tolist())


def test_texts_without_any_word_have_cosine_zero():
    assert only_row(requests_of(reply("f1", "!!!")), frame("f1", "???")).tfidf_cosine == 0.0


def test_apps_and_topics_are_compared_as_case_folded_sets():
    answer = line(EDITOR, apps='"vs code", Chrome', topics="frames, sql")
    reference = frame("f1", EDITOR, apps=['"VS Code"', "Slack"], topics=("SQL", "Frames"))
    row = only_row(requests_of(reply("f1", answer)), reference)
    assert row.apps_jaccard == pytest.approx(1 / 3)
    assert (row.apps_match, row.topics_jaccard) == (0.0, 1.0)


def test_two_empty_lists_are_no_agreement_but_one_empty_list_is_a_disagreement():
    nothing = line(EDITOR, apps="", topics="")
    row = only_row(requests_of(reply("f1", nothing)), frame("f1", EDITOR, apps=[], topics=["sql"]))
    assert math.isnan(row.apps_jaccard)
    assert math.isnan(row.apps_match)
    assert row.topics_jaccard == 0.0


def test_a_field_that_was_never_stored_is_not_scored():
    row = only_row(
        requests_of(reply("f1", line(EDITOR))), frame("f1", EDITOR, activity=None, apps=float("nan"))
    )
    assert math.isnan(row.activity_agrees)
    assert math.isnan(row.apps_match)
    assert math.isnan(row.topics_jaccard)
    assert row.difflib_ratio == 1.0


@pytest.mark.parametrize(("stored", "agrees"), [("Coding", 1.0), ("reading", 0.0), ("unknown", None)])
def test_activities_agree_regardless_of_case_and_unknown_is_no_activity(stored, agrees):
    value = only_row(
        requests_of(reply("f1", line(EDITOR))), frame("f1", EDITOR, activity=stored)
    ).activity_agrees
    assert math.isnan(value) if agrees is None else value == agrees


def test_a_failed_request_is_a_row_without_scores_that_says_why():
    row = only_row(requests_of(reply("f1", error_class="timeout")), frame("f1", EDITOR, apps=["VS Code"]))
    assert row.why_not_scored == "request failed: timeout"
    numbers = row[["difflib_ratio", "match", "tfidf_cosine", "apps_jaccard", "well_formed", "answer_chars"]]
    assert numbers.isna().all()


def test_an_answer_of_thinking_only_is_not_scored():
    row = only_row(requests_of(reply("f1", "<think>I see an editor")), frame("f1", EDITOR))
    assert row.why_not_scored == "request failed: no text outside its thinking"
    assert math.isnan(row.match)


@pytest.mark.parametrize("stored", [None, float("nan"), "  "])
def test_a_frame_without_a_stored_description_is_not_scored_but_its_form_is(stored):
    row = only_row(requests_of(reply("f1", line(EDITOR))), frame("f1", stored))
    assert row.why_not_scored == "no reference"
    assert math.isnan(row.match)
    assert row.well_formed == 1.0


def test_errors_read_back_as_nan_count_as_answered():
    requests = requests_of(reply("f1", EDITOR)).assign(error_class=float("nan"))
    assert only_row(requests, frame("f1", EDITOR)).match == 1.0


def test_warm_up_requests_are_not_scored():
    requests = requests_of(reply("f1", EDITOR, phase="warmup"), reply("f1", BROWSER))
    assert only_row(requests, frame("f1", EDITOR)).match == 0.0


def test_an_empty_run_gives_an_empty_table_with_all_columns():
    for requests in (pd.DataFrame(), requests_of(reply("f1", "x")).iloc[:0]):
        scores = score_answers(requests, pd.DataFrame(), 0.8)
        assert scores.empty
        assert tuple(scores.columns) == SCORE_COLUMNS
        assert summarize_agreement(scores).empty


def against_baseline(*replies):
    scores = score_answers(requests_of(*replies), pd.DataFrame([frame("f1", None)]), 0.8)
    return scores[scores["against"] == "baseline ollama"].set_index(["concurrency", "block"])


def test_the_baselines_lowest_level_and_same_repeat_are_compared():
    found = against_baseline(
        reply("f1", MEETING, "ollama", concurrency=2),
        reply("f1", EDITOR, "ollama", block=0),
        reply("f1", BROWSER, "ollama", block=1),
        reply("f1", EDITOR, concurrency=4, block=0),
        reply("f1", BROWSER, concurrency=4, block=1),
        reply("f1", EDITOR, concurrency=4, block=2),  # the baseline has no third block: its first counts
    )
    assert found["difflib_ratio"].tolist() == [1.0, 1.0, 1.0]


def test_a_baseline_failure_or_gap_leaves_the_row_unscored_with_the_reason():
    found = against_baseline(
        reply("f1", server="ollama", error_class="timeout"),
        reply("f1", EDITOR),
        reply("f2", EDITOR, concurrency=2),
    )
    assert found["why_not_scored"].tolist() == [
        "baseline failed: timeout",
        "baseline has no answer to this frame",
    ]
    assert found["match"].isna().all()


def test_baseline_answers_meet_only_the_stored_reference():
    requests = requests_of(reply("f1", EDITOR, "ollama"), reply("f1", EDITOR))
    scores = score_answers(requests, pd.DataFrame([frame("f1", EDITOR)]), 0.8)
    assert list(zip(scores["server"], scores["against"], strict=True)) == [
        ("ollama", STORED_REFERENCE),
        ("vllm-mlx", STORED_REFERENCE),
        ("vllm-mlx", "baseline ollama"),
    ]


def agreement_of(matches, **columns):
    scores = pd.DataFrame({"match": matches}).reindex(columns=list(SCORE_COLUMNS))
    constant = {
        "server": "v",
        "role": "candidate",
        "concurrency": 4,
        "block": 0,
        "against": STORED_REFERENCE,
    }
    frame_ids = [f"f{i}" for i in range(len(matches))]
    summary = summarize_agreement(scores.assign(frame_id=frame_ids, **constant, **columns))
    assert len(summary) == 1
    return summary.iloc[0]


def test_the_match_rate_travels_with_its_n_and_wilsons_interval():
    row = agreement_of([1.0] * 8 + [0.0] * 2 + [float("nan")])
    assert (row.n_requests, row.n_scored, row.n_frames, row.match_rate) == (11, 10, 10, 0.8)
    # Wilson with z = 1.96: (8 + 1.9207 ± 1.96 √(1.6 + 0.9604)) ÷ 13.8415
    assert (row.match_rate_low, row.match_rate_high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_nothing_scored_gives_nan_with_n_zero_never_a_rate_of_zero():
    row = agreement_of([float("nan")] * 3)
    assert (row.n_requests, row.n_scored, row.activity_n, row.apps_n, row.well_formed_n) == (3, 0, 0, 0, 0)
    statistics = ["match_rate", "match_rate_low", "match_rate_high", "difflib_mean", "tfidf_mean"]
    assert row[[*statistics, "activity_rate", "apps_match_rate", "well_formed_share"]].isna().all()


def test_each_mean_is_over_the_rows_that_have_it():
    nan = float("nan")
    row = agreement_of(
        [1.0, 0.0, 0.0],
        difflib_ratio=[0.9, 0.3, 0.6],
        activity_agrees=[1.0, nan, 0.0],
        apps_jaccard=[0.5, nan, nan],
        apps_match=[0.0, nan, nan],
        well_formed=[1.0, 1.0, 0.0],
    )
    assert (row.difflib_mean, row.difflib_median) == pytest.approx((0.6, 0.6))
    assert (row.activity_rate, row.activity_n) == (0.5, 2)
    assert (row.apps_jaccard_mean, row.apps_match_rate, row.apps_n) == (0.5, 0.0, 1)
    assert (row.well_formed_share, row.well_formed_n) == (pytest.approx(2 / 3), 3)


def test_answers_to_one_frame_and_to_frames_that_look_alike_widen_the_interval():
    hashes = ["0" * 16] * 5 + ["f" * 16] * 5
    rows = [frame(f"f{i}", EDITOR, timestamp_s=i) | {"phash": h} for i, h in enumerate(hashes)]
    replies = [reply(f"f{i}", EDITOR if i < 7 else BROWSER, block=b) for i in range(10) for b in range(3)]
    scores = score_answers(requests_of(*replies), pd.DataFrame(rows), 0.8)
    once, by_frame, by_look = (
        summarize_agreement(table, groups).iloc[0]
        for table, groups in (
            (scores[scores["block"] == 0], None),
            (scores, None),
            (scores, frame_groups(pd.DataFrame(rows))),
        )
    )
    assert by_frame.n_scored == 3 * once.n_scored
    assert by_frame.match_rate_low == pytest.approx(once.match_rate_low, abs=0.01)  # repeats add nothing
    assert by_look.match_rate_high - by_look.match_rate_low > 0.75  # two screens tell hardly anything


def test_names_and_numbers_are_scored_against_the_reference_and_the_ocr_text():
    said = "frames.py, 2 failed and a TypeError"
    rows = frame("f1", "frames.py with 2 failed tests and a KeyError") | {"ocr_text": "FRAMES.PY 2 failed"}
    row = only_row(requests_of(reply("f1", line(said))), rows)
    assert (row.fidelity_precision, row.fidelity_recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (row.n_facts_answer, row.n_facts_reference) == (3, 3)
    assert (row.ocr_share, row.n_ocr) == (pytest.approx(2 / 3), 3)
    unread = only_row(requests_of(reply("f1", line(said))), rows | {"ocr_text": None})
    assert math.isnan(unread.ocr_share)
    assert math.isnan(unread.n_ocr)


def test_an_ocr_text_is_used_though_no_description_was_stored():
    row = only_row(requests_of(reply("f1", "main.py")), frame("f1", None) | {"ocr_text": "main.py"})
    assert row.ocr_share == 1.0
    assert math.isnan(row.fidelity_f1)


def test_embedding_vectors_are_looked_up_by_the_texts_that_are_listed():
    requests, frames = requests_of(reply("f1", line(EDITOR)), reply("f2", BROWSER)), [frame("f1", MEETING)]
    texts = texts_of(requests, pd.DataFrame(frames))
    assert texts == sorted([EDITOR, BROWSER, MEETING])
    labels = pd.DataFrame({"description": ["by hand", None, EDITOR]})
    assert texts_of(requests, pd.DataFrame(frames), labels) == sorted([*texts, "by hand"])
    vectors = {text: [1.0, i] for i, text in enumerate(texts)}
    found = score_answers(requests, pd.DataFrame(frames), 0.8, vectors)["embedding_cosine"]
    a, b = texts.index(EDITOR), texts.index(MEETING)
    assert found[0] == pytest.approx((1 + a * b) / math.sqrt((1 + a * a) * (1 + b * b)))
    assert math.isnan(found[1])


def test_levels_are_summarised_apart():
    requests = requests_of(reply("f1", EDITOR), reply("f1", BROWSER, concurrency=8))
    summary = summarize_agreement(score_answers(requests, pd.DataFrame([frame("f1", EDITOR)]), 0.8))
    assert summary.set_index("concurrency")["match_rate"].to_dict() == {1: 1.0, 8: 0.0}


def scores_with(cosines):
    rows = [{"frame_id": f"f{i}", "tfidf_cosine": cosine} for i, cosine in enumerate(cosines)]
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def test_the_worst_frames_come_first_and_unscored_ones_never():
    samples = pick_samples(scores_with([0.5, float("nan"), 0.1, 0.9, 0.3, 0.7]), n=2, seed=0)
    assert samples.worst == ["f2", "f4"]
    assert set(samples.random) <= {"f0", "f3", "f5"}
    assert len(samples.random) == 2


def test_samples_depend_on_the_seed_only():
    scores = scores_with([i / 50 for i in range(50)])
    draws = [tuple(pick_samples(scores, 5, seed).random) for seed in (1, 1, 2, 3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3
    assert pick_samples(scores.sample(frac=1, random_state=7), 5, 1) == pick_samples(scores, 5, 1)


def test_fewer_frames_than_asked_for_are_all_shown_once():
    samples = pick_samples(scores_with([0.5, 0.1, 0.9]), n=2, seed=0)
    assert (samples.worst, samples.random) == (["f1", "f0"], ["f2"])

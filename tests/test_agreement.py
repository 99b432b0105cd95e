"""How alike texts are: with the stored reference, with the baseline, and as the first edition had it."""

import difflib
import json
from pathlib import Path

import numpy as np
import pytest

from poc_lib.metrics import judge_answers, strip_thinking
from poc_lib.metrics.agreement import difflib_ratio, vectorize_texts
from poc_lib.records import Frame, Reference
from poc_lib.runs import read_events, read_frames, read_requests, read_run
from tests.rows import OLLAMA, rows_of

FROZEN = Path(__file__).parent / "frozen"
NAN = float("nan")


def test_the_ratio_is_difflibs_own_with_autojunk_and_in_this_order():
    pairs = [("abcd", "bcde"), ("", "x"), ("tide", "diet"), ("x" * 150 + "abc", "abc" + "x" * 250)]
    for reference, answer in pairs:
        assert difflib_ratio(reference, answer) == difflib.SequenceMatcher(None, reference, answer).ratio()
    assert difflib_ratio("tide", "diet") != difflib_ratio("diet", "tide")


def test_what_is_rare_does_not_depend_on_the_texts_that_are_only_compared():
    few = vectorize_texts(["a red cat", "a blue dog"])
    many = vectorize_texts(["a red cat", "a blue dog"], ["a red cat again", "words of its own", ""])
    assert (few(["a red cat"]) != many(["a red cat"])).nnz == 0
    assert many(["words of its own", ""]).nnz == 0
    assert vectorize_texts(["...", ""])([""]).shape[0] == 1


def base_ratios(*rows: dict) -> list[float]:
    return judge_answers(rows_of(*rows), [], [])["base_ratio"].tolist()


def test_a_candidate_is_held_against_the_baselines_unloaded_answer_to_the_same_frame():
    cat, loaded = {"text": "a cat"}, {"text": "only loaded", "frame_id": "f4"}
    told = [
        OLLAMA | cat,
        OLLAMA | cat | {"concurrency": 4, "text": "a dog"},
        OLLAMA | loaded | {"concurrency": 4},
    ]
    asked = cat | {"concurrency": 8}, cat | {"frame_id": "f3"}, loaded
    assert base_ratios(*told, *asked)[3:] == pytest.approx([1.0, NAN, NAN], nan_ok=True)


def test_the_answer_of_the_same_block_comes_before_the_pilots_and_that_before_others():
    confirm = {"phase": "confirm", "block": 2}
    rows = (
        OLLAMA | {"text": "of another block", "phase": "confirm", "block": 1},
        OLLAMA | {"text": "in the pilot"},
        OLLAMA | confirm | {"text": "in its block"},
        confirm | {"text": "in its block"},
        {"text": "in the pilot", "phase": "open_loop"},
    )
    assert base_ratios(*rows)[3:] == [1.0, 1.0]


def test_the_baseline_is_held_against_another_of_its_own_answers_and_never_against_the_candidate():
    assert base_ratios(OLLAMA | {"text": "alone"}, {"text": "alone"})[0] != 1.0
    assert base_ratios(OLLAMA | {"text": "twice"}, OLLAMA | {"text": "twice", "block": 1}) == [1.0, 1.0]
    stamped = OLLAMA | {"text": "description: a cat | code: CH7K4M", "phase": "proof", "code": "CH7K4M"}
    assert base_ratios(OLLAMA | {"text": "description: a cat"}, stamped)[0] == 1.0
    assert np.isnan(
        base_ratios(stamped, {"text": "a cat"})
    ).all()  # a stamped answer is none to hold it against


@pytest.mark.parametrize(
    ("stored", "said", "agrees"),
    [("coding", "Coding", 1.0), ("review", "coding", 0.0), ("unknown", "coding", NAN), (None, "coding", NAN)],
)
def test_activities_agree_where_both_are_known(stored, said, agrees):
    frames = [Frame("f1", 0.0, Path(), reference=Reference("a cat", stored, None, None, None))]
    text = f"description: a cat | activity: {said}"
    answers = judge_answers(rows_of({"text": text}, {"text": "free text"}), frames, [])
    assert answers["activity_agrees"].tolist() == pytest.approx([agrees, NAN], nan_ok=True)


SAME = {  # of the first edition's figures: the column and what is done with it
    "n_scored": ("{}_ratio", "count"),
    "difflib_mean": ("{}_ratio", "mean"),
    "tfidf_mean": ("{}_cosine", "mean"),
    "activity_rate": ("activity_agrees", "mean"),
}


@pytest.mark.parametrize("name", ["clean", "faults", "interrupted", "recorded", "no_references", "hostile"])
def test_scores_are_those_of_the_first_edition(name):
    run = read_run(FROZEN / name)
    answers = judge_answers(read_requests(run), read_frames(run), read_events(run))
    levels = answers[answers["phase"] == "measure"].groupby(["server", "concurrency"])
    for row in json.loads((FROZEN / name / "expected.json").read_text())["quality"]:
        level = levels.get_group((row["server"], row["concurrency"]))
        against = "ref" if row["against"] == "stored reference" else "base"
        said = level[level["error_class"].isna() & level["text"].map(strip_thinking).ne("")]
        found = {"well_formed_share": said["well_formed"].mean()}
        for key, (column, how) in SAME.items():
            if against == "ref" or "{}" in column:
                found[key] = level[column.format(against)].agg(how)
        wanted = {key: NAN if row[key] is None else row[key] for key in found}
        assert found == pytest.approx(wanted, rel=1e-5, nan_ok=True), (row["server"], row["concurrency"])

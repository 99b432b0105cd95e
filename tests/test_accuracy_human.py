import math

import pandas as pd
import pytest

from poc_lib.accuracy import LABEL_SCORE_COLUMNS, LABEL_SUMMARY_COLUMNS, score_labels, summarize_labels
from poc_lib.accuracy.human import contains
from tests.builders import failed, reply, table


def label(frame_id="f1", **changes):
    nothing = dict.fromkeys(("description", "must_contain", "must_not_contain", "activity", "apps"))
    return {"frame_id": frame_id} | nothing | changes


def scored(*replies, labels):
    return score_labels(table(replies), pd.DataFrame(labels, dtype=object))


@pytest.mark.parametrize(
    ("text", "wanted", "found"),
    [
        ("Editing frames.py", "FRAMES.PY", True),
        ("concatenate", "cat", False),
        ("bobcat", "cat", False),
        ("error  E42\nin main", "e42 in", True),
        ("in Visual Studio Code", "VS Code|Visual Studio Code", True),
        ("in Vim", "VS Code|Visual Studio Code", False),
        ("uses C++ here", "c++", True),
    ],
)
def test_a_phrase_is_found_as_whole_words_whatever_the_case(text, wanted, found):
    assert contains(text, wanted) is found


def test_an_answer_is_correct_when_it_holds_all_it_must_and_nothing_it_must_not():
    labels = [label(must_contain=("frames.py", "KeyError"), must_not_contain=("Slack",))]
    texts = ["frames.py: KeyError", "frames.py", "frames.py, KeyError, Slack"]
    found = scored(*[reply(text=text, block=i) for i, text in enumerate(texts)], labels=labels)
    assert found["correct"].tolist() == [1.0, 0.0, 0.0]
    assert found["share_contained"].tolist() == [1.0, 0.5, 1.0]
    assert found["missing"].tolist() == [(), ("KeyError",), ()]
    assert found["forbidden"].tolist() == [(), (), ("Slack",)]


def test_the_whole_answer_is_searched_but_not_its_thinking():
    labels = [label(must_contain=("VS Code",))]
    found = scored(
        reply(text="description: an editor | activity: coding | apps: [VS Code] | topics: [x]"),
        reply(text="<think>VS Code</think>an editor", block=1),
        labels=labels,
    )
    assert found["correct"].tolist() == [1.0, 0.0]


def test_a_labelled_description_activity_and_apps_are_compared_as_a_reference_is():
    text = "description: frames.py in an editor | activity: coding | apps: [Code] | topics: [x]"
    labels = [label(description="frames.py in an editor", activity="review", apps=("VS Code",))]
    row = scored(reply(text=text), labels=labels).iloc[0]
    assert (row.difflib_ratio, row.fidelity_f1, row.activity_agrees, row.apps_jaccard) == (1.0, 1.0, 0.0, 1.0)
    assert math.isnan(row.correct)
    assert row.why_not_scored == "the label names nothing that an answer must hold"


def test_failed_requests_are_not_scored_and_unlabelled_frames_are_no_rows():
    labels = [label(must_contain=("x",))]
    found = scored(failed("f1"), reply("f2", text="x"), labels=labels)
    assert found["frame_id"].tolist() == ["f1"]
    assert math.isnan(found["correct"][0])
    assert found["why_not_scored"][0] == "request failed: busy"


def test_the_share_of_correct_answers_has_its_interval_n_and_failures():
    labels = [label(f"f{i}", must_contain=("x",), activity="coding") for i in range(10)]
    replies = [reply(f"f{i}", text="x" if i < 8 else "y", block=b) for i in range(10) for b in range(2)]
    found = scored(*replies, failed("f1", concurrency=4), labels=labels)
    table_ = summarize_labels(found).set_index("concurrency")
    row = table_.loc[1]
    assert (row.correct_rate, row.correct_n, row.n_frames, row.n_failed) == (0.8, 20, 10, 0)
    assert row.correct_low == pytest.approx(0.49, abs=0.02)  # as of ten answers, not of twenty
    assert (row.contained_mean, row.contained_n) == (0.8, 20)
    assert 0 < row.contained_low < 0.8 < row.contained_high <= 1
    assert row.activity_n == 0
    assert math.isnan(row.activity_rate)
    assert (table_.loc[4, "n_failed"], table_.loc[4, "correct_n"]) == (1, 0)
    assert math.isnan(table_.loc[4, "correct_rate"])


def test_without_labels_or_requests_the_tables_are_empty():
    for replies, labels in (((), [label()]), ((reply(),), [])):
        found = score_labels(table(replies), pd.DataFrame(labels))
        assert found.empty
        assert tuple(found.columns) == LABEL_SCORE_COLUMNS
        assert tuple(summarize_labels(found).columns) == LABEL_SUMMARY_COLUMNS

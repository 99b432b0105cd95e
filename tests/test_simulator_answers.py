import hashlib
import json

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.simulator.answers import made_up_answer, pick_saying, read_answers, say, split_pieces
from tests.test_simulator_kit import frame_answer, make_image, write_answers


@pytest.fixture
def answer(tmp_path):
    answers = read_answers(write_answers(tmp_path, 3))
    return answers[hashlib.sha256(make_image(2)).hexdigest()]


def test_an_answer_is_found_by_the_bytes_of_its_image(answer):
    assert answer.frame_id == "0002"
    assert answer.sayings[0].description == frame_answer(2)["description"]


def test_a_variant_replaces_only_what_it_names(answer):
    text, activity = answer.sayings[1:]
    assert text.description.startswith("The file file_2.py")
    assert text.apps == ("Terminal", "Editor")
    assert activity.activity == "debugging"
    assert activity.description == answer.sayings[0].description


def test_a_variant_may_be_a_whole_line(tmp_path):
    line = "description: Reading a page | activity: reading | apps: [Firefox, Notes] | topics: []"
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"ab": frame_answer(0) | {"variants": [line]}}))
    saying = read_answers(path)["ab"].sayings[1]
    assert say(saying, one_line=True) == line


def test_at_temperature_0_the_same_variant_is_said_every_time(answer):
    hot = {pick_saying(answer, 0.3, 7, "openai", "sha", count) for count in range(30)}
    cold = {pick_saying(answer, 0, 7, "openai", "sha", count) for count in range(30)}
    assert len(hot) == 3
    assert len(cold) == 1


def test_the_one_line_form_is_the_apps_own(answer):
    line = say(answer.sayings[0], one_line=True)
    parts = [part.split(":")[0] for part in line.split(" | ")]
    assert parts == ["description", "activity", "apps", "topics"]
    assert "apps: [Terminal, Editor]" in line


def test_free_sentences_have_no_field_names(answer):
    text = say(answer.sayings[0], one_line=False)
    assert "description:" not in text
    assert "file_2.py" in text


def test_unknown_images_get_distinct_answers_that_never_change():
    hashes = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(200)]
    texts = [say(made_up_answer(sha).sayings[0], one_line=True) for sha in hashes]
    assert len(set(texts)) == 200
    assert texts[5] == say(made_up_answer(hashes[5]).sayings[0], one_line=True)


@pytest.mark.parametrize(
    "text", ["", "a", "description: two  spaces\nand a line", "naïve – ünïcode 漢字漢字漢字"]
)
def test_pieces_joined_are_the_text(text):
    pieces = split_pieces(text)
    assert "".join(pieces) == text
    assert all(len(piece) <= 5 for piece in pieces)


@pytest.mark.parametrize("content", ["not json", "[1]", '{"ab": {"frame_id": "1"}}', '{"ab": 3}'])
def test_a_file_without_answers_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "answers.json"
    path.write_text(content)
    with pytest.raises(SetupProblem, match="expected an object of image SHA-256") as caught:
        read_answers(path)
    assert "\n" not in str(caught.value)


def test_a_missing_answers_file_is_named(tmp_path):
    with pytest.raises(SetupProblem, match=r"no answers file at .*gone\.json"):
        read_answers(tmp_path / "gone.json")

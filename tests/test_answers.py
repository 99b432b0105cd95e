import pytest

from poc_lib.answers import ParsedAnswer, comparable_text, parse_answer, strip_thinking, tidy_names

LINE = (
    "description: Fixing a KeyError in frames.py, pytest shows 2 failed"
    " | activity: debugging | apps: [VS Code, iTerm2] | topics: [escribano, frame sampling]"
)
PARSED = ParsedAnswer(
    description="Fixing a KeyError in frames.py, pytest shows 2 failed",
    activity="debugging",
    apps=("VS Code", "iTerm2"),
    topics=("escribano", "frame sampling"),
    well_formed=True,
)


def test_the_line_as_the_prompt_asks_for_it_is_read_whole():
    assert parse_answer(LINE) == PARSED


@pytest.mark.parametrize(
    "answer",
    [
        f"\n  {LINE}  \n",
        f"```text\n{LINE}\n```",
        f"<think>An editor. description: draft | activity: coding</think>\n{LINE}",
        f"The screen shows an editor.\ndescription: a draft | activity: coding\n</think>\n\n{LINE}",
        f"Frame 1: {LINE}",
        f"Here is the line you asked for: {LINE}",
        f"{LINE}\n\nLet me know if [anything] is missing.",
        f"{LINE}\n{LINE}\ndescription: Fixing a KeyErr",
        LINE.replace("description:", "**Description:**").replace("activity:", "**ACTIVITY**:"),
        LINE.replace(" | ", "\n"),
        LINE.replace(" | ", " |\n"),
        LINE.replace("[VS Code, iTerm2]", '["VS Code", "iTerm2"]'),
        LINE.replace("[VS Code, iTerm2]", "['VS Code' ,`iTerm2`]"),
        LINE.replace("[VS Code, iTerm2]", "VS Code, iTerm2"),
        LINE.replace("[VS Code, iTerm2]", "\n- VS Code\n- iTerm2\n"),
        LINE.replace("debugging", "**Debugging**."),
        LINE.replace("frames.py, ", "frames.py,\n   "),
    ],
)
def test_wrappings_of_the_line_change_nothing(answer):
    assert parse_answer(answer) == PARSED


def test_pipes_inside_the_description_stay_in_it():
    parsed = parse_answer(
        "description: runs ps aux | grep mlx | wc -l | activity: terminal | apps: [a] | topics: [b]"
    )
    assert parsed.description == "runs ps aux | grep mlx | wc -l"
    assert parsed.activity == "terminal"


def test_a_field_name_inside_the_description_stays_in_it():
    text = "description: edits a log | activity: x | line | activity: coding | apps: [Vim] | topics: [logs]"
    parsed = parse_answer(text)
    assert parsed.description == "edits a log | activity: x | line"
    assert parsed.activity == "coding"


def test_underscores_and_backticks_of_code_survive():
    parsed = parse_answer("description: __init__.py calls `run()` | activity: coding | apps: [] | topics: []")
    assert parsed.description == "__init__.py calls `run()`"


def test_an_empty_list_or_the_word_none_says_that_there_are_none():
    parsed = parse_answer("description: a desktop | activity: other | apps: [] | topics: [none]")
    assert (parsed.apps, parsed.topics, parsed.well_formed) == ((), (), True)


def test_names_with_brackets_and_commas_stay_whole():
    parsed = parse_answer(
        'description: d | activity: other | apps: [Mail [2 new], "Acme, Inc."] | topics: [x]'
    )
    assert parsed.apps == ("Mail [2 new]", "Acme, Inc.")


def test_an_answer_cut_off_in_its_last_list_keeps_what_is_there_but_is_not_well_formed():
    parsed = parse_answer(LINE.removesuffix(" sampling]"))
    assert parsed.topics == ("escribano", "frame")
    assert parsed.well_formed is False


def test_an_answer_cut_off_earlier_lacks_the_later_fields():
    parsed = parse_answer("description: A browser with docs | activity: rea")
    assert parsed == ParsedAnswer("A browser with docs", "rea", None, None, well_formed=False)


def test_an_activity_outside_the_closed_list_is_kept_but_not_well_formed():
    parsed = parse_answer(LINE.replace("debugging", "Browsing"))
    assert (parsed.activity, parsed.well_formed) == ("browsing", False)


def test_of_several_words_the_one_of_the_closed_list_is_the_activity():
    assert parse_answer(LINE.replace("debugging", "code review")).activity == "review"


def test_a_json_object_gives_its_fields_but_is_not_the_line_that_was_asked_for():
    parsed = parse_answer(
        '```json\n{"description": "A call", "activity": "Meeting", "apps": ["Zoom"], "topics": null}\n```'
    )
    assert parsed == ParsedAnswer("A call", "meeting", ("Zoom",), None, well_formed=False)


def test_full_width_marks_are_read_too():
    parsed = parse_answer("description：看代码｜activity：coding｜apps：[微信]｜topics：[测试]")
    assert parsed == ParsedAnswer("看代码", "coding", ("微信",), ("测试",), well_formed=True)


@pytest.mark.parametrize(
    "text", ["The user reads the description of a page.", "1. VS Code\n2. Writing code", ""]
)
def test_free_text_has_no_fields(text):
    assert parse_answer(text) == ParsedAnswer(None, None, None, None, well_formed=False)
    assert comparable_text(text) == text


def test_what_is_compared_is_the_description_where_there_is_one():
    assert comparable_text(LINE) == PARSED.description


def test_an_answer_that_never_leaves_its_thinking_has_no_text():
    assert strip_thinking("<think>The screen shows description: x | activity: coding") == ""


BROKEN = [
    *(None, 3.5, float("nan"), b"description: x", "description:", "| | |", '{"description": 3}', "[]"),
    *("{" * 50_000, "[" * 50_000, "apps: " + '["' * 5_000, "description:" * 5_000, "\n-" * 20_000),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda value: repr(value)[:20])
def test_broken_answers_never_raise(broken):
    assert parse_answer(broken).well_formed is False


def test_names_stored_with_their_json_quotes_are_cleaned():
    assert tidy_names(['"VS  Code"', "'Slack'", " ", "None"]) == ("VS Code", "Slack")


def test_a_huge_answer_is_still_read():
    assert parse_answer("description: a" + "\n | - " * 20_000 + " | activity: coding").activity == "coding"

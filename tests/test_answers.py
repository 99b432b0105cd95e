"""Reading the app's one line, flags of health, and which cells are complete."""

import time

import pytest

from poc_lib.metrics import COLUMNS, ParsedAnswer, judge_answers, mark_complete, parse_answer, strip_thinking
from poc_lib.metrics.answers import is_looping
from poc_lib.records import Frame, Reference
from tests.rows import OLLAMA, rows_of

LINE = "description: Editing parser.py | activity: coding | apps: [VS Code, Terminal] | topics: [parsing]"
WHOLE = ParsedAnswer("Editing parser.py", "coding", ("VS Code", "Terminal"), ("parsing",), None, True)
NOTHING = ParsedAnswer(*[None] * 5, False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (LINE, WHOLE),
        (f"{LINE} | code: CH7K4M", WHOLE._replace(code="CH7K4M")),
        (f"```text\n{LINE}\n```", WHOLE),
        (f"<think>description: a trap | activity: other</think>\n{LINE}", WHOLE),
        (f"so the line is…</THINKING>{LINE}", WHOLE),
        (f"{LINE}<think>was that right?", WHOLE),
        (LINE.replace("description:", "**Description:**").replace("| activity:", "| **Activity**:"), WHOLE),
        (LINE.replace(" | ", "\n"), WHOLE),
        (f"Here is the line: {LINE}", WHOLE),
        (LINE.replace(" | ", "｜").replace(": ", "："), WHOLE),
        (LINE.replace("[VS Code, Terminal]", '["VS Code", "Terminal"]'), WHOLE),
        (LINE.replace("[VS Code, Terminal]", "VS Code, Terminal"), WHOLE),
        (LINE.replace("[VS Code, Terminal]", "\n- VS Code\n- Terminal"), WHOLE),
        (LINE.replace("[parsing]", "[a [b], c] etc."), WHOLE._replace(topics=("a [b]", "c"))),
        (LINE.replace("Editing parser.py", '"Editing parser.py"'), WHOLE),
        (LINE.replace("coding", "Coding (in Python)"), WHOLE),
        (f"{LINE}\n{LINE}\ndescription: Editing", WHOLE),
        (LINE.replace("parser.py", "a | b.py"), WHOLE._replace(description="Editing a | b.py")),
        (LINE.replace("[parsing]", "[none]"), WHOLE._replace(topics=())),
        (
            LINE.replace("[parsing]", "[parsing, read"),
            WHOLE._replace(topics=("parsing", "read"), well_formed=False),
        ),
        (LINE.replace("coding", "knitting"), WHOLE._replace(activity="knitting", well_formed=False)),
        (LINE.replace("activity: coding | ", ""), WHOLE._replace(activity=None, well_formed=False)),
        (
            '{"description": "Editing parser.py", "activity": "coding", "apps": ["VS Code", "Terminal"],'
            ' "topics": "parsing"}',
            WHOLE._replace(well_formed=False),
        ),
        ("An editor is open.", NOTHING),
        ("<think>description: never finished", NOTHING),
        ('{"description": 7}', NOTHING),
        ('{"a": ' * 50_000, NOTHING),
        (None, NOTHING),
        (float("nan"), NOTHING),
    ],
)
def test_what_can_be_read_of_an_answer_is_read(answer, expected):
    assert parse_answer(answer) == expected


@pytest.mark.parametrize(
    "piece", ["“", '"', "<think>", "</think>", "|description:", "\n* ", "[", "activity :", "`", "| apps: ["]
)
def test_endless_answers_are_read_in_linear_time(piece):
    began_s = time.process_time()
    for start in ("", "description: a | apps: ["):
        parse_answer(start + piece * (400_000 // len(piece)))
    assert time.process_time() - began_s < 60, "quadratic reading would take hours"


def test_thinking_is_no_part_of_an_answer_wherever_it_stands():
    assert strip_thinking("a<think>b</think>c<THINKING>d</THINKING>e<think>f") == "ace"
    assert strip_thinking("so…</Thinking>a") == "a"


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        (LINE, False),
        ("", False),
        ("the cat sat on the mat and the dog sat on the rug while it rained", False),
        ("He edits parser.py. " + "open the file and " * 20, True),
        ("ab" * 200, True),
    ],
)
def test_an_answer_that_says_the_same_again_and_again_loops(text, loops):
    assert is_looping(text) is loops


def test_the_answers_frame_has_its_columns_and_one_row_a_request_of_the_experiment_in_sending_order():
    rows = rows_of(
        {"start_s": 2.0}, {"phase": "warmup"}, {"phase": "canary"}, {"start_s": 1.0}, {"phase": "instrument"}
    )
    answers = judge_answers(rows, [], [])
    assert list(answers.columns) == list(COLUMNS)
    assert answers["request_id"].tolist() == ["r3", "r0"]
    assert all(unit is not None and meaning for unit, meaning in COLUMNS.values())


def test_a_failed_request_is_scored_with_nothing_and_flagged_with_nothing():
    reference = Reference("Editing parser.py", "coding", ("VS Code",), ("parsing",), None)
    frames = [Frame("f1", 0.0, None, reference=reference)]
    failure = {"error_class": "truncated", "finish_reason": "length", "text": LINE + " aa" * 200}
    rows = rows_of({"text": LINE}, {"text": LINE, "finish_reason": "length"}, failure)
    good, cut, failed = judge_answers(rows, frames, []).itertuples()
    assert [good.ref_ratio, good.activity_agrees] == [1.0, 1.0]
    assert (good.cut, cut.cut, failed.cut) == (False, True, False)
    assert failed.ref_ratio != failed.ref_ratio
    assert [good.well_formed, failed.well_formed, failed.looping] == [True, False, False]
    assert (failed.sign, failed.proof) == ("", "")


def events_of(*cells: dict) -> list[dict]:
    """A cell_started and, unless it was cut, a cell_ended event a cell."""
    events = [{"event": "sitting_started", "sitting": 0}]
    for cell in cells:
        plain = {"server": "vllm", "phase": "pilot", "concurrency": 1, "block": 0, "rate_per_s": None}
        plain |= {"sitting": 0, "requests": 2, "not_sent": 0, "ended": True} | cell
        events.append({**plain, "event": "cell_started"})
        events += [{**plain, "event": "cell_ended"}] if plain["ended"] else []
    return events


FIRST_EDITION = {"position": -1, "phase": "measure"}
BLOCK, FASTER = {"phase": "confirm"}, {"phase": "confirm", "concurrency": 8}
PAIR = [BLOCK, BLOCK, BLOCK | OLLAMA, BLOCK | OLLAMA]
AGAIN = [{"sitting": 1, "position": position} for position in (0, 1)]
UNITS = {
    "ended and all there": ([{}, {}], [{}], [True, True]),
    "cut": ([{}, {}], [{"ended": False}], [False, False]),
    "a reply was lost": ([{}], [{}], [False]),
    "no event of it": ([{}, {}], [], [False, False]),
    "given up after failures": ([{}], [{"not_sent": 1}], [True]),
    "measured again whole": ([{}, *AGAIN], [{"ended": False}, {"sitting": 1}], [False, True, True]),
    "of two whole attempts the last": ([{}, {}, *AGAIN], [{}, {"sitting": 1}], [False, False, True, True]),
    "a whole block": (PAIR, [BLOCK, BLOCK | OLLAMA], [True] * 4),
    "a block again at another level": (
        [*PAIR[:2], *(FASTER | again for again in AGAIN)],
        [BLOCK, FASTER | {"sitting": 1}],
        [False, False, True, True],
    ),
    "a block against recorded figures": (PAIR[:2], [BLOCK], [True] * 2),
    "a block whose baseline never came": ([*PAIR[:2], OLLAMA], [BLOCK, OLLAMA], [False] * 3),
    "a block cut in its second cell": (PAIR, [BLOCK, BLOCK | OLLAMA | {"ended": False}], [False] * 4),
    "a block measured in two sittings": (
        [*PAIR[:2], PAIR[2] | AGAIN[0], PAIR[3] | AGAIN[1]],
        [BLOCK, PAIR[2] | {"sitting": 1}],
        [False] * 4,
    ),
    "first edition, one sitting": ([FIRST_EDITION] * 2, [], [True, True]),
    "first edition, interrupted": ([FIRST_EDITION, FIRST_EDITION | {"sitting": 1}], [], [False, False]),
}


@pytest.mark.parametrize(("rows", "cells", "complete"), UNITS.values(), ids=UNITS)
def test_a_row_is_complete_where_its_unit_came_whole_in_one_sitting(rows, cells, complete):
    rows = [{"position": i % 2} | row for i, row in enumerate(rows)]
    assert mark_complete(rows_of(*rows), events_of(*cells))["complete"].tolist() == complete


def test_cells_of_an_open_loop_are_told_apart_by_their_rates():
    slow, fast = ({"phase": "open_loop", "rate_per_s": rate} for rate in (1.0, 2.0))
    rows = rows_of(slow, fast | {"position": 0})
    marked = mark_complete(rows, events_of(slow | {"requests": 1}, fast | {"ended": False}))
    assert marked["complete"].tolist() == [True, False]


def test_without_its_started_event_a_cell_is_whole_if_its_positions_have_no_gap():
    ended = [event for event in events_of({}) if event["event"] == "cell_ended"]
    assert mark_complete(rows_of({}, {}), ended)["complete"].all()
    assert not mark_complete(rows_of({}, {"position": 2}), ended)["complete"].any()

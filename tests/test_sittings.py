from dataclasses import replace

import pandas as pd
import pytest

from poc_lib.records import Reply
from poc_lib.sittings import (
    clock_jumps,
    describe_gap,
    interrupted_cells,
    interruption_lines,
    summarize_sittings,
)
from tests.builders import reply, table

CELL = {
    **{"server": "vllm-mlx", "role": "candidate", "concurrency": 4, "block": 1, "phase": "measure"},
    **{"arrivals": "closed", "rate_per_s": None},
}


def at(clock: str, seconds_in: float, **changes) -> Reply:
    """A reply that was sent at a time of day, so many seconds into its sitting."""
    changes = {"concurrency": 4, "block": 1} | changes
    return reply(sent_at=f"2026-11-22T{clock}.000+00:00", start_s=seconds_in, **changes)


def event(name: str, clock: str, sitting: int, **facts) -> dict:
    return {"event": name, "at": f"2026-11-22T{clock}+00:00", "sitting": sitting, **facts}


BROKEN_OFF = [
    event("sitting_started", "10:00:00", 0, requests=8),
    event("cell_started", "10:00:00", 0, **CELL | {"block": 0}),
    event("cell_ended", "10:00:30", 0, **CELL | {"block": 0}),
    event("cell_started", "10:00:30", 0, **CELL),
]
WENT_ON = [
    event("sitting_started", "10:05:00", 1, requests=5),
    event("cell_started", "10:05:00", 1, **CELL),
    event("cell_ended", "10:05:20", 1, **CELL),
    event("sitting_ended", "10:05:20", 1),
]
REPLIES = [
    at("10:00:01", 1.0, block=0, frame_id="f1"),
    at("10:00:04", 4.0, block=0, frame_id="f2"),
    at("10:00:58", 58.0, frame_id="f1"),
    at("10:05:02", 2.0, frame_id="f2", sitting=1),
    at("10:05:01", 1.0, frame_id="f9", sitting=1, phase="warmup"),
]


def test_each_sitting_is_a_row_with_its_end_and_the_pause_after_it():
    sittings = summarize_sittings(table(REPLIES), BROKEN_OFF + WENT_ON)
    assert sittings["sitting"].tolist() == [0, 1]
    assert sittings["ended"].tolist() == [False, True]
    assert sittings["broke_off_in"].tolist() == ["vllm-mlx, 4 in flight, block 2", None]
    assert sittings["n_replies"].tolist() == [3, 1]
    assert sittings["n_on_file"].tolist() == [3, 4]
    assert sittings["n_planned"].tolist() == [8, 8]
    assert sittings["gap_s"].tolist()[0] == 240.0  # from the last reply, 10:00:58 + 2 s, to 10:05:00
    assert pd.isna(sittings["gap_s"].iloc[1])


def test_an_interruption_is_one_sentence():
    assert interruption_lines(table(REPLIES), BROKEN_OFF + WENT_ON) == [
        "Interrupted after 3 of 8 requests (in vllm-mlx, 4 in flight, block 2); went on 4 min later; that "
        "cell was measured in two sittings and is marked."
    ]


def test_a_quiet_run_has_nothing_to_say():
    quiet = [event("sitting_started", "10:00:00", 0, requests=2), event("sitting_ended", "10:01:00", 0)]
    assert interruption_lines(table(REPLIES[:2]), quiet) == []


def test_a_stop_says_by_what_and_that_it_was_not_continued():
    stopped = event("sitting_stopped", "10:01:00", 0, because="Ctrl-C")
    (line,) = interruption_lines(table(REPLIES[:3]), [*BROKEN_OFF, stopped])
    assert line == (
        "Interrupted by Ctrl-C after 3 of 8 requests (in vllm-mlx, 4 in flight, block 2); not continued."
    )


def test_where_a_crash_lost_the_events_the_last_reply_says_the_cell():
    sittings = summarize_sittings(table(REPLIES), WENT_ON)
    assert sittings["broke_off_in"].tolist() == ["vllm-mlx, 4 in flight, block 2", None]
    assert sittings["n_planned"].tolist() == [8, 8]


def test_between_two_cells_no_cell_broke_off():
    assert summarize_sittings(table(REPLIES[:2]), BROKEN_OFF[:3])["broke_off_in"].tolist() == [None]


def test_only_a_cell_with_replies_of_two_sittings_is_interrupted():
    marked = interrupted_cells(table(REPLIES))
    assert marked["cell"].tolist() == ["vllm-mlx, 4 in flight, block 2"]
    assert marked["sittings"].tolist() == [(0, 1)]
    assert marked["n_requests"].tolist() == [2]
    assert interrupted_cells(table(REPLIES[:3])).empty


def test_two_rates_of_an_open_loop_are_two_cells():
    rows = [
        at("10:00:01", 1.0, phase="open_loop", arrivals="poisson", rate_per_s=rate, sitting=sitting)
        for sitting, rate in enumerate((0.5, 1.0))
    ]
    assert interrupted_cells(table(rows)).empty
    same = [rows[0], replace(rows[1], rate_per_s=0.5)]
    assert interrupted_cells(table(same))["rate_per_s"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("clock", "jump_s", "words"),
    [
        (
            "10:12:03",
            720.0,
            "The computer slept, or its clock was set forward, for 12 min during vllm-mlx, 4",
        ),
        (
            "09:59:33",
            -30.0,
            "The computer's clock was set back by 30 s during vllm-mlx, 4 in flight, block 2",
        ),
    ],
)
def test_a_closed_laptop_is_found_where_the_clocks_part(clock, jump_s, words):
    rows = table([at("10:00:01", 1.0), at("10:00:02", 2.0), at(clock, 3.0), at(clock, 3.4)])
    jumps = clock_jumps(rows)
    assert jumps["jump_s"].tolist() == [jump_s]
    assert jumps["start_s"].tolist() == [3.0]
    (line,) = interruption_lines(rows, [event("sitting_ended", "10:30:00", 0)])
    assert line.startswith(words)


def test_clocks_that_part_by_less_than_five_seconds_are_no_sleep():
    assert clock_jumps(table([at("10:00:01", 1.0), at("10:00:06", 2.0)])).empty


def test_damage_is_told():
    quiet = [event("sitting_ended", "10:01:00", 0)]
    lines = interruption_lines(table(REPLIES[:2]), quiet, n_broken=1, n_doubled=2, n_sent_again=3)
    assert lines[0].startswith("1 half-written line was set aside")
    assert lines[1].startswith("2 replies were left out, to requests that have one")
    assert lines[2].startswith("3 failures were sent again later")


def test_many_interruptions_are_summed_up():
    events = [event("sitting_started", f"10:{n:02}:00", n, requests=8) for n in range(9)]
    assert interruption_lines(table(REPLIES[:1]), events)[-1] == "And so 3 times more."


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1, "0 s"), (40, "40 s"), (200, "3 min"), (18_000, "5 h"), (200_000, "2 days")]
)
def test_a_pause_is_told_roughly(seconds, words):
    assert describe_gap(seconds) == words

import math

import numpy as np
import pytest

from poc_lib.phases import find_tail, summarize_tail
from tests.builders import failed, reply, table


def spans(*times, **changes):
    """One reply a (from, to), at 2 in flight."""
    values = {"concurrency": 2} | changes
    return [
        reply(
            f"f{i}",
            start_s=start,
            total_s=end - start,
            ttft_s=(end - start) / 2,
            arrivals_s=[(end - start) / 2, end - start],
            **values,
        )
        for i, (start, end) in enumerate(times)
    ]


FULL = spans((0, 4), (0, 4), (4, 8), (4, 8))
LONG_LAST = spans((0, 4), (0, 4), (4, 6), (4, 14))  # after 6 s, only one of two slots is busy


def one(replies, **options):
    rows = summarize_tail(table(replies), **options)
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_tail_begins_when_a_slot_finds_nothing_left():
    assert find_tail(np.array([0.0, 0.0, 4.0]), np.array([4.0, 9.0, 8.0]), 2) == 8.0
    assert find_tail(np.array([0.0, 0.0, 4.0]), np.array([4.0, 4.0, 8.0]), 2) == 4.0


def test_a_loop_whose_slots_end_together_has_no_tail():
    row = one(FULL)
    assert (row["tail_s"], row["tail_share"], row["in_flight_before"]) == (0.0, 0.0, 2.0)
    assert row["frames_per_s"] == row["frames_per_s_without_tail"] == 0.5
    assert math.isnan(row["in_flight_tail"])
    assert row["note"] is None


def test_a_straggler_makes_a_tail():
    row = one(LONG_LAST)
    assert (row["wall_s"], row["tail_s"]) == (14.0, 8.0)
    assert row["tail_share"] == pytest.approx(8 / 14)
    assert (row["in_flight_before"], row["in_flight_tail"]) == (2.0, 1.0)
    assert row["frames_per_s"] == pytest.approx(4 / 14)
    assert row["frames_per_s_without_tail"] == 0.5  # 3 answers in 6 s, the fourth had no chunk yet


def test_an_answer_under_way_counts_by_its_chunks():
    replies = spans((0, 4), (0, 4), (4, 6))
    under_way = spans((0, 0), (0, 0), (0, 0), (4, 14))[3]
    under_way.arrivals_s = [1.0, 2.0, 9.0, 10.0]
    assert one([*replies, under_way])["frames_per_s_without_tail"] == pytest.approx(3.5 / 6)


def test_waiting_in_a_queue_is_no_work():
    # a serial server, 2 s a frame, with 2 in flight
    replies = spans((0, 2), (0, 4), (2, 6), (4, 8))
    for r in replies:
        r.arrivals_s = [r.total_s - 1, r.total_s]
    row = one(replies)
    assert row["tail_s"] == 2.0
    assert row["frames_per_s_without_tail"] == 0.5


def test_fewer_frames_than_slots_are_tail_from_the_last_one_sent():
    row = one(spans((0, 4), (0.5, 4), concurrency=8))
    assert row["tail_s"] == 3.5
    assert math.isnan(row["frames_per_s_without_tail"])
    assert math.isnan(row["in_flight_before"])
    assert "2 frames are a small sample for 8 in flight" in row["note"]


def test_a_long_tail_says_how_many_frames_would_do():
    note = one(LONG_LAST)["note"]
    assert note.startswith("the tail is 57% of the wall clock: 4 frames")
    assert "about 12 would bring it to 20%" in note


def test_blocks_have_rows_of_their_own_and_are_summed_for_the_level():
    second = spans((0, 4), (0, 4), (4, 6), (4, 14), block=1)
    replies = [*FULL, *second]
    blocks = summarize_tail(table(replies), per_block=True)
    assert blocks["block"].tolist() == [0, 1]
    assert blocks["tail_s"].tolist() == [0.0, 8.0]
    row = one(replies)
    assert (row["wall_s"], row["tail_s"], row["n_requests"]) == (22.0, 8.0, 8)
    assert "4 frames" in row["note"]
    assert row["in_flight_tail"] == 1.0


def test_only_the_last_sitting_ends_in_a_tail():
    first = spans((0, 4), (0, 9))
    later = [
        reply(f"g{i}", concurrency=2, sitting=1, start_s=s, total_s=4.0) for i, s in enumerate((0.0, 0.0))
    ]
    row = one([*first, *later])
    assert (row["wall_s"], row["tail_s"]) == (13.0, 0.0)


def test_failures_fill_slots_but_are_no_work():
    replies = [*FULL[:3], failed("x", concurrency=2, start_s=4.0, total_s=4.0)]
    row = one(replies)
    assert row["tail_s"] == 0.0
    assert row["frames_per_s_without_tail"] == pytest.approx(3 / 8)


def test_other_phases_are_left_out():
    assert summarize_tail(table([reply(phase="open_loop")])).empty

import asyncio
from dataclasses import replace

import pytest

import poc_lib.benchmark
from poc_lib.benchmark import (
    Progress,
    remaining_requests,
    run_cell,
    warmup_cell,
)
from poc_lib.records import Cell
from poc_lib.servers import request_id
from tests.builders import (
    OK_HEAD,
    OPENAI_ANSWER,
    failed,
    frames_of_one_image,
    http_response,
    load_for,
    raw_server,
    reply,
    spec,
)

CELL = Cell("vllm-mlx", "candidate", 4, 0)
NOTHING_YET = Progress("", 0, 12, 0, 0.0, 0.0, None)
FRAME_IDS = [f"f{number}" for number in range(12)]


@pytest.fixture
def frames(tmp_path):
    return frames_of_one_image(tmp_path, FRAME_IDS)


async def sweep(answer, frames, cell=CELL, hold=None, **changes):
    """Run one cell against a server of raw bytes: the outcome, the replies and what the server saw."""
    replies = []
    async with raw_server(answer, hold) as server:
        load = load_for(server.base_url, frames, **({"on_reply": replies.append} | changes))
        outcome = await run_cell(load, cell, FRAME_IDS, NOTHING_YET)
    return outcome, replies, server


def hold_until_in_flight(n):
    """Answer nobody before n requests are in flight together, once."""
    full = asyncio.Event()

    async def hold(server):
        if server.n_in_flight >= n:
            full.set()
        await asyncio.wait_for(full.wait(), 10)

    return hold


@pytest.mark.parametrize("level", [1, 4, 12])
async def test_the_level_is_what_the_server_has_in_flight(level, frames):
    cell = replace(CELL, concurrency=level)
    hold = hold_until_in_flight(level)
    outcome, replies, server = await sweep([OK_HEAD, OPENAI_ANSWER], frames, cell, hold)
    assert server.max_in_flight == level
    assert max(reply.in_flight for reply in replies) == level
    assert {reply.slot for reply in replies} == set(range(level))
    assert outcome == poc_lib.benchmark.CellOutcome(cell, 12, 0, 0, None)


async def test_a_level_above_the_number_of_frames_sends_each_once(frames):
    outcome, replies, _ = await sweep([OK_HEAD, OPENAI_ANSWER], frames, replace(CELL, concurrency=64))
    assert sorted(reply.frame_id for reply in replies) == sorted(FRAME_IDS)
    assert outcome.n_sent == 12


async def test_every_frame_is_sent_exactly_once_and_says_where_it_belongs(frames):
    _, replies, server = await sweep([OK_HEAD, OPENAI_ANSWER], frames)
    assert sorted(reply.frame_id for reply in replies) == sorted(FRAME_IDS)
    assert len(server.requests) == 12
    assert {(reply.sitting, reply.simulated, reply.concurrency) for reply in replies} == {(3, True, 4)}
    assert all(reply.start_s >= 0 for reply in replies)


async def test_the_next_request_waits_for_the_slots_own_reply(frames):
    one_by_one = replace(CELL, concurrency=1)
    _, replies, server = await sweep([OK_HEAD, OPENAI_ANSWER], frames, one_by_one)
    assert server.max_in_flight == 1
    assert [reply.frame_id for reply in replies] == FRAME_IDS
    ends = [reply.start_s + reply.total_s for reply in replies]
    assert all(end <= later.start_s for end, later in zip(ends, replies[1:], strict=False))


async def test_failures_in_a_row_end_the_cell_and_say_why(frames):
    one_by_one = replace(CELL, concurrency=1)
    outcome, replies, server = await sweep([http_response(503, b'{"error": "busy"}')], frames, one_by_one)
    assert (outcome.n_sent, outcome.n_failed, outcome.n_not_sent) == (3, 3, 9)
    assert outcome.stopped_because == "3 failures in a row: busy, HTTP 503: busy"
    assert (len(replies), len(server.requests)) == (3, 3)


async def test_failures_between_answers_do_not_end_the_cell(frames):
    n_asked = iter(range(100))

    def two_of_three_fail(request):
        return [OK_HEAD, OPENAI_ANSWER] if next(n_asked) % 3 == 2 else [http_response(500, b"{}")]

    outcome, _, _ = await sweep(two_of_three_fail, frames, replace(CELL, concurrency=1))
    assert (outcome.n_sent, outcome.n_failed, outcome.stopped_because) == (12, 8, None)


async def test_a_late_answer_does_not_start_a_stopped_cell_again(frames):
    """One slot's first request is answered only after the other slot has failed three times."""
    replies, three_failed = [], asyncio.Event()
    first = []

    def keep(reply):
        replies.append(reply)
        if len(replies) == 3:
            three_failed.set()

    async def hold_the_first(server):
        if len(server.requests) == 1:
            first.append(server.requests[0])
            await asyncio.wait_for(three_failed.wait(), 10)

    def first_is_fine(request):
        return [OK_HEAD, OPENAI_ANSWER] if request is first[0] else [http_response(503, b"{}")]

    async with raw_server(first_is_fine, hold_the_first) as server:
        load = load_for(server.base_url, frames, on_reply=keep)
        outcome = await run_cell(load, replace(CELL, concurrency=2), FRAME_IDS, NOTHING_YET)
    assert [reply.error_class for reply in replies] == ["busy", "busy", "busy", None]
    assert (outcome.n_sent, outcome.n_failed, outcome.n_not_sent) == (4, 3, 8)
    assert outcome.stopped_because.startswith("3 failures in a row: busy")


async def test_a_cell_whose_last_frames_fail_was_not_stopped(frames):
    outcome, _, _ = await sweep(
        [http_response(503, b"{}")], frames, replace(CELL, concurrency=1), stop_after_failures=12
    )
    assert (outcome.n_failed, outcome.n_not_sent, outcome.stopped_because) == (12, 0, None)


async def test_a_cancelled_cell_leaves_only_whole_replies(frames):
    replies, enough = [], asyncio.Event()

    def keep(reply):
        replies.append(reply)
        if len(replies) == 5:
            enough.set()

    async def hold_the_later_ones(server):
        if len(server.requests) > 5:
            await asyncio.sleep(60)

    async with raw_server([OK_HEAD, OPENAI_ANSWER], hold_the_later_ones) as server:
        load = load_for(server.base_url, frames, on_reply=keep)
        running = asyncio.create_task(run_cell(load, CELL, FRAME_IDS, NOTHING_YET))
        await asyncio.wait_for(enough.wait(), 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(replies) == 5
    assert all(reply.error_class is None and reply.text for reply in replies)


async def test_progress_goes_on_from_the_cells_before(frames):
    shown = []
    before = Progress("", 20, 40, 2, 0.0, 0.0, None)
    async with raw_server([OK_HEAD, OPENAI_ANSWER]) as server:
        load = load_for(server.base_url, frames, on_progress=shown.append)
        await run_cell(load, CELL, FRAME_IDS, before)
    assert [progress.done for progress in shown] == list(range(21, 33))
    assert {(progress.total, progress.failed, progress.doing) for progress in shown} == {
        (40, 2, "vllm-mlx, 4 in flight, block 1")
    }
    assert all(progress.left_s >= 0 for progress in shown)


async def test_a_wrong_row_writer_is_not_taken_for_a_failed_request(frames):
    def full_disk(reply):
        raise OSError(28, "No space left on device")

    with pytest.raises(ExceptionGroup) as stopped:
        await sweep([OK_HEAD, OPENAI_ANSWER], frames, on_reply=full_disk)
    assert stopped.group_contains(OSError)


def test_the_warm_up_is_apart_from_what_is_measured():
    warm = warmup_cell(spec("http://v"), concurrency=4, sitting=2)
    assert (warm.phase, warm.concurrency) == ("warmup", 4)
    assert request_id(warm, "f1") == "vllm-mlx/warmup/c4/b2/f1"


def test_only_frames_without_a_reply_on_file_remain():
    done = {reply("f0", concurrency=4).request_id, failed("f3", concurrency=4).request_id}
    assert remaining_requests(CELL, FRAME_IDS[:5], done) == ["f1", "f2", "f4"]
    assert remaining_requests(replace(CELL, block=1), FRAME_IDS[:2], done) == ["f0", "f1"]

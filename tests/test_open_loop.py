"""Sending at fixed moments, over real connections to a server of raw bytes."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from poc_lib.arrivals import plan_arrivals
from poc_lib.benchmark import CellOutcome, Progress
from poc_lib.open_loop import run_open_cell
from poc_lib.records import Cell
from poc_lib.servers import request_id
from tests.builders import (
    OK_HEAD,
    OPENAI_ANSWER,
    frames_of_one_image,
    http_response,
    load_for,
    raw_server,
)

CELL = Cell("vllm-mlx", "candidate", 64, 0, "open_loop", "constant", 500.0)
FRAME_IDS = [f"f{number}" for number in range(12)]
NOTHING_YET = Progress("", 0, 12, 0, 0.0, 0.0, None)
ANSWER = [OK_HEAD, OPENAI_ANSWER]
BUSY = [http_response(503, b'{"error": "busy"}')]
SERVED_IN_S = 0.03


@pytest.fixture
def frames(tmp_path):
    return frames_of_one_image(tmp_path, FRAME_IDS)


async def sweep(answer, frames, cell=CELL, hold=None, **changes):
    """Run one cell against a server of raw bytes: the outcome, the replies and what the server saw."""
    replies = []
    async with raw_server(answer, hold) as server:
        load = load_for(server.base_url, frames, **({"on_reply": replies.append} | changes))
        outcome = await run_open_cell(load, cell, FRAME_IDS, NOTHING_YET, seed=5)
    return outcome, sorted(replies, key=lambda reply: reply.due_s), server


def hold_until_in_flight(n):
    """Answer nobody before n requests are in flight together, once."""
    full = asyncio.Event()

    async def hold(server):
        if server.n_in_flight >= n:
            full.set()
        await asyncio.wait_for(full.wait(), 10)

    return hold


async def serve_slowly(server):
    await asyncio.sleep(SERVED_IN_S)


async def test_requests_are_sent_while_the_server_answers_none(frames):
    outcome, replies, server = await sweep(ANSWER, frames, hold=hold_until_in_flight(12))
    assert server.max_in_flight == 12
    assert [reply.in_flight for reply in replies] == list(range(1, 13))
    assert outcome == CellOutcome(CELL, 12, 0, 0, None)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
async def test_the_intended_moments_are_the_planned_ones_however_slow_the_server_is(arrivals, frames):
    cell = replace(CELL, arrivals=arrivals, concurrency=1)
    _, replies, _ = await sweep(ANSWER, frames, cell, serve_slowly)
    planned = plan_arrivals(12, 500.0, arrivals, seed=5)
    first_s = replies[0].due_s
    assert [reply.due_s - first_s for reply in replies] == pytest.approx(
        [moment - planned[0] for moment in planned], abs=1e-6
    )
    assert [reply.frame_id for reply in replies] == FRAME_IDS


async def test_another_block_draws_other_moments(frames):
    cell = replace(CELL, arrivals="poisson", block=2)
    _, replies, _ = await sweep(ANSWER, frames, cell)
    planned = plan_arrivals(12, 500.0, "poisson", seed=5 + 2)
    assert replies[4].due_s - replies[0].due_s == pytest.approx(planned[4] - planned[0], abs=1e-6)


async def test_nothing_is_sent_before_it_is_due(frames):
    _, replies, _ = await sweep(ANSWER, frames)
    assert all(reply.start_s >= reply.due_s for reply in replies)
    assert all(earlier.start_s < later.start_s for earlier, later in pairwise(replies))


async def test_a_request_that_waits_for_a_free_connection_keeps_the_moment_it_was_due(frames):
    """Due every 2 ms, served in 30 ms each, one at a time: the backlog is in the wait, not in the service."""
    cell = replace(CELL, concurrency=1)
    _, replies, server = await sweep(ANSWER, frames, cell, serve_slowly)
    assert server.max_in_flight == 1
    waits_s = [reply.start_s - reply.due_s for reply in replies]
    assert all(
        wait_s >= served_before * (SERVED_IN_S - 0.002) for served_before, wait_s in enumerate(waits_s)
    )
    assert max(reply.total_s for reply in replies) < max(waits_s)


async def test_who_waited_for_a_connection_was_sent_with_all_of_them_taken(frames):
    """Answers come in waves of four, so several connections are freed at once."""
    wave = []

    async def hold(server):
        wave.append(asyncio.Event())
        if len(wave) % 4 == 0:
            for event in wave:
                event.set()
        await asyncio.wait_for(wave[-1].wait() if len(wave) % 4 else asyncio.sleep(0), 10)

    cell = replace(CELL, concurrency=4, rate_per_s=1e6)
    _, replies, server = await sweep(ANSWER, frames, cell, hold)
    assert server.max_in_flight == 4
    assert [reply.in_flight for reply in replies[:3]] == [1, 2, 3]
    assert {reply.in_flight for reply in replies[3:]} == {4}


async def test_a_connection_is_used_again_before_another_one_is_opened(frames):
    replies = []
    async with raw_server([http_response(200, OPENAI_ANSWER)]) as server:
        load = load_for(server.base_url, frames, on_reply=replies.append)
        await run_open_cell(load, replace(CELL, rate_per_s=4.0), FRAME_IDS[:3], NOTHING_YET, 5)
    assert [reply.slot for reply in replies] == [0, 0, 0]
    assert server.n_connections == 1


async def test_the_reply_says_which_load_it_belongs_to(frames):
    cell = replace(CELL, arrivals="poisson")
    _, replies, server = await sweep(ANSWER, frames, cell)
    told = {(reply.phase, reply.arrivals, reply.rate_per_s, reply.sitting) for reply in replies}
    assert told == {("open_loop", "poisson", 500.0, 3)}
    assert replies[0].request_id == "vllm-mlx/open_loop/poisson-500/c64/b0/f0"
    assert len(server.requests) == 12


def test_ids_tell_every_load_of_a_frame_apart_and_closed_cells_keep_theirs():
    closed = Cell("vllm-mlx", "candidate", 64, 0)
    cells = [closed, replace(closed, block=1), replace(closed, phase="open_loop")]
    rates = [0.5, 0.50000001, 1 / 3, 1.0, 10.0]
    cells += [
        replace(CELL, arrivals=kind, rate_per_s=rate) for kind in ("poisson", "constant") for rate in rates
    ]
    assert len({request_id(cell, "f1") for cell in cells}) == len(cells)
    assert request_id(closed, "f1") == "vllm-mlx/measure/c64/b0/f1"
    poisson = replace(CELL, arrivals="poisson", rate_per_s=0.5)
    assert request_id(poisson, "f1") == "vllm-mlx/open_loop/poisson-0.5/c64/b0/f1"


async def test_a_server_that_refuses_ends_the_cell_although_the_next_request_is_due_much_later(frames):
    """The first is refused; the second would be due in an hour."""
    cell = replace(CELL, rate_per_s=1 / 3600)
    async with raw_server(BUSY) as server:
        load = load_for(server.base_url, frames, stop_after_failures=1)
        outcome = await asyncio.wait_for(run_open_cell(load, cell, FRAME_IDS, NOTHING_YET, 5), 20)
    assert (outcome.n_sent, outcome.n_failed, outcome.n_not_sent) == (1, 1, 11)
    assert outcome.stopped_because == "1 failures in a row: busy, HTTP 503: busy"


async def test_a_server_that_refuses_gets_none_of_the_requests_that_wait(frames):
    cell = replace(CELL, concurrency=1, rate_per_s=1e6)
    outcome, replies, server = await sweep(BUSY, frames, cell, serve_slowly)
    assert (outcome.n_sent, outcome.n_failed, outcome.n_not_sent) == (3, 3, 9)
    assert (len(replies), len(server.requests)) == (3, 3)
    assert outcome.stopped_because == "3 failures in a row: busy, HTTP 503: busy"


async def test_a_dead_server_ends_the_cell(frames):
    async with raw_server([]) as server:
        pass
    replies = []
    load = load_for(server.base_url, frames, on_reply=replies.append)
    outcome = await run_open_cell(load, replace(CELL, concurrency=1), FRAME_IDS, NOTHING_YET, 5)
    assert {reply.error_class for reply in replies} == {"connect"}
    assert (outcome.n_failed, outcome.n_not_sent) == (3, 9)


async def test_a_cancelled_cell_leaves_only_whole_replies(frames):
    replies, enough = [], asyncio.Event()

    def keep(reply):
        replies.append(reply)
        if len(replies) == 5:
            enough.set()

    async def hold_the_later_ones(server):
        if len(server.requests) > 5:
            await asyncio.sleep(60)

    async with raw_server(ANSWER, hold_the_later_ones) as server:
        load = load_for(server.base_url, frames, on_reply=keep)
        running = asyncio.create_task(run_open_cell(load, CELL, FRAME_IDS, NOTHING_YET, 5))
        await asyncio.wait_for(enough.wait(), 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert len(replies) == 5
    assert all(reply.error_class is None and reply.text for reply in replies)


async def test_a_cell_can_be_cancelled_while_it_waits_for_the_next_moment(frames):
    cell, first = replace(CELL, rate_per_s=1 / 3600), asyncio.Event()
    async with raw_server(ANSWER) as server:
        load = load_for(server.base_url, frames, on_reply=lambda reply: first.set())
        running = asyncio.create_task(run_open_cell(load, cell, FRAME_IDS, NOTHING_YET, 5))
        await asyncio.wait_for(first.wait(), 10)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 10)


async def test_progress_goes_on_from_the_cells_before(frames):
    shown = []
    before = Progress("", 20, 40, 2, 0.0, 0.0, None)
    async with raw_server(ANSWER) as server:
        load = load_for(server.base_url, frames, on_progress=shown.append)
        await run_open_cell(load, CELL, FRAME_IDS, before, seed=5)
    assert [progress.done for progress in shown] == list(range(21, 33))
    assert {(progress.total, progress.failed) for progress in shown} == {(40, 2)}


async def test_a_wrong_row_writer_is_not_taken_for_a_failed_request(frames):
    def full_disk(reply):
        raise OSError(28, "No space left on device")

    with pytest.raises(ExceptionGroup) as stopped:
        await sweep(ANSWER, frames, on_reply=full_disk)
    assert stopped.group_contains(OSError, match="No space left")

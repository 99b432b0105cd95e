"""One cell's slots spread over three processes, of which one is killed in mid-cell."""

import asyncio
import os
import signal
import time
from collections import Counter
from functools import partial

import psutil
import pytest

from poc_lib.client import ChatSettings, PreparedRequest
from poc_lib.measure import experiment
from poc_lib.measure.instrument import calibrate, paced_server
from poc_lib.measure.loop import Load
from poc_lib.measure.spread import open_workers, run_spread
from poc_lib.params import validate_params
from poc_lib.records import Cell, SetupProblem
from poc_lib.runs import append_event, read_damage, read_events, read_requests
from tests.demo_kit import demo
from tests.lean import LEAN

SETTINGS = ChatSettings("", 0, 64, 60, 120)
CELL = Cell("s", "candidate", 6, 0, "confirm")


@pytest.fixture(scope="module")
def workers():
    with open_workers(3) as client:
        yield client


def send(client, replies: list, n: int = 48):
    """A cell of six slots against a paced server, from all workers of the client."""
    start_ns = time.perf_counter_ns()
    with paced_server() as url:
        headers = {"content-type": "application/json"}

        def make(position: int) -> PreparedRequest:
            return PreparedRequest(
                f"r{position:03d}", "f", "openai", f"{url}/chat/completions", b"{}", headers
            )

        load = Load(SETTINGS, 0, True, start_ns, lambda reply, state: replies.append(reply))
        return asyncio.run(run_spread(client, load, CELL, n, make))


def test_three_processes_send_one_cell_as_one_loop_would(workers):
    replies = []
    state = send(workers, replies)
    assert [reply.error_class for reply in replies] == [None] * 48
    assert sorted(reply.position for reply in replies) == list(range(48))
    assert all(reply.request_id == f"r{reply.position:03d}" for reply in replies)
    assert Counter(reply.slot for reply in replies) == dict.fromkeys(range(6), 8)
    assert {reply.concurrency for reply in replies} == {6}
    assert max(reply.in_flight for reply in replies) == 6
    assert (state.n_sent, state.n_done, state.n_failed, state.stopped_because) == (48, 48, 0, None)
    ends_s = [reply.start_s + reply.total_s for reply in replies]
    assert ends_s == sorted(ends_s)
    first_s = [min(reply.start_s for reply in replies if reply.slot == slot) for slot in range(6)]
    assert max(first_s) - min(first_s) < 1  # all six began together


def test_a_worker_killed_in_mid_cell_is_told_in_one_line_and_the_cell_can_be_sent_again(workers):
    def kill_one() -> None:
        os.kill(next(iter(workers.run(os.getpid).values())), signal.SIGKILL)

    async def send_and_kill() -> None:
        sending = asyncio.create_task(asyncio.to_thread(send, workers, [], 240))
        await asyncio.sleep(2)
        await asyncio.to_thread(kill_one)
        await sending

    with pytest.raises(SetupProblem, match="a worker process was lost in mid-block: the same command"):
        asyncio.run(send_and_kill())
    workers.wait_for_workers(3, timeout=30)
    replies = []
    send(workers, replies)
    assert len(replies) == 48


async def test_the_tool_is_calibrated_with_all_processes_too(workers):
    replies = []
    with paced_server() as url:
        load = Load(SETTINGS, 0, True, time.perf_counter_ns(), lambda reply, state: replies.append(reply))
        [row] = await calibrate(load, url, [3], b"{}", partial(run_spread, workers))
    assert row["n"] == 13
    assert 0 < row["added_ttft_p50_s"] < 1
    assert len(replies) == 16


def spawned() -> set[int]:
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if "spawn_main" in " ".join(child.cmdline())}


async def test_where_one_loop_adds_too_much_the_confirmation_is_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "PROCESSES", 3)
    before = spawned()
    where = {"outputs_dir": str(tmp_path), "run_id": "spread", "database": str(demo().database)}
    session = await experiment.open_session(validate_params(LEAN | where | {"baseline_concurrency": [1]}))
    try:
        levels = await experiment.run_pilot(session)
        late = {"concurrency": 8, "added_ttft_p50_s": 10.0, "sitting": 0}  # as if one loop were that late
        append_event(session.run, "instrument", **late)
        blocks = await experiment.run_confirmation(session)
    finally:
        experiment.close_session(session)
    events = read_events(session.run)
    [spread] = [event for event in events if event.get("processes")]
    assert (spread["concurrency"], spread["processes"]) == (8, 3)
    assert spread["added_ttft_p50_s"] < 10
    assert levels["n_failed"].sum() == 0
    assert blocks["n_common"].tolist() == [8, 8]
    assert read_damage(session.run).n_doubled == 0
    requests = read_requests(session.run)
    assert set(requests.loc[requests["phase"] == "confirm", "slot"]) == set(range(8))
    assert spawned() == before

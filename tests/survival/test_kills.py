"""kill -9 at any moment: the same run goes on, and in the end each request was answered exactly once."""

import random
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from poc_lib.analysis import analyse_run
from poc_lib.metrics import summarize_speed
from poc_lib.params import Params
from poc_lib.runs import read_damage, read_events, read_replies, read_run, requests_table
from poc_lib.servers import request_id
from poc_lib.sittings import interrupted_cells, interruption_lines, summarize_sittings
from tests.survival.children import LEAN, measuring_child, wait_for, whole_lines
from tests.sweeps import quick_params, run_sweep

SEED = 7


def moments(seed: int) -> list[tuple]:
    """When to kill: seconds after the start, replies after the start and a moment more, or a half-write."""
    draw = random.Random(seed)
    start_up = [("seconds", draw.uniform(0.0, 0.5)) for _ in range(6)]
    early = [("half", "frames.jsonl", 1, 0.5), ("half", "run.json", 1, 0.9), ("half", "events.jsonl", 1, 0.3)]
    half_rows = [("half", "requests.jsonl", draw.randint(1, 3), draw.random()) for _ in range(5)]
    half_events = [("half", "events.jsonl", draw.randint(2, 3), draw.random()) for _ in range(2)]
    measuring = [("replies", draw.randint(1, 4), draw.uniform(0.0, 0.03)) for _ in range(10)]
    later = [*start_up, *half_rows, *half_events, *measuring]
    draw.shuffle(later)
    return early + later


def kill_once(params: Params, moment: tuple) -> None:
    requests = params.outputs_path / params.run_id / "requests.jsonl"
    n_before = len(whole_lines(requests))
    kind, *rest = moment
    with measuring_child(params, half=tuple(rest) if kind == "half" else None) as child:
        if kind == "seconds":
            time.sleep(rest[0])
        elif kind == "replies":
            wait_for(child, lambda: len(whole_lines(requests)) >= n_before + rest[0])
            time.sleep(rest[1])
        else:
            child.join()
        child.kill()
        child.join()
        assert child.exitcode == -9, f"the sweep ended before it could be killed: {moment}"


def test_whatever_the_moment_of_the_kill_each_request_is_answered_once(outputs: Path, servers):
    params = quick_params(
        outputs,
        "killed-often",
        n_frames=14,
        blocks=2,
        **LEAN,
        **servers.urls,
    )
    requests = params.outputs_path / params.run_id / "requests.jsonl"
    plan, seen = moments(SEED), []
    assert len(plan) >= 20
    for moment in plan:
        kill_once(params, moment)
        seen.append([line for line in whole_lines(requests) if line.endswith(b"}\n")])
    session = run_sweep(params)

    replies = read_replies(session.run)
    planned = {request_id(cell, frame.frame_id) for cell in session.cells for frame in session.frames}
    counted = Counter(reply.request_id for reply in replies)
    assert set(counted) == planned
    assert set(counted.values()) == {1}
    assert {reply.error_class for reply in replies} == {None}
    final = whole_lines(requests)
    assert all(final[: len(lines)] == lines for lines in seen)

    damage = read_damage(session.run)
    assert damage.n_doubled == 0
    assert damage.n_broken == sum(moment[:2] == ("half", "requests.jsonl") for moment in plan)

    table, events = requests_table(session.run), read_events(session.run)
    sittings = summarize_sittings(table, events)
    assert sittings["ended"].tolist() == [False] * (len(sittings) - 1) + [True]
    assert sittings["n_on_file"].iloc[-1] == sittings["n_planned"].iloc[-1] == len(planned)
    speed = summarize_speed(table, len(session.frames), session.run.facts["recording_frames"])
    assert speed["complete"].all()
    marked = interrupted_cells(table)
    assert len(marked) > 2
    levels = set(zip(speed["server"], speed["concurrency"], strict=True))
    assert {(row.server, row.concurrency) for row in marked.itertuples()} <= levels
    by_level = speed.set_index(["server", "concurrency"])["interrupted"].to_dict()
    assert {level for level, was in by_level.items() if was} == {
        (row.server, row.concurrency) for row in marked.itertuples()
    }
    lines = interruption_lines(table, events, n_broken=damage.n_broken)
    assert lines[0].startswith("Interrupted after ")
    assert " of 84 requests" in lines[0]
    assert analyse_run(session.run, params).speed["complete"].all()


@pytest.mark.parametrize("n_replies", [0, 3])
def test_a_killed_sweep_takes_its_simulators_and_its_sampler_along(outputs: Path, n_replies: int):
    params = quick_params(
        outputs,
        f"orphans-{n_replies}",
        n_frames=12,
        demo_speed=4.0,
        **(LEAN | {"telemetry_every_s": 0.2}),
    )
    requests = params.outputs_path / params.run_id / "requests.jsonl"
    with measuring_child(params) as child:
        parent = psutil.Process(child.pid)
        wait_for(child, lambda: len(parent.children()) >= (2 if n_replies else 1))
        wait_for(child, lambda: len(whole_lines(requests)) >= n_replies)
        started = parent.children(recursive=True)
        child.kill()
        child.join()
        _, alive = psutil.wait_procs(started, timeout=20)
        for process in alive:
            process.kill()
    assert started
    assert not alive


def test_what_is_on_file_when_a_sweep_is_killed_is_what_the_server_said(outputs: Path, servers):
    """The same run without any kill: equal in everything but times and numbering of sittings."""
    wanted = {"n_frames": 6, "temperature": 0.0, **LEAN, **servers.urls}
    killed = quick_params(outputs, "one-kill", **wanted)
    kill_once(killed, ("replies", 5, 0.01))
    texts = [
        {reply["request_id"]: reply["text"] for reply in map(asdict, read_replies(run_sweep(params).run))}
        for params in (killed, quick_params(outputs, "no-kill", **wanted))
    ]
    assert texts[0] == texts[1]
    assert {reply.sitting for reply in read_replies(read_run(outputs / "one-kill"))} == {0, 1}

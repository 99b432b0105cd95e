"""Ctrl-C, a shutdown and a closed terminal: the run is valid, says why it stopped, and goes on."""

import os
import signal

import pytest

from poc_lib.metrics import summarize_speed
from poc_lib.runs import read_events, read_replies, read_run, requests_table
from poc_lib.sittings import interruption_lines
from tests.survival.children import LEAN, measuring_child, wait_for, whole_lines
from tests.sweeps import quick_params, run_sweep


@pytest.mark.parametrize(
    ("number", "because", "status"),
    [
        (signal.SIGINT, "Ctrl-C", 130),
        (signal.SIGTERM, "SIGTERM", 143),
        (signal.SIGHUP, "SIGHUP", 129),
    ],
)
def test_a_signal_leaves_a_valid_run_that_says_why_it_stopped(outputs, servers, number, because, status):
    name = f"stopped-by-{number.name}"
    params = quick_params(outputs, name, n_frames=8, blocks=2, **LEAN, **servers.urls)
    requests = outputs / name / "requests.jsonl"
    with measuring_child(params) as child:
        wait_for(child, lambda: len(whole_lines(requests)) >= 3)
        os.kill(child.pid, number)
        child.join(60)
        assert child.exitcode == status

    run = read_run(outputs / name)
    stopped = read_events(run)[-1]
    assert (stopped["event"], stopped["because"]) == ("sitting_stopped", because)
    n_before = len(read_replies(run))
    table = requests_table(run)
    assert not summarize_speed(table, 8, run.facts["recording_frames"])["complete"].all()
    (line,) = interruption_lines(table, read_events(run))
    assert line.startswith(f"Interrupted by {because} after {n_before} of 48 requests (in ")
    assert line.endswith("; not continued.")

    replies = read_replies(run_sweep(params).run)
    assert n_before < len(replies) == len({reply.request_id for reply in replies}) == 48

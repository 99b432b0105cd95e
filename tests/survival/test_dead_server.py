"""A server that dies in mid-cell: few failures, not one a frame, and a run that can be finished later."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson
import pytest

from poc_lib.demo import prepare_demo
from poc_lib.errors import SetupProblem
from poc_lib.metrics import summarize_failures, summarize_speed
from poc_lib.params import PROJECT_ROOT
from poc_lib.records import FAILURE_CLASSES
from poc_lib.runs import (
    read_damage,
    read_events,
    read_failed_before,
    read_replies,
    read_run,
    requests_table,
    take_back_failures,
)
from tests.survival.children import LEAN, measuring_child, wait_for, whole_lines
from tests.sweeps import quick_params, run_sweep


@contextmanager
def server_on(port: int, answers) -> Iterator[tuple[subprocess.Popen, str]]:
    """A simulated candidate on a port of choice, 0: a free one."""
    command = [sys.executable, "-m", "poc_lib.simulator", "--api", "openai", "--model", "demo-vlm"]
    command += ["--answers", str(answers), "--speed", "10", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        yield process, orjson.loads(process.stdout.readline())["url"]
        process.kill()


def test_a_server_that_dies_costs_a_few_failures_and_can_be_asked_again_later(outputs, servers):
    answers = prepare_demo(outputs / "demo-data").answers
    requests = outputs / "dead-server" / "requests.jsonl"
    with server_on(0, answers) as (server, url):
        params = quick_params(
            outputs,
            "dead-server",
            **LEAN,
            n_frames=12,
            blocks=2,
            stop_after_failures=3,
            candidate_url=url,
            baseline_url=servers.baseline.url,
        )
        with measuring_child(params) as child:
            wait_for(child, lambda: b'"server":"vllm-mlx"' in b"".join(whole_lines(requests)[-1:]))
            server.kill()
            child.join(60)
            assert child.exitcode == 0

    run = read_run(outputs / "dead-server")
    ended = [event for event in read_events(run) if event["event"] == "cell_ended"]
    lost = [event for event in ended if event["server"] == "vllm-mlx"]
    assert len(ended) == 6
    assert len(lost) == 4
    assert all(event["failed"] <= 3 + 3 for event in lost)  # the last ones in flight fail, too
    reasons = {event["stopped_because"].split(",")[0] for event in lost}
    assert "3 failures in a row: connect" in reasons
    assert reasons <= {f"3 failures in a row: {how}" for how in ("connect", "truncated")}  # cut in mid-answer
    table = requests_table(run)
    failures = summarize_failures(table)
    assert set(failures["server"]) == {"vllm-mlx"}
    speed = summarize_speed(table, 12, run.facts["recording_frames"]).set_index(["server", "concurrency"])
    assert speed["complete"].to_dict() == {
        ("ollama", 1): True,
        ("vllm-mlx", 1): False,
        ("vllm-mlx", 4): False,
    }

    with pytest.raises(SetupProblem, match="vllm-mlx"):
        run_sweep(params)  # still dead: nothing is sent
    assert len(read_replies(run)) == len(table)

    n_failed = int(failures["n"].sum())
    with server_on(int(url.split(":")[-1].removesuffix("/v1")), answers):
        finished = read_replies(run_sweep(params).run)
        assert len(finished) == 72
        assert sum(reply.error_class is not None for reply in finished) == n_failed
        assert take_back_failures(run, FAILURE_CLASSES) == n_failed
        replies = read_replies(run_sweep(params).run)
    assert len(replies) == len({reply.request_id for reply in replies}) == 72
    assert {reply.error_class for reply in replies} == {None}
    assert read_damage(run).n_sent_again == len(read_failed_before(run)) == n_failed

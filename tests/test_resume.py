"""A run that is killed goes on where it stopped: nothing lost, nothing sent twice."""

import collections
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poc_lib.analysis import analyse_run
from poc_lib.errors import SetupProblem
from poc_lib.runs import read_replies, read_run
from tests.sweeps import quick_params, run_sweep

MEASURE = """
import sys
from pathlib import Path
from tests.sweeps import quick_params, run_sweep
run_sweep(quick_params(Path(sys.argv[1]), sys.argv[2], n_frames=12, demo_speed=4.0))
"""


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def kill_in_mid_sweep(outputs: Path, run_id: str, after_replies: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", MEASURE, str(outputs), run_id])
    try:
        deadline = time.monotonic() + 60
        while lines_of(outputs / run_id / "requests.jsonl") < after_replies:
            assert process.poll() is None, "the sweep ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_kill_9_in_mid_sweep_loses_and_doubles_nothing(outputs):
    kill_in_mid_sweep(outputs, "killed", after_replies=5)
    before = {reply.request_id: reply for reply in read_replies(read_run(outputs / "killed"))}
    assert 5 <= len(before) < 24

    session = run_sweep(quick_params(outputs, "killed", n_frames=12, demo_speed=4.0))
    replies = read_replies(session.run)
    counted = collections.Counter(reply.request_id for reply in replies)
    assert len(counted) == 24
    assert set(counted.values()) == {1}
    assert all(before[r.request_id] == r for r in replies if r.request_id in before)
    assert {reply.sitting for reply in replies} == {0, 1}

    analysis = analyse_run(session.run, session.params)
    assert analysis.speed["complete"].all()
    assert analysis.speed["interrupted"].any()


def test_a_half_written_last_line_is_set_aside_and_its_request_sent_again(outputs):
    params = quick_params(outputs, "half-line", n_frames=4)
    requests = run_sweep(params).run.folder / "requests.jsonl"
    whole = requests.read_bytes().splitlines(keepends=True)
    requests.write_bytes(b"".join(whole[:-1]) + whole[-1][:40])

    replies = read_replies(run_sweep(params).run)
    assert len({reply.request_id for reply in replies}) == len(replies) == 8
    assert (requests.parent / "requests.broken.jsonl").read_bytes() == whole[-1][:40] + b"\n"


def test_a_finished_run_sends_nothing_more(outputs):
    params = quick_params(outputs, "finished", n_frames=4)
    requests = run_sweep(params).run.folder / "requests.jsonl"
    before = requests.read_bytes()
    run_sweep(params)
    assert requests.read_bytes() == before


def test_another_experiment_under_the_same_name_is_refused_and_changes_nothing(outputs):
    params = quick_params(outputs, "taken", n_frames=4)
    folder = run_sweep(params).run.folder
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(SetupProblem, match="max_tokens is 99, on file 1024"):
        run_sweep(quick_params(outputs, "taken", n_frames=4, max_tokens=99))
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_thresholds_change_does_not_make_another_experiment(outputs):
    folder = run_sweep(quick_params(outputs, "threshold", n_frames=4)).run.folder
    run_sweep(quick_params(outputs, "threshold", n_frames=4, match_threshold=0.5))
    assert json.loads((folder / "run.json").read_text())["params"]["match_threshold"] == 0.8

"""A disk that takes no more, a server that dies in mid-cell: one clear line, few failures, nothing lost."""

import asyncio
import os
import subprocess
import sys

import pytest

from demo.server import start, stop
from poc_lib.analysis import analyse
from poc_lib.measure.experiment import run_all
from poc_lib.params import PROJECT_ROOT
from poc_lib.runs import read_damage, read_events
from tests.demo_kit import demo
from tests.lean import whole_lines
from tests.survival.children import EXIT_PROBLEM, lean_params, measuring_child


@pytest.fixture
def disk(tmp_path):
    """A run's folder that is a mounted disk of 80 kB; where mounting is not permitted, a plain one."""
    folder = tmp_path / "run"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=80k", "none", str(folder)]
    is_small = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    yield folder
    if is_small:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_one_line_and_the_run_goes_on_with_every_reply(disk, urls):
    params, requests, is_small = lean_params(disk, **urls), disk / "requests.jsonl", os.path.ismount(disk)
    with measuring_child(params, most_bytes=0 if is_small else 60_000) as child:
        child.join(60)
        assert child.exitcode == EXIT_PROBLEM
    (said,) = (disk.parent / "stderr").read_text().splitlines()
    assert said.startswith("cannot write requests.jsonl in ")
    assert ("No space left on device, 0.0 MB free" if is_small else "File too large") in said
    before = whole_lines(requests)
    assert 30 < len(before) == len(requests.read_bytes().splitlines())

    if is_small:
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    run = asyncio.run(run_all(params))
    assert whole_lines(requests)[: len(before)] == before
    assert (read_damage(run).n_broken, read_damage(run).n_doubled) == (0, 0)
    assert read_events(run)[-1]["event"] == "finished"


def test_the_command_on_a_disk_without_room_says_so_without_a_traceback(disk):
    if not os.path.ismount(disk):
        pytest.skip("no small disk can be mounted here")
    (disk / "filler").write_bytes(b"x" * os.statvfs(disk).f_bavail * 4096)
    command = [sys.executable, "-m", "poc_lib", "run", "--output", str(disk)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    problem, to_do = done.stderr.splitlines()
    assert (done.returncode, "free some space" in problem) == (1, True)
    assert to_do.startswith("the same command continues the run")


def test_a_server_that_dies_costs_ten_failures_a_cell_and_the_run_ends(tmp_path, urls):
    server = start("openai", "demo-vlm", demo().answers, faults=["crash_after:65"])  # in the first block
    try:
        params = lean_params(tmp_path / "dead", **urls | {"candidate_url": server.url}, block_frames=40)
        analysis = analyse(asyncio.run(run_all(params)))
    finally:
        stop(server)
    cells = [event for event in analysis.events if event["event"] == "cell_ended"]
    lost = [event for event in cells if event["phase"] == "confirm" and event["role"] == "candidate"]
    assert len(lost) == 2
    for event in lost:
        assert 10 <= event["failed"] < 10 + 8  # what was in flight fails, too
        assert event["not_sent"] > 0
        assert event["stopped_because"].startswith("10 failures in a row: connect")
    rows = analysis.answers[analysis.answers["phase"].eq("confirm")].groupby(["role", "block"])
    n_failed = {("baseline", block): 0 for block in (0, 1)}
    n_failed |= {("candidate", event["block"]): event["failed"] for event in lost}
    assert rows["error_class"].count().to_dict() == n_failed
    assert analysis.events[-1]["event"] == "finished"
    assert analysis.verdicts[0].label not in ("marginal", "recommendation", "strong recommendation")

"""A disk that takes no more ends the sitting in one clear line, and leaves a run that goes on."""

import asyncio
import os
import subprocess
import sys

import pytest

from poc_lib.measure.experiment import run_all
from poc_lib.params import PROJECT_ROOT
from poc_lib.runs import read_damage, read_events
from tests.survival.children import EXIT_PROBLEM, lean_params, measuring_child, whole_lines


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
    assert "No space left on device, 0.0 MB free there; free" in said or (
        not is_small and "too large" in said
    )
    before = whole_lines(requests)
    assert 30 < len(before) == len(requests.read_bytes().splitlines())

    if is_small:
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
    run = asyncio.run(run_all(params))
    assert whole_lines(requests)[: len(before)] == before
    assert (read_damage(run).n_broken, read_damage(run).n_doubled) == (0, 0)
    assert read_events(run)[-1]["event"] == "finished"


def test_the_command_on_a_disk_without_room_is_one_line_and_no_traceback(disk):
    if not os.path.ismount(disk):
        pytest.skip("no small disk can be mounted here")
    (disk / "filler").write_bytes(b"x" * os.statvfs(disk).f_bavail * 4096)
    command = [sys.executable, "-m", "poc_lib", "run", "--output", str(disk)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    (said,) = done.stderr.splitlines()
    assert (done.returncode, said.startswith("problem"), "free some space" in said) == (1, True, True)

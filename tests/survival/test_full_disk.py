"""A disk that takes no more ends the sitting in one clear line, and leaves a run that goes on."""

import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from poc_lib.errors import SetupProblem
from poc_lib.runs import read_events, read_replies, read_run
from tests.survival.children import EXIT_PROBLEM, LEAN, measuring_child, said_on_stderr
from tests.sweeps import quick_params, run_sweep

LIMIT_BYTES = 24_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted disk of 96 kB; skipped where mounting is not permitted."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def allow_small_files_only() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))


def assert_only_whole_lines(path: Path) -> int:
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return len([orjson.loads(line) for line in data.splitlines()])


def test_a_disk_that_fills_up_ends_the_sitting_and_loses_no_finished_line(outputs, servers, small_disk):
    (outputs / "full-disk").symlink_to(small_disk)
    params = quick_params(outputs, "full-disk", n_frames=12, blocks=2, **LEAN, **servers.urls)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 40_000)
    with pytest.raises(SetupProblem) as stopped:
        run_sweep(params)
    line = str(stopped.value)
    assert "\n" not in line
    assert line.startswith("cannot write ")
    assert "No space left on device, 0.0 MB free there; free some space, then the same command" in line

    run = read_run(outputs / "full-disk")
    n_before = assert_only_whole_lines(run.folder / "requests.jsonl")
    assert 0 < n_before < 72
    before = read_replies(run)
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    replies = read_replies(run_sweep(params).run)
    assert replies[:n_before] == before
    assert len(replies) == len({reply.request_id for reply in replies}) == 72
    assert not (run.folder / "requests.broken.jsonl").exists()


def test_a_file_that_may_not_grow_ends_the_sitting_which_says_so_in_its_events(outputs, servers):
    params = quick_params(outputs, "small-files", n_frames=12, blocks=2, **LEAN, **servers.urls)
    run_sweep(quick_params(outputs, "demo-data-is-there", n_frames=1, **LEAN, **servers.urls))
    with measuring_child(params, prepare=allow_small_files_only) as child:
        child.join(60)
        assert child.exitcode == EXIT_PROBLEM
    said = said_on_stderr(params)
    assert said.startswith("problem: cannot write requests.jsonl in ")
    assert "File too large" in said
    assert said.count("\n") == 1

    run = read_run(outputs / "small-files")
    n_before = assert_only_whole_lines(run.folder / "requests.jsonl")
    assert (run.folder / "requests.jsonl").stat().st_size <= LIMIT_BYTES
    stopped = read_events(run)[-1]
    assert stopped["event"] == "sitting_stopped"
    assert f"problem: {stopped['because']}\n" == said
    replies = read_replies(run_sweep(params).run)
    assert 0 < n_before < len(replies) == len({reply.request_id for reply in replies}) == 72


def test_a_disk_that_is_full_from_the_start_is_told_before_anything_is_sent(outputs, servers, small_disk):
    (outputs / "never-started").symlink_to(small_disk)
    (small_disk / "filler").write_bytes(b"x" * os.statvfs(small_disk).f_bavail * 4096)
    with pytest.raises(SetupProblem, match=r"cannot write (frames\.jsonl|run\.json) in .*: No space left"):
        run_sweep(quick_params(outputs, "never-started", **LEAN, **servers.urls))
    assert {path.name for path in small_disk.iterdir()} <= {"filler", "frames.jsonl"}

"""Sweeps in child processes that can be killed, each forked from a process that has loaded everything."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import orjson

from poc_lib.errors import SetupProblem
from poc_lib.params import Params
from poc_lib.params_reading import validate_params
from poc_lib.runs import files, rows
from poc_lib.stopping import exit_status
from tests.sweeps import run_sweep

EXIT_PROBLEM = 2
WAIT_S = 60.0
LEAN = {
    "warmup_requests": 0,
    "warmup_per_cell": 0,
    "canaries": 0,
    "repeat_image_frames": 0,
    "telemetry_every_s": 0.0,
}

Half = tuple[str, int, float]  # of which file, at which write to it in this child, which share of it

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


@contextmanager
def measuring_child(
    params: Params, half: Half | None = None, prepare: Callable[[], None] | None = None
) -> Iterator[BaseProcess]:
    """A child process that runs one sitting; it is gone when the block ends.

    Args:
        half: kill -9 in the middle of this write.
        prepare: called in the child before anything else; a function that can be imported.
    """
    child = _context.Process(target=_measure, args=(params.model_dump(), half, prepare))
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join()


def _measure(values: dict[str, Any], half: Half | None, prepare: Callable[[], None] | None) -> None:
    os.setsid()
    sys.stderr = (Path(values["outputs_dir"]) / f"{values['run_id']}.stderr").open("a", buffering=1)
    if prepare:
        prepare()
    if half:
        _kill_in_mid_write(*half)
    try:
        run_sweep(validate_params(values))
    except SetupProblem as problem:
        sys.stderr.write(f"problem: {problem}\n")
        sys.exit(EXIT_PROBLEM)
    except KeyboardInterrupt as stop:
        sys.exit(exit_status(stop))


def _kill_in_mid_write(name: str, number: int, share: float) -> None:
    """Have this process die when it has written a share of one file's ``number``-th write, from 1."""
    counted = iter(range(1, sys.maxsize))
    write_row, replace_file = files.write_row, files.replace_file

    def die_after(path: Path, data: bytes, mode: str) -> None:
        with path.open(mode) as file:
            file.write(data[: max(1, int(len(data) * share))])
        os.kill(os.getpid(), signal.SIGKILL)

    def half_row(file: Any, path: Path, row: Any) -> None:
        if path.name == name and next(counted) == number:
            die_after(path, orjson.dumps(row), "ab")
        write_row(file, path, row)

    def half_file(path: Path, data: bytes) -> None:
        if path.name == name and next(counted) == number:
            die_after(path.with_name(f"{path.name}.partial"), data, "wb")
        replace_file(path, data)

    files.write_row = rows.write_row = half_row
    files.replace_file = half_file


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that end with a line break."""
    return path.read_bytes().splitlines(keepends=True) if path.is_file() else []


def wait_for(child: BaseProcess, is_so: Callable[[], bool]) -> bool:
    """Look every few milliseconds until something is so; False when the child ended before."""
    for _ in range(int(WAIT_S / 0.004)):
        if is_so():
            return True
        child.join(0.004)
        if child.exitcode is not None:
            return is_so()
    raise TimeoutError(f"nothing happened in {WAIT_S} s")


def said_on_stderr(params: Params) -> str:
    """What the run's children said on stderr."""
    return (Path(params.outputs_dir) / f"{params.run_id}.stderr").read_text()

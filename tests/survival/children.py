"""A run measured in child processes that can be killed, each forked from one that has loaded everything."""

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import orjson

from poc_lib import runs
from poc_lib.measure import instrument
from poc_lib.measure.experiment import run_all
from poc_lib.params import Params, validate_params
from poc_lib.records import SetupProblem
from tests.demo_kit import demo
from tests.lean import LEAN, MEASURED

EXIT_PROBLEM = 2

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "sklearn.feature_extraction.text", "poc_lib.metrics.verdict"])


def lean_params(folder: Path, **values) -> Params:
    where = {"outputs_dir": str(folder.parent), "run_id": folder.name}
    return validate_params(LEAN | where | {"database": str(demo().database)} | values)


@contextmanager
def measuring_child(params: Params, dies: tuple[str, int, float] | None = None, most_bytes: int = 0):
    """A child process that measures one sitting, and is gone when the block ends.

    ``dies``: of which file, at which write to it (of replies: measured ones), after which share of the data.
    ``most_bytes``: no file may grow beyond that, as on a full disk.
    """
    child = _context.Process(target=_measure, args=(params.model_dump(), dies, most_bytes))
    child.start()
    try:
        yield child
    finally:
        child.kill()
        child.join()


def _measure(values: dict, dies: tuple[str, int, float] | None, most_bytes: int) -> None:
    sys.stderr = (Path(values["outputs_dir"]) / "stderr").open("a", buffering=1)
    instrument.TTFT_MS, instrument.CHUNKS = 10, 2  # what every sitting begins with is not looked at here
    if dies:
        _die_in_mid_write(*dies)
    if most_bytes:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        asyncio.run(run_all(validate_params(values)))
    except SetupProblem as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(EXIT_PROBLEM)


def _die_in_mid_write(name: str, number: int, share: float) -> None:
    writes = iter(range(1, sys.maxsize))
    write_row, replace_file = runs.write_row, runs.replace_file

    def die(path: Path, data: bytes, mode: str) -> None:
        with path.open(mode) as file:
            file.write(data[: max(1, int(len(data) * share))])
        os.kill(os.getpid(), signal.SIGKILL)

    def row(file, path: Path, fields: dict) -> None:
        counts = path.name == name and fields.get("phase", "pilot") in MEASURED
        if counts and next(writes) == number:
            die(path, orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE), "ab")
        write_row(file, path, fields)

    def whole(path: Path, data: bytes) -> None:
        if path.name == name and next(writes) == number:
            die(path.with_name(f"{path.name}.partial"), data, "wb")
        replace_file(path, data)

    runs.write_row, runs.replace_file = row, whole

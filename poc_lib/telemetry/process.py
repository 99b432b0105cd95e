"""Starting and stopping the sampling process; its samples go straight into the run's telemetry.jsonl."""

import contextlib
import selectors
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from poc_lib.errors import SetupProblem
from poc_lib.records import ServerSpec
from poc_lib.runs import Run, append_event, telemetry_writer
from poc_lib.telemetry.spec import READY, SamplingSpec, Target, encode_spec

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
_ROOT = Path(__file__).resolve().parent.parent.parent


@contextmanager
def sampling(
    run: Run,
    servers: Iterable[ServerSpec],
    *,
    sitting: int,
    run_start_ns: int,
    every_s: float,
    timeout_s: float,
    api_key: str | None = None,
) -> Iterator[subprocess.Popen | None]:
    """Sample servers and machine into the run for the length of a ``with`` block; nothing at ``every_s`` 0.

    Sampling that fails stops no measurement: it is noted in the run's events as telemetry_failed.
    """
    if not every_s:
        yield None
        return
    targets = tuple(Target(spec.name, spec.api, spec.url, spec.model) for spec in servers)
    spec = SamplingSpec(targets, sitting, run_start_ns, every_s, timeout_s, api_key)
    with telemetry_writer(run) as samples:
        process = start_sampler(spec, samples)
        try:
            yield process
        finally:
            problem = stop_sampler(process)
            if problem:
                with contextlib.suppress(SetupProblem):  # a full disk, told by who writes replies
                    append_event(run, "telemetry_failed", sitting=sitting, problem=problem)


def start_sampler(spec: SamplingSpec, samples: BinaryIO) -> subprocess.Popen:
    """Start a sampling process that writes to an open file, and wait until it has loaded everything."""
    process = subprocess.Popen(
        [sys.executable, "-m", "poc_lib.telemetry"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,  # its lifeline: when it closes, also by kill -9 of this process, it ends
        stdout=samples,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # an interrupted cell must not take it along
    )
    with contextlib.suppress(BrokenPipeError):  # it has failed: stop_sampler says why
        process.stdin.write(encode_spec(spec))
    _wait_until_ready(process)
    return process


def stop_sampler(process: subprocess.Popen) -> str | None:
    """Close its lifeline and wait for its end; the last line it complained with, None where all went well."""
    process.stdin.close()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said = process.stderr.read().removeprefix(READY).decode(errors="replace")
    process.stderr.close()
    if process.returncode == 0:
        return None
    lines = [line.strip(" |+-") for line in said.splitlines()]  # a group's traceback is drawn as a tree
    return f"exit status {process.returncode}: {next(filter(None, reversed(lines)), 'nothing on stderr')}"


def _wait_until_ready(process: subprocess.Popen) -> None:
    """Its first word is READY, or a complaint. Loading costs CPU, which must not fall into the first cell."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        selector.select(START_TIMEOUT_S)

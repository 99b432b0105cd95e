"""Starting and stopping a simulated server as a process of its own."""

import json
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from poc_lib.errors import SetupProblem
from poc_lib.records import Api

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0
_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(slots=True)
class SimulatorProcess:
    """A running simulated server."""

    url: str  # OpenAI-compatible: ends in /v1; Ollama: the root
    process: subprocess.Popen  # its stdin is the lifeline: when it closes, the server ends
    errors: IO[bytes]  # the server's stderr, read back when something went wrong


def start_simulator(
    api: Api,
    model: str,
    answers: Path,
    *,
    speed: float = 1.0,
    seed: int = 0,
    faults: Sequence[str] = (),
    simple: bool = False,
    max_batch: int = 32,
) -> SimulatorProcess:
    """Start a simulated server on a free local port and wait until it listens.

    ``answers`` is the JSON file of image hashes to answers; ``faults`` are written NAME:SHARE, see faults.py.

    Raises:
        SetupProblem: the server did not start, with what it wrote last.
    """
    command = [sys.executable, "-m", "poc_lib.simulator", "--api", api, "--model", model]
    command += ["--answers", str(Path(answers).resolve()), "--speed", str(speed), "--seed", str(seed)]
    command += ["--max-batch", str(max_batch), *(["--simple"] if simple else [])]
    command += [part for fault in faults for part in ("--fault", fault)]
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        bufsize=0,
        start_new_session=True,  # an interrupted cell must not take the server with it
    )
    handle = SimulatorProcess(url="", process=process, errors=errors)
    line = _first_line(process, START_TIMEOUT_S)
    try:
        handle.url = json.loads(line)["url"]
    except (ValueError, KeyError, TypeError):
        stop_simulator(handle, close_errors=False)
        raise SetupProblem(_why_not_started(handle)) from None
    return handle


def stop_simulator(handle: SimulatorProcess, *, close_errors: bool = True) -> None:
    """Close the server's lifeline and wait for its end; kill it if it does not end in time."""
    for stream in (handle.process.stdin, handle.process.stdout):
        if stream is not None:
            stream.close()
    try:
        handle.process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        handle.process.kill()
        handle.process.wait()
    if close_errors:
        handle.errors.close()


@contextmanager
def simulated_server(
    api: Api,
    model: str,
    answers: Path,
    *,
    speed: float = 1.0,
    seed: int = 0,
    faults: Sequence[str] = (),
    simple: bool = False,
    max_batch: int = 32,
) -> Iterator[SimulatorProcess]:
    """A simulated server for the length of a ``with`` block; see start_simulator."""
    handle = start_simulator(
        api, model, answers, speed=speed, seed=seed, faults=faults, simple=simple, max_batch=max_batch
    )
    try:
        yield handle
    finally:
        stop_simulator(handle)


def _first_line(process: subprocess.Popen, timeout_s: float) -> bytes:
    deadline = time.monotonic() + timeout_s
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
            chunk = process.stdout.read(4096)
            if not chunk:
                break
            line += chunk
    return line


def _why_not_started(handle: SimulatorProcess) -> str:
    handle.errors.seek(0)
    lines = handle.errors.read().decode(errors="replace").strip().splitlines()
    handle.errors.close()
    last = lines[-1] if lines else f"nothing on stderr within {START_TIMEOUT_S:.0f} s"
    return f"the simulated server did not start (exit status {handle.process.returncode}): {last}"

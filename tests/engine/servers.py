"""Start and stop the real servers: they live in an environment of their own, the tests talk HTTP to them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.engine.engine_env import HOST, EngineError, engine_python, offline_environment

START_LIMIT_S = 120.0
STOP_LIMIT_S = 10.0
POLL_S = 0.2
LOG_TAIL_LINES = 30
SERVED_NAME = "tiny"


@dataclass(frozen=True)
class RunningServer:
    """A real server that answered its health check; `url` is the base that ends in /v1."""

    url: str
    model: str
    log_path: Path
    process: subprocess.Popen

    @property
    def root_url(self) -> str:
        """Return the address without /v1, for /health and /metrics."""
        return self.url.removesuffix("/v1")


@contextmanager
def vllm_mlx_server(
    model_dir: Path,
    *,
    continuous_batching: bool = True,
    multimodal: bool = True,
    port: int | None = None,
    extra_args: Sequence[str] = (),
) -> Iterator[RunningServer]:
    """Run `vllm-mlx serve` until the block ends, on a free port or the one given (raises EngineError)."""
    port = port or free_port()
    command = [engine_python().parent / "vllm-mlx", "serve", model_dir, "--host", HOST, "--port", port]
    command += ["--served-model-name", SERVED_NAME, "--offline", "--enable-metrics"]
    command += ["--mllm"] if multimodal else []
    command += ["--continuous-batching"] if continuous_batching else []
    with running_server([*command, *extra_args], port, SERVED_NAME) as server:
        yield server


@contextmanager
def mlx_vlm_server(model_dir: Path, *, extra_args: Sequence[str] = ()) -> Iterator[RunningServer]:
    """Run `mlx_vlm.server` until the block ends; the model name is its path (raises EngineError)."""
    port = free_port()
    command = [engine_python(), "-m", "mlx_vlm.server", "--model", model_dir, "--host", HOST, "--port", port]
    with running_server([*command, *extra_args], port, str(model_dir)) as server:
        yield server


@contextmanager
def running_server(command: Sequence[object], port: int, model: str) -> Iterator[RunningServer]:
    """Start `command`, wait for /health, yield, and stop that one process; a failure keeps the log."""
    home = Path(tempfile.mkdtemp(prefix="poc-engine-"))
    log_path = home / "server.log"
    # vllm-mlx saves its prefix cache under HOME and loads it again: no test may warm another.
    environment = offline_environment() | {"HOME": str(home)}
    with log_path.open("wb") as log:
        words = [str(part) for part in command]
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        server = RunningServer(f"http://{HOST}:{port}/v1", model, log_path, process)
        wait_until_healthy(server)
        yield server
    finally:
        stop_process(process)
    shutil.rmtree(home)


def free_port() -> int:
    """Return a port number that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def wait_until_healthy(server: RunningServer, limit_s: float = START_LIMIT_S) -> None:
    """Return once GET /health is 200; EngineError if the process ends or `limit_s` passes first."""
    deadline_s = time.monotonic() + limit_s
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline_s:
            if server.process.poll() is not None:
                raise EngineError(start_failure(server, f"ended with code {server.process.returncode}"))
            if is_healthy(client, server):
                return
            time.sleep(POLL_S)
    raise EngineError(start_failure(server, f"did not answer /health within {limit_s:.0f} s"))


def is_healthy(client: httpx.Client, server: RunningServer) -> bool:
    """Return whether the server answers 200 to GET /health right now."""
    try:
        return client.get(f"{server.root_url}/health").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def start_failure(server: RunningServer, what: str) -> str:
    """Return the message of a failed start, with the tail of the log."""
    tail = "\n".join(server.log_path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    return f"{server.process.args[0]} {what}; last lines of {server.log_path}:\n{tail}"


def stop_process(process: subprocess.Popen) -> None:
    """End one process: ask, wait `STOP_LIMIT_S` seconds, then kill."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

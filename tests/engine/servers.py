"""Start and stop the real servers: they live in environments of their own, the tests talk HTTP to them."""

import os
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

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"  # never 0.0.0.0, which is mlx_vlm.server's own default
ENGINES = {"0.6.0": ROOT / ".venv-engine/bin/python", "0.5.0": ROOT / ".venv-engine-replay/bin/python"}
SERVED_NAME = "tiny"
START_LIMIT_S = 300.0
# The BLAS that MLX's wheel for Linux links is five times slower than Debian's libopenblas0-pthread.
FAST_BLAS = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/openblas-pthread/libopenblas.so.0")


@dataclass(frozen=True)
class RealServer:
    """A real server that answered its health check."""

    url: str  # ends in /v1
    model: str
    process: subprocess.Popen


@contextmanager
def vllm_mlx(
    model_dir: Path,
    *flags: str,
    version: str = "0.6.0",
    batching: bool = True,
    images: bool = True,
    port: int = 0,
    program: Sequence[object] = (),
) -> Iterator[RealServer]:
    """Run ``vllm-mlx serve`` until the block ends, on a free port unless one is given."""
    command = [*(program or [ENGINES[version].with_name("vllm-mlx")]), "serve", model_dir]
    command += ["--served-model-name", SERVED_NAME, "--offline", "--enable-metrics", *flags]
    command += ["--mllm"] * images + ["--continuous-batching"] * batching
    with _running(command, SERVED_NAME, port) as server:
        yield server


@contextmanager
def mlx_vlm(model_dir: Path) -> Iterator[RealServer]:
    """Run ``mlx_vlm.server`` until the block ends; its name for the model is the path."""
    command = [ENGINES["0.6.0"], "-m", "mlx_vlm.server", "--model", model_dir]
    with _running(command, str(model_dir), 0) as server:
        yield server


@contextmanager
def _running(command: Sequence[object], model: str, port: int) -> Iterator[RealServer]:
    """Start a server, wait for its health, and stop that one process; where that fails, say its log."""
    port, home = port or free_port(), Path(tempfile.mkdtemp(prefix="poc-engine-"))
    # vllm-mlx keeps its prefix cache under HOME and loads it again: no server may warm another.
    environment = os.environ | {"HOME": str(home), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if FAST_BLAS.exists():  # with one thread: two would wait for each other while others use the cores
        environment |= {"LD_PRELOAD": str(FAST_BLAS), "OPENBLAS_NUM_THREADS": "1"}
    words = [*map(str, command), "--host", HOST, "--port", str(port)]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
    server = RealServer(f"http://{HOST}:{port}/v1", model, process)
    try:
        until_s = time.monotonic() + START_LIMIT_S
        while not is_healthy(server):
            if process.poll() is not None or time.monotonic() > until_s:
                tail = "\n".join((home / "server.log").read_text(errors="replace").splitlines()[-30:])
                raise RuntimeError(f"{' '.join(words)} did not start:\n{tail}")
            time.sleep(0.2)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    shutil.rmtree(home, ignore_errors=True)


def is_healthy(server: RealServer) -> bool:
    """Whether the server answers 200 to GET /health right now."""
    try:
        root = server.url.removesuffix("/v1")
        return httpx.get(f"{root}/health", trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port number that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def random_model(out_dir: Path, name: str = "tiny") -> Path:
    """Build a random-weight model in seconds, with the engine's Python; one that is there stays."""
    command = [ENGINES["0.6.0"], ROOT / "benchmarks" / "random_model.py", out_dir, "--model", name]
    subprocess.run(list(map(str, command)), check=True, timeout=180)
    return out_dir

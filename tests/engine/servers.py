"""Start and stop the real servers: they live in environments of their own, the tests talk HTTP to them."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx

ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"  # never 0.0.0.0, which is mlx_vlm.server's own default
ENGINES = {"0.6.0": ROOT / ".venv-engine/bin/python", "0.5.0": ROOT / ".venv-engine-replay/bin/python"}
SERVED_NAME = "tiny"
READER = Path(__file__).parent / "reader" / "model"  # a model that reads, trained by reader/train.py
START_LIMIT_S = 300.0
# The BLAS that MLX's wheel for Linux links is five times slower than Debian's libopenblas0-pthread.
FAST_BLAS = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/openblas-pthread/libopenblas.so.0")


class RealServer(NamedTuple):
    """A real server that answered its health check."""

    url: str  # ends in /v1
    model: str
    process: subprocess.Popen


def vllm_mlx(
    model_dir: Path,
    *flags: str,
    version: str = "0.6.0",
    batching: bool = True,
    images: bool = True,
    program: Sequence[object] = (),
) -> AbstractContextManager[RealServer]:
    """``vllm-mlx serve`` on a free port, until the block ends."""
    command = [*(program or [ENGINES[version].with_name("vllm-mlx")]), "serve", model_dir]
    command += ["--served-model-name", SERVED_NAME, "--offline", "--enable-metrics", *flags]
    command += ["--mllm"] * images + ["--continuous-batching"] * batching
    return _running(command, SERVED_NAME)


def mlx_vlm(model_dir: Path) -> AbstractContextManager[RealServer]:
    """``mlx_vlm.server`` on a free port, until the block ends; its name for the model is the path."""
    return _running([ENGINES["0.6.0"], "-m", "mlx_vlm.server", "--model", model_dir], str(model_dir))


@contextmanager
def _running(command: Sequence[object], model: str) -> Iterator[RealServer]:
    """Start a server, wait for its health, and stop that one process; where that fails, say its log."""
    words = [*map(str, command), "--host", HOST, "--port", str(port := free_port())]
    with tempfile.TemporaryDirectory(prefix="poc-engine-", ignore_cleanup_errors=True) as home:
        # vllm-mlx keeps its prefix cache under HOME and loads it again: no server may warm another.
        environment = os.environ | {"HOME": home, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        if FAST_BLAS.exists():  # with one thread: two would wait for each other while others use the cores
            environment |= {"LD_PRELOAD": str(FAST_BLAS), "OPENBLAS_NUM_THREADS": "1"}
        log = Path(home, "server.log")
        with log.open("wb") as file:
            process = subprocess.Popen(words, stdout=file, stderr=file, env=environment)
        try:
            until_s = time.monotonic() + START_LIMIT_S
            while not _is_healthy(port):
                if process.poll() is not None or time.monotonic() > until_s:
                    tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
                    raise RuntimeError(f"{' '.join(words)} did not start:\n{tail}")
                time.sleep(0.2)
            yield RealServer(f"http://{HOST}:{port}/v1", model, process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _is_healthy(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://{HOST}:{port}/health", trust_env=False, timeout=5).status_code == 200
    return False


def free_port() -> int:
    """A port number that nothing listens on at this moment."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


@cache
def random_model(out_dir: Path, name: str = "tiny") -> Path:
    """A random-weight model, built in seconds with the engine's Python."""
    command = [ENGINES["0.6.0"], ROOT / "benchmarks" / "random_model.py", out_dir, "--model", name]
    subprocess.run(command, check=True, timeout=180)
    return out_dir

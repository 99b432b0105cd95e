"""Each server is started once, when the first test asks for it, and stopped at the end of the session."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo.server import start, stop
from tests.demo_kit import demo
from tests.engine.known import EVERY, Known, params_of
from tests.engine.servers import ENGINES, SERVED_NAME, mlx_vlm, random_model, vllm_mlx

READER = Path(__file__).parent / "reader" / "model"  # trained by reader/train.py


@dataclass(frozen=True)
class Target:
    """A running server and what is known of it."""

    known: Known
    url: str  # ends in /v1
    model: str


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random-weight model, built once a session."""
    return random_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def reader_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that reads, its weights widened: on a CPU only matrices of 32-bit floats reach the BLAS."""
    folder = tmp_path_factory.mktemp("model") / "reader"
    shutil.copytree(READER, folder)
    widen = (
        "import sys, mlx.core as mx; w = mx.load(sys.argv[1]); "
        "mx.save_safetensors(sys.argv[1], {k: v.astype(mx.float32) for k, v in w.items()}, {'format': 'mlx'})"
    )
    weights = folder / "model.safetensors"
    subprocess.run([ENGINES["0.6.0"], "-c", widen, weights], check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def start_server(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Target]]:
    """A function that returns the running server of a name, starting it at its first call."""
    targets: dict[str, Target] = {}

    def begin(name: str) -> Target:
        if name not in targets:
            known = EVERY[name]
            if known.real:
                folder = request.getfixturevalue("model_dir")
                is_vllm = known.software == "vllm-mlx"
                options = {"version": known.version, "batching": known.batches}
                server = stack.enter_context(vllm_mlx(folder, **options) if is_vllm else mlx_vlm(folder))
            else:
                faults = [] if known.batches else ["busy@2"]
                server = start("openai", SERVED_NAME, demo().answers, faults=faults)
                stack.callback(stop, server)
            targets[name] = Target(known, server.url, getattr(server, "model", SERVED_NAME))
        return targets[name]

    with ExitStack() as stack:
        yield begin


@pytest.fixture(scope="session", params=params_of(*EVERY))
def target(request: pytest.FixtureRequest, start_server: Callable[[str], Target]) -> Target:
    """One running server; a test that takes it runs once for each."""
    return start_server(request.param)

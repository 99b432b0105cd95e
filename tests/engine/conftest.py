"""Each server is started once, when the first test asks for it, and stopped at the end of the session."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from poc_lib.simulator import simulated_server
from tests.engine.asking import Target, draw_image
from tests.engine.engine_env import EngineError
from tests.engine.known import EVERY
from tests.engine.servers import SERVED_NAME, mlx_vlm_server, vllm_mlx_server
from tests.engine.targets import params_of
from tests.engine.tiny_model import tiny_model

N_IMAGES = 24
WORDS = ("red", "blue", "green", "left", "upper", "lower", "window", "button", "list")


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random-weight model, built once a session."""
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def answers_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the simulator says: an answer of some 200 tokens for each image."""
    entries = {}
    for index in range(N_IMAGES):
        words = " ".join(WORDS[(index + step * (index + 1)) % len(WORDS)] for step in range(160))
        description = f"{WORDS[index % len(WORDS)]} {index} {words}"
        sha256 = hashlib.sha256(draw_image(index)).hexdigest()
        entries[sha256] = {"frame_id": f"{index:02d}", "description": description}
    path = tmp_path_factory.mktemp("answers") / "answers.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def start_server(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Target]]:
    """A function that returns the running server of a name, starting it at its first call."""
    targets: dict[str, Target] = {}
    failures: dict[str, str] = {}

    def start(name: str) -> Target:
        if name not in targets and name not in failures:
            try:
                targets[name] = stack.enter_context(_running(name, request))
            except EngineError as error:
                failures[name] = str(error)
        if name in failures:
            pytest.fail(failures[name], pytrace=False)
        return targets[name]

    with ExitStack() as stack:
        yield start


@contextmanager
def _running(name: str, request: pytest.FixtureRequest) -> Iterator[Target]:
    with _context(name, request) as server:
        yield Target(EVERY[name], server.url, getattr(server, "model", SERVED_NAME))


def _context(name: str, request: pytest.FixtureRequest) -> AbstractContextManager:
    if not EVERY[name].real:
        answers = request.getfixturevalue("answers_file")
        return simulated_server("openai", SERVED_NAME, answers, simple=not EVERY[name].batches)
    model_dir = request.getfixturevalue("model_dir")
    if name == "mlx-vlm":
        return mlx_vlm_server(model_dir)
    return vllm_mlx_server(model_dir, continuous_batching=EVERY[name].batches)


@pytest.fixture(scope="session", params=params_of(*EVERY))
def target(request: pytest.FixtureRequest, start_server: Callable[[str], Target]) -> Target:
    """One running server; a test that takes it runs once for each."""
    return start_server(request.param)

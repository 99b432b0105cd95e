"""What setup_check tells about a real vllm-mlx: one server in order, and the ways in which it is not.

With `--basetemp DIR` the checklists as a user sees them are kept in DIR/setup-check-outputs0/checklists.md.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from poc_lib.checks import SetupCheck, check_setup, checks_table, read_state
from poc_lib.params_reading import validate_params
from tests.engine.asking import Target
from tests.engine.engine_env import HOST
from tests.engine.servers import SERVED_NAME, free_port, vllm_mlx_server
from tests.engine.tiny_model import tiny_model

pytestmark = pytest.mark.engine
PROBE = "vllm-mlx: answers depend on the image"
SERVER = "vllm-mlx: server and model"


@pytest.fixture(scope="session")
def text_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random-weight model without eyes."""
    return tiny_model(tmp_path_factory.mktemp("text-model") / "tiny-text", model="tiny-text")


@pytest.fixture(scope="session")
def outputs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("setup-check-outputs")


def look(title: str, url: str, outputs_dir: Path, model: str = SERVED_NAME) -> SetupCheck:
    """Check the set-up with this server as the only one, on the demo's frames, and keep the checklist."""
    values = {"candidate_url": url, "candidate_model": model, "baseline_url": "", "max_tokens": 32}
    values |= {"n_frames": 4, "concurrency": [1, 4], "outputs_dir": str(outputs_dir), "run_id": "check"}
    setup = check_setup(validate_params(values))
    table = checks_table(setup).to_markdown(index=False)
    with (outputs_dir / "checklists.md").open("a", encoding="utf-8") as kept:
        kept.write(f"## {title}\n\n{table}\n\n**{read_state(setup)}**\n\n")
    return setup


def states_of(setup: SetupCheck) -> dict[str, str]:
    return {check.about: check.state for check in setup.checks if check.about.startswith("vllm-mlx")}


def line(setup: SetupCheck, about: str) -> str:
    return next(f"{check.found} → {check.to_do}" for check in setup.checks if check.about == about)


def problems_of(setup: SetupCheck) -> set[str]:
    return {check.about for check in setup.checks if check.state == "problem"}


def test_a_server_in_order_is_ready(start_server: Callable[[str], Target], outputs_dir: Path):
    setup = look("In order", start_server("vllm-mlx").url, outputs_dir)
    assert problems_of(setup) == set()
    assert read_state(setup) == "READY WITH WARNINGS"  # no baseline, answers cut at 32 tokens
    assert line(setup, PROBE).startswith("two pictures, two answers; the first picture again, its answer")
    assert line(setup, "vllm-mlx: version").startswith("vllm-mlx 0.6.0")
    assert "GB, says its process" in line(setup, "memory")
    assert states_of(setup) == {
        SERVER: "ok",
        "vllm-mlx: model": "ok",
        "vllm-mlx: continuous batching": "ok",
        "vllm-mlx: version": "ok",
        "vllm-mlx: /metrics": "ok",
        "vllm-mlx: one request": "ok",
        "vllm-mlx: max_tokens": "warning",
        PROBE: "ok",
    }


def test_a_server_that_is_down_is_not_ready(outputs_dir: Path):
    setup = look("Down", f"http://{HOST}:{free_port()}/v1", outputs_dir)
    assert read_state(setup) == "NOT READY"
    assert states_of(setup) == {SERVER: "problem"}
    assert "does not answer" in line(setup, SERVER)
    assert "`vllm-mlx serve tiny --mllm --continuous-batching --enable-metrics" in line(setup, SERVER)


def test_a_text_only_model_is_told_by_health_and_by_the_pictures(text_model_dir: Path, outputs_dir: Path):
    with vllm_mlx_server(text_model_dir, multimodal=False) as server:
        setup = look("Text-only model", server.url, outputs_dir)
    assert read_state(setup) == "NOT READY"
    assert problems_of(setup) == {"vllm-mlx: model", PROBE}
    assert "drops every image" in line(setup, "vllm-mlx: model")
    assert "does not see images" in line(setup, PROBE)


def test_a_text_only_model_that_claims_vision_is_told_by_the_pictures_alone(
    text_model_dir: Path, outputs_dir: Path
):
    with vllm_mlx_server(text_model_dir, multimodal=True) as server:
        setup = look("Text-only model, started with --mllm", server.url, outputs_dir)
    assert read_state(setup) == "NOT READY"
    assert problems_of(setup) == {PROBE}
    assert "adds only 3 prompt tokens: the model does not see images" in line(setup, PROBE)


def test_a_server_without_batching_is_not_ready_for_several_in_flight(
    start_server: Callable[[str], Target], outputs_dir: Path
):
    setup = look("Without continuous batching", start_server("vllm-mlx-simple").url, outputs_dir)
    assert read_state(setup) == "NOT READY"
    assert problems_of(setup) == {"vllm-mlx: continuous batching"}
    assert "all but one are refused" in line(setup, "vllm-mlx: continuous batching")


def test_another_model_name_lists_the_served_one(start_server: Callable[[str], Target], outputs_dir: Path):
    setup = look("Another model name", start_server("vllm-mlx").url, outputs_dir, model="qwen3-vl-4b")
    assert read_state(setup) == "NOT READY"
    assert problems_of(setup) == {SERVER}
    assert "no model 'qwen3-vl-4b', but tiny → set candidate_model" in line(setup, SERVER)

"""What setup_check decides about real servers: one in order, and the ways in which one is not."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from poc_lib.checks import check_setup, read_state
from poc_lib.params import Params
from tests.engine.servers import HOST, SERVED_NAME, free_port, random_model, vllm_mlx

pytestmark = pytest.mark.engine
NO_BATCHING = "found continuous batching off, expected it on"
CASES = {  # the server's options (None: it is down), the model asked for, problems that must be named
    "in order": ({}, SERVED_NAME, []),
    "down": (None, SERVED_NAME, ["does not answer at"]),
    "another name": ({}, "qwen3-vl-4b", ["serves no model 'qwen3-vl-4b', but tiny"]),
    "without batching": ({"batching": False}, SERVED_NAME, [NO_BATCHING]),
    "text only": ({"images": False}, SERVED_NAME, ["without vision", "one answer to two images"]),
    "text only, said to see": ({"images": True}, SERVED_NAME, ["one answer to two images"]),
    "replaying": ({"version": "0.5.0"}, SERVED_NAME, ["its prefix cache on", "the other image's code"]),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_check_names_what_is_wrong_with_a_real_server_and_nothing_else(
    case, reader_dir, tmp_path_factory
):
    options, model, problems = CASES[case]
    if options is None:
        serving = nullcontext(SimpleNamespace(url=f"http://{HOST}:{free_port()}/v1"))
    elif case.startswith("text only"):
        text_model = random_model(tmp_path_factory.mktemp("model") / "text", "tiny-text")
        serving = vllm_mlx(text_model, **options)
    else:
        serving = vllm_mlx(reader_dir, **options)
    with serving as server:
        params = Params(
            candidate_url=server.url, candidate_model=model, concurrency=[1, 4], baseline_url="",
            n_frames=24, max_tokens=48, temperature=0,
        )  # fmt: skip
        setup = await check_setup(params)
    found = [finding for finding in setup.findings if finding.state == "problem"]
    assert len(found) == len(problems), found
    assert all(any(words in finding.text for finding in found) for words in problems), found
    assert all(finding.to_do for finding in found)
    assert read_state(setup) == ("NOT READY" if problems else "READY, with warnings")  # there is no baseline
    if case == "in order":
        [codes] = [finding for finding in setup.findings if finding.about == "proof"]
        assert "found both codes read" in codes.text
        assert any("vllm-mlx 0.6.0" in finding.text for finding in setup.findings)

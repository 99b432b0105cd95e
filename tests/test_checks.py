"""Can we measure here: what is found and refused, before anything is measured."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from poc_lib import checks
from poc_lib.checks import Setup, check_setup, refuse_at_once
from poc_lib.client import find_listener
from poc_lib.database import Selection
from poc_lib.params import validate_params
from poc_lib.records import Frame, Identity, Reply, SetupProblem
from tests.schemas import make_image, make_recording
from tests.wire import ANSWERS, KEEP_OPEN, OK_HEAD, json_pages, raw_server, response, server_at

OUTPUTS = Path(tempfile.gettempdir()) / "poc-lib-tests-outputs"  # the demo's data are drawn there once
LISTING = {"/v1/models": {"data": [{"id": "tiny-vlm"}]}, "/health": {"engine_type": "batched"}}
OURS = Identity("vllm-mlx", "candidate", "http://x/v1", "openai", True, model="tiny-vlm", software="vllm-mlx")
THEIRS = Identity("ollama", "baseline", "http://x", "ollama", True, model="gemma3:4b", software="ollama")
FACTS = {"chip": "M4", "cores": 8, "memory_gb": 32.0, "load_1min": 0.4, "on_battery": False}


def reply_of(text: str = "an answer", **more) -> Reply:
    usual = {
        "request_id": "", "server": "vllm-mlx", "role": "candidate", "concurrency": 1, "block": 0, "slot": 0,
        "phase": "warmup", "frame_id": "f", "sitting": 0, "simulated": False, "sent_at": "", "start_s": 0.0,
        "in_flight": 1, "total_s": 1.5, "ttft_s": 0.4, "prompt_tokens": 700, "output_tokens": 60,
    }  # fmt: skip
    return Reply(**(usual | {"text": text} | more))


def told_of(findings) -> list[str]:
    """State and text of what is not fine."""
    return [f"{found.state} {found.text}" for found in findings if found.state != "ok"]


def is_told(findings, expected: str) -> bool:
    """Whether nothing is told but one finding that begins so; with "" nothing at all."""
    told = told_of(findings)
    return told == [] if not expected else len(told) == 1 and told[0].startswith(expected)


async def problems_of(**values) -> str:
    try:
        await refuse_at_once(validate_params({"outputs_dir": str(OUTPUTS), **values}))
    except SetupProblem as problem:
        return str(problem)
    return ""


async def test_the_demo_is_ready_and_nothing_is_left_behind():
    setup = await check_setup(validate_params({"outputs_dir": str(OUTPUTS)}))
    assert is_told((found for found in setup.findings if found.about != "host"), "")
    assert [reply.server for reply in setup.replies] == ["ollama", "vllm-mlx"]
    assert len(setup.selection.frames) == setup.counts["in the sample"] > 24
    assert sum("both codes read" in found.text for found in setup.findings) == 2
    assert all("SIMULATED" in found.text for found in setup.findings if found.about == "servers")
    assert [path.name for path in OUTPUTS.iterdir()] == ["demo-data"]
    assert [find_listener(identity.url) for identity in setup.identities] == [None, None]


@pytest.mark.parametrize(
    ("faults", "about", "state", "text"),
    [
        (["replay"], "proof", "problem", "found an answer with the other image's code"),
        (["duplicate"], "proof", "problem", "found one answer to two images"),
        (["blind"], "proof", "warning", "found 0 of 2 codes read"),
        (["error"], "requests", "problem", "found http_status (HTTP 500"),
        (["no such fault"], "servers", "problem", "demo_faults: 'no such fault' is unknown"),
    ],
)
async def test_a_fault_of_the_simulated_candidate_is_found(faults, about, state, text):
    values = {"outputs_dir": str(OUTPUTS), "demo_faults": faults, "n_frames": 24}
    found = [found for found in (await check_setup(validate_params(values))).findings if text in found.text]
    assert [(one.about, one.state, bool(one.to_do)) for one in found] == [(about, state, True)]


async def test_whatever_is_wrong_is_a_finding_and_no_exception(tmp_path):
    values = {"outputs_dir": str(tmp_path), "database": str(tmp_path / "no.db"), "baseline_url": ""}
    setup = await check_setup(validate_params(values | {"candidate_url": "http://127.0.0.1:9/v1"}))
    problems = [(found.about, found.server) for found in setup.findings if found.state == "problem"]
    assert problems == [("database", ""), ("servers", "vllm-mlx")]
    assert "Set baseline_url" in " ".join(found.to_do for found in setup.findings)
    assert (setup.selection, setup.replies, checks.read_state(setup)) == (None, [], "NOT READY")
    assert list(tmp_path.iterdir()) == []


async def test_few_narrow_frames_without_a_description_are_told(tmp_path):
    values = {"database": str(make_recording(tmp_path)), "candidate_url": "http://127.0.0.1:9/v1"}
    setup = await check_setup(validate_params(values | {"baseline_url": "", "outputs_dir": str(OUTPUTS)}))
    found = [found for found in setup.findings if found.state != "ok"]
    texts = {found.text for found in found if found.about in ("database", "proof")}
    assert any("3 of 3 frames usable" in text and "at least the 24 of a block" in text for text in texts)
    assert "Found frames 64 px wide, expected 192 px for a code" in texts
    assert setup.replies == []


async def test_the_cache_is_emptied_before_two_unlike_frames_are_sent_under_one_prompt(tmp_path):
    def answer(request: bytes) -> list:
        return [response(200, b"{}")] if request.startswith(b"DELETE") else [OK_HEAD + ANSWERS["openai"]]

    frames = [Frame(str(i), i, make_image(tmp_path / f"{i}.jpg", (256, 144)), width=256, look=look)
              for i, look in enumerate(["0" * 16, "1" * 16, "f" * 16])]  # fmt: skip
    async with raw_server(answer) as (url, requests):
        server, setup = server_at(f"{url}/v1"), Setup(validate_params({}), FACTS, {})
        setup.selection = Selection(frames, {}, "", True)
        findings = await checks.ask_server(setup, server, OURS)
    sent = [request.partition(b"\r\n\r\n") for request in requests if b"chat/completions" in request]
    order = [request.split(b" ")[0] for request in requests if not request.startswith(b"GET")]
    assert order == [b"POST", b"POST", b"DELETE", b"POST", b"POST"]
    assert [b"image_url" in body for _, _, body in sent] == [True, False, True, True]
    assert [(reply.frame_id, reply.code) for reply in setup.replies] == [("0", None)]
    assert any("0 of the image" in found.text for found in findings)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"version": "0.5.0"}, "problem vllm-mlx 0.5.0 with its prefix cache on"),
        ({"details": {"health": {"model_type": "llm"}}}, "problem tiny-vlm is without vision"),
        ({"details": {"capabilities": ["completion"]}}, "problem tiny-vlm is without vision"),
        ({"details": {"capabilities": ["completion", "vision"]}}, ""),
        ({"problem": "it serves no model 'x': set candidate_model"}, "problem it serves no model 'x'"),
    ],
)
def test_what_speaks_against_a_server_is_a_problem_with_its_name_and_what_to_do(changes, expected):
    found = checks.server_problems([replace(OURS, **changes)])
    assert is_told(found, expected)
    assert all(problem.server == "vllm-mlx" and problem.to_do for problem in found)


SIMPLE = {"health": {"engine_type": "simple"}}
SMALL = {"process": {"flags": {"continuous-batching": True, "max-num-seqs": 2}}}


@pytest.mark.parametrize(
    ("identity", "details", "levels", "expected"),
    [
        (OURS, SIMPLE, (4,), "problem vllm-mlx: found continuous batching off"),
        (OURS, SIMPLE, (1,), ""),
        (OURS, {}, (4,), "warning vllm-mlx: found continuous batching not told"),
        (OURS, {"process": {"flags": {"continuous-batching": True}}}, (4,), ""),
        (OURS, {"health": {"model_loaded": False}}, (1,), "problem vllm-mlx: found its model not loaded"),
        (OURS, SMALL, (4,), "warning vllm-mlx: found 2 requests at most in its batch"),
        (THEIRS, {}, (1,), "warning ollama: found one request at a time planned"),
        (THEIRS, {"details": {"family": "qwen3vl"}}, (1,), ""),
    ],
)
def test_a_server_that_would_spoil_the_comparison_is_told(identity, details, levels, expected):
    place = {"name": identity.name, "role": identity.role, "api": identity.api, "concurrency": levels}
    server, identity = server_at("http://x", **place), replace(identity, details=details)
    assert is_told(checks.judge_server(server, identity, {}), expected)
    assert len(told_of(checks.judge_server(server, identity, {"num_waiting": 2}))) == 1 + bool(expected)


BUSY = {"error_class": "busy", "error_message": "busy"}


@pytest.mark.parametrize(
    ("reply", "n_bare", "most", "context", "expected"),
    [
        ({}, 200, 1024, 0, ""),
        ({}, 699, 1024, 0, "warning vllm-mlx: found 700 prompt tokens (1 of the image)"),
        ({"prompt_tokens": 0}, None, 1024, 0, "warning vllm-mlx: found 0 prompt tokens, 60 output tokens"),
        ({"output_tokens": None}, 200, 1024, 0, "warning vllm-mlx: found 700 prompt tokens"),
        ({"finish_reason": "length"}, 9, 99, 0, "warning vllm-mlx: found an answer cut at 99"),
        ({"finish_reason": "stop"}, 9, 60, 0, "warning vllm-mlx: found an answer cut at 60"),
        ({}, 9, 1024, 1500, "warning vllm-mlx: found a context of 1500 tokens"),
        ({"reasoning_chars": 90}, 9, 1024, 0, "warning vllm-mlx: found thinking before the answer"),
        ({"text": "so</think>yes"}, 9, 1024, 0, "warning vllm-mlx: found thinking before the answer"),
        (BUSY, None, 9, 0, "problem vllm-mlx: found busy (busy)"),
    ],
)
def test_an_answer_that_is_cut_uncounted_or_none_is_told(reply, n_bare, most, context, expected):
    found = checks.judge_request(reply_of(**reply), most, reply_of(prompt_tokens=n_bare), context)
    assert is_told(found, expected)


@pytest.mark.parametrize(
    ("pair", "unlike", "state"),
    [
        ([reply_of("one"), reply_of("one")], False, "ok"),
        ([reply_of("one"), reply_of("two")], True, "ok"),
        ([reply_of("one"), reply_of(error_class="timeout")], True, "warning"),
    ],
)
def test_two_answers_tell_whether_each_is_about_its_own_image(pair, unlike, state):
    found = checks.judge_pair(pair, unlike)
    assert (found.about, found.state, bool(found.to_do)) == ("proof", state, state != "ok")


def test_battery_load_little_memory_and_no_baseline_are_told(monkeypatch):
    memory = SimpleNamespace(available=2**34)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert told_of(checks.judge_setup(Setup(validate_params({}), FACTS, {}))) == []
    memory.available = 2**30
    facts, params = FACTS | {"load_1min": 7.0, "on_battery": True}, validate_params({"baseline_url": ""})
    told = told_of(checks.judge_setup(Setup(params, facts, {})))
    for line, found in zip(told, ["on battery", "a load of 7.0", "1.0 GB", "no baseline"], strict=True):
        assert line.startswith(f"warning Found {found}")


async def test_everything_that_can_be_refused_is_refused_at_once(tmp_path, monkeypatch):
    async with raw_server([KEEP_OPEN]) as (silent, _), raw_server(json_pages(LISTING)) as (url, _):
        values = {"database": str(tmp_path / "no.db"), "prompt": "no such prompt", "image_width": 100}
        values |= {"candidate_url": f"{url}/v1", "candidate_model": "other", "baseline_url": silent}
        async with asyncio.timeout(15):
            said = await problems_of(**values)
    wanted = "no prompt file", "image_width is 100", "no.db does not exist", "serves no model 'other'"
    assert [part for part in (*wanted, f"ollama did not answer at {silent} within") if part not in said] == []
    monkeypatch.setenv("POC_API_KEY", "a\nb")
    assert (await problems_of()).startswith("POC_API_KEY has a line break")


async def test_what_is_fine_is_not_refused_and_a_missing_recording_is(tmp_path):
    async with raw_server(json_pages(LISTING)) as (url, _):
        values = {"candidate_url": f"{url}/v1", "candidate_model": "tiny-vlm"}
        values["database"] = str(make_recording(tmp_path))
        assert await problems_of(**values) == ""
        assert (await problems_of(**values, recording="r9")).startswith("no recording 'r9': give 'latest'")
    assert await problems_of() == ""

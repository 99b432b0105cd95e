"""vllm-mlx without continuous batching, as it was recorded: one request at a time, and shapes of its own."""

import asyncio
import json

import httpx
import pytest

from poc_lib.simulator import simulated_server
from tests.test_simulator_kit import MODEL, ask, openai_body, write_answers


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    answers = write_answers(tmp_path_factory.mktemp("answers"), 4)
    with simulated_server("openai", MODEL, answers, speed=2, simple=True) as server:
        yield server.url


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


async def while_one_is_running(url, body):
    """The answer to a second request, sent after the first one's role chunk, and the status then."""
    async with httpx.AsyncClient(timeout=30, trust_env=False) as sender:
        request = sender.build_request("POST", url + "/chat/completions", json=openai_body(0))
        first = await sender.send(request, stream=True)
        lines = first.aiter_lines()
        await anext(lines)
        status = await sender.get(url + "/status")
        second = await sender.post(url + "/chat/completions", json=body)
        rest = [line async for line in lines]
        assert rest[-2] == "data: [DONE]"
        return second, status.json()


def test_a_second_plain_request_is_refused_as_busy(url, client):
    refused, status = asyncio.run(while_one_is_running(url, openai_body(1, stream=False)))
    assert refused.status_code == 503
    detail = refused.json()["detail"]
    assert detail["error"] == "text_generation_busy"
    assert detail["message"].startswith("SimpleEngine serialized route is busy; request_id=simple-")
    assert detail["message"].endswith("; waiters=0; retry later")
    assert "retry-after" not in refused.headers
    assert status["num_running"] == 0
    assert status["requests"][0]["kind"] == "blocking_serialized"


def test_a_second_streamed_request_gets_200_and_an_error_that_does_not_say_busy(url):
    refused, _ = asyncio.run(while_one_is_running(url, openai_body(1)))
    assert refused.status_code == 200
    events = refused.text.split("\n\n")
    assert events[1] == (
        'data: {"error": {"message": "Internal server error", "type": "InternalServerError",'
        ' "param": null, "code": 500}}'
    )
    assert events[2:] == ["data: [DONE]", ""]


def test_a_stream_says_stop_and_counts_two_tokens_more_even_when_it_was_cut(url, client):
    response = client.post(url + "/chat/completions", json=openai_body(2, max_tokens=6))
    chunks = [json.loads(event.removeprefix("data: ")) for event in response.text.split("\n\n")[:-2]]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[:2] == [{"role": "assistant"}, {}]
    assert [set(delta) for delta in deltas[2:]] == [{"content"}] * 6 + [set()]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 8


def test_a_plain_answer_counts_its_tokens_exactly(url, client):
    body = openai_body(2, max_tokens=6, stream=False)
    reply = client.post(url + "/chat/completions", json=body).json()
    assert reply["usage"]["completion_tokens"] == 6
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_a_whole_answer_arrives_although_its_text_comes_late(url, client):
    assert ask(client, url, openai_body(3)).text.endswith("topics: [tests, module 3]")


def test_health_and_caches_show_the_simple_engine(url, client):
    root = url.removesuffix("/v1")
    assert client.get(root + "/health").json()["engine_type"] == "simple"
    assert client.get(url + "/cache/stats").json()["engine_cache"]["mllm_cache"]["max_entries"] == 50
    assert client.delete(url + "/cache").json()["engine_cache"] == {"model_cache": True}

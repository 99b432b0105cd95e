import asyncio
import itertools
import json

import httpx
import pytest

from poc_lib.simulator import simulated_server
from tests.test_simulator_kit import (
    FREE,
    MODEL,
    ask,
    openai_body,
    planted,
    write_answers,
)

N_FRAMES = 20


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return write_answers(tmp_path_factory.mktemp("answers"), N_FRAMES)


@pytest.fixture(scope="module")
def url(answers):
    with simulated_server("openai", MODEL, answers, speed=50) as server:
        yield server.url


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def raw_events(client, url, body):
    response = client.post(url + "/chat/completions", json=body)
    assert response.status_code == 200
    return response.text


def chunks_of(text):
    events = [event.removeprefix("data: ") for event in text.split("\n\n") if event]
    assert events[-1] == "[DONE]"
    return [json.loads(event) for event in events[:-1]]


def test_health_says_that_it_is_simulated(client, url):
    health = client.get(url.removesuffix("/v1") + "/health").json()
    assert health["simulated"] is True
    assert (health["status"], health["model_type"], health["engine_type"]) == ("healthy", "mllm", "batched")


def test_every_response_carries_the_simulated_header(client, url):
    for path in ("/models", "/status", "/no/such/path"):
        assert client.get(url + path).headers["x-simulated"] == "1"
    assert ask(client, url, openai_body(0)).headers["x-simulated"] == "1"


def test_the_served_model_is_listed(client, url):
    models = client.get(url + "/models").json()
    assert [card["id"] for card in models["data"]] == [MODEL]


def test_a_stream_begins_with_the_role_and_ends_with_the_usage(client, url):
    chunks = chunks_of(raw_events(client, url, openai_body(1, stream_options={"include_usage": True})))
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant"}
    contents = [c["choices"][0]["delta"].get("content") for c in chunks[1:-2]]
    assert "".join(contents).startswith("description: ")
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    usage = chunks[-1]["usage"]
    assert usage["completion_tokens"] == len(contents) + 1
    assert usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_without_being_asked_no_usage_chunk_is_sent(client, url):
    chunks = chunks_of(raw_events(client, url, openai_body(1)))
    assert all(chunk["choices"] for chunk in chunks)


def test_a_plain_answer_equals_the_streamed_one_at_temperature_0(client, url):
    plain = client.post(url + "/chat/completions", json=openai_body(3, stream=False, temperature=0)).json()
    streamed = ask(client, url, openai_body(3, temperature=0))
    assert plain["object"] == "chat.completion"
    assert plain["choices"][0]["message"]["content"] == streamed.text
    assert plain["choices"][0]["finish_reason"] == "stop"


def test_every_image_gets_its_own_answer(client, url):
    for index in range(N_FRAMES):
        assert f"file_{index}.py" in ask(client, url, openai_body(index)).text


def test_a_prompt_without_the_one_line_form_gets_sentences(client, url):
    text = ask(client, url, openai_body(2, prompt=FREE)).text
    assert "description:" not in text
    assert "file_2.py" in text


def test_max_tokens_cuts_the_answer_and_says_so(client, url):
    options = {"include_usage": True}
    seen = ask(client, url, openai_body(2, max_tokens=5, temperature=0, stream_options=options))
    whole = ask(client, url, openai_body(2, temperature=0))
    assert seen.finish == "length"
    assert seen.last["usage"]["completion_tokens"] == 5
    assert whole.text.startswith(seen.text)
    assert 0 < len(seen.text) < len(whole.text)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "other"}, 404, "The model `other` does not exist"),
        ({"messages": "hello"}, 422, "Input should be a valid list"),
        ({"max_tokens": 0}, 422, "greater than 0"),
        ({"max_tokens": 10**6}, 400, "max_tokens exceeds server limit"),
    ],
)
def test_a_wrong_request_is_refused_with_the_servers_words(client, url, change, status, words):
    response = client.post(url + "/chat/completions", json=openai_body(0) | change)
    assert response.status_code == status
    assert words in json.dumps(response.json()["detail"])


def test_missing_messages_are_a_422_that_names_the_field(client, url):
    response = client.post(url + "/chat/completions", json={"model": MODEL})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "messages"]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:1/a.png", "http://192.168.1.9/a.png", "http://localhost/a.png"]
)
def test_images_on_private_addresses_are_refused(client, url, address):
    body = openai_body(0)
    body["messages"][0]["content"][1]["image_url"]["url"] = address
    assert client.post(url + "/chat/completions", json=body).status_code == 400


def test_with_16_in_flight_a_wave_ends_before_the_next_begins(answers, client):
    async def send(n_requests, url):
        async with httpx.AsyncClient(timeout=30, trust_env=False) as sender:
            bodies = [openai_body(i, stream=False) for i in range(n_requests)]
            return await asyncio.gather(*(sender.post(url + "/chat/completions", json=b) for b in bodies))

    with simulated_server("openai", MODEL, answers, speed=5, max_batch=4) as server:
        replies = asyncio.run(send(16, server.url))
        rows = planted(client, server.url)
        status = client.get(server.url + "/status").json()
    assert all(reply.status_code == 200 for reply in replies)
    waves = sorted({row["wave"] for row in rows})
    assert len(waves) >= 4
    members = {wave: [row for row in rows if row["wave"] == wave] for wave in waves}
    assert all(len(rows) <= 4 for rows in members.values())
    assert any(len(rows) == 4 for rows in members.values())
    assert all(row["arrived"] < row["started"] < row["ended"] for row in rows)
    for wave, following in itertools.pairwise(waves):
        assert max(r["ended"] for r in members[wave]) < min(r["started"] for r in members[following])
    assert max(row["in_flight"] for row in rows) > 4
    assert status["total_requests_processed"] == 16
    assert status["num_running"] == status["num_waiting"] == 0


def test_metrics_and_caches_can_be_read_and_cleared(client, url):
    ask(client, url, openai_body(0))
    text = client.get(url.removesuffix("/v1") + "/metrics").text
    tokens = next(line for line in text.splitlines() if line.startswith("vllm_mlx_completion_tokens_total{"))
    assert float(tokens.split()[-1]) > 0
    assert "engine_cache" in client.get(url + "/cache/stats").json()
    assert client.delete(url + "/cache").json()["status"] == "cleared"


@pytest.mark.parametrize("address", ["data:image/png;base64,aGVsbG8=", "data:image/png;base64,a", "aGVsbG8="])
def test_an_image_that_cannot_be_decoded_is_a_generation_error_as_recorded(client, url, address):
    body = openai_body(0)
    body["messages"][0]["content"][1]["image_url"]["url"] = address
    events = raw_events(client, url, body).split("\n\n")
    assert '"delta":{"role":"assistant"}' in events[0]
    assert events[1:] == [
        'data: {"error": {"message": "Internal server error during generation", '
        '"type": "InternalServerError", "param": null, "code": 500}}',
        "data: [DONE]",
        "",
    ]
    plain = client.post(url + "/chat/completions", json=body | {"stream": False})
    assert plain.status_code == 500
    assert plain.text == '{"detail":"Internal server error during generation"}'

import asyncio

import httpx
import pytest

from poc_lib.simulator import simulated_server
from tests.test_simulator_kit import MODEL, ask, ollama_body, planted, write_answers

N_FRAMES = 12


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return write_answers(tmp_path_factory.mktemp("answers"), N_FRAMES)


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def url(answers):
    with simulated_server("ollama", MODEL, answers, speed=100) as server:
        yield server.url


def test_the_version_says_that_it_is_simulated(client, url):
    response = client.get(url + "/api/version")
    assert response.json() == {"version": "0.0.0-simulated"}
    assert response.headers["x-simulated"] == "1"


def test_only_the_first_request_loads_the_model_and_it_is_listed_from_then_on(answers, client):
    with simulated_server("ollama", MODEL, answers, speed=100) as server:
        before = client.get(server.url + "/api/ps").json()
        first, second = (ask(client, server.url, ollama_body(0)).last for _ in range(2))
        after = client.get(server.url + "/api/ps").json()
    assert first["load_duration"] > 10 * second["load_duration"]
    assert before == {"models": []}
    assert after["models"][0]["size_vram"] > 0


def test_the_model_is_listed_with_its_digest_and_quantisation(client, url):
    card = client.get(url + "/api/tags").json()["models"][0]
    assert card["name"] == f"{MODEL}:latest"
    assert len(card["digest"]) == 64
    assert card["details"]["quantization_level"] == "Q4_K_M"


def test_the_capabilities_of_the_model_can_be_asked(client, url):
    assert "vision" in client.post(url + "/api/show", json={"model": MODEL}).json()["capabilities"]
    unknown = client.post(url + "/api/show", json={"model": "other"})
    assert (unknown.status_code, unknown.json()) == (404, {"error": "model 'other' not found"})


def test_a_stream_ends_with_the_durations_in_nanoseconds(client, url):
    seen = ask(client, url, ollama_body(1))
    last = seen.last
    assert "file_1.py" in seen.text
    assert (last["done"], last["done_reason"]) == (True, "stop")
    assert last["prompt_eval_count"] > 0
    parts = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    assert 10**6 < parts <= last["total_duration"]


def test_a_plain_answer_is_one_object(client, url):
    reply = client.post(url + "/api/chat", json=ollama_body(2, stream=False)).json()
    assert "file_2.py" in reply["message"]["content"]
    assert reply["done"] is True
    assert reply["eval_count"] > 10


def test_num_predict_cuts_the_answer_and_says_so(client, url):
    seen = ask(client, url, ollama_body(2, options={"num_predict": 4}))
    assert (seen.finish, seen.last["eval_count"]) == ("length", 4)


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "other"}, 404, "model 'other' not found"),
        ({"think": True}, 400, "does not support thinking"),
        ({"messages": [{"role": "user", "content": "x", "images": ["***"]}]}, 400, "illegal base64"),
        ({"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]}, 500, "unknown format"),
    ],
)
def test_a_wrong_request_is_refused_in_the_servers_words(client, url, change, status, words):
    response = client.post(url + "/api/chat", json=ollama_body(0) | change)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_requests_queue_and_are_answered_one_after_the_other(answers, client):
    async def send(url):
        async with httpx.AsyncClient(timeout=30, trust_env=False) as sender:
            bodies = [ollama_body(i, stream=False) for i in range(8)]
            return await asyncio.gather(*(sender.post(url + "/api/chat", json=body) for body in bodies))

    with simulated_server("ollama", MODEL, answers, speed=20) as server:
        replies = asyncio.run(send(server.url))
        rows = planted(client, server.url)
    assert [reply.status_code for reply in replies] == [200] * 8
    assert sorted(row["wave"] for row in rows) == list(range(1, 9))
    in_order = sorted(rows, key=lambda row: row["started"])
    assert [row["arrived"] for row in in_order] == sorted(row["arrived"] for row in rows)


ENDINGS = {
    "cut_stream",
    "malformed_chunk",
    "stream_error",
    "empty",
    "truncated",
    "busy",
    "http_500",
    "duplicate",
}


def test_what_was_planted_is_what_a_client_sees(answers, client):
    faults = [f"{name}:0.15" for name in sorted(ENDINGS)]
    with simulated_server("ollama", MODEL, answers, speed=400, faults=faults) as server:
        seen = [ask(client, server.url, ollama_body(n % N_FRAMES)) for n in range(8 * N_FRAMES)]
        rows = planted(client, server.url)
    for answer, row in zip(seen, rows, strict=True):
        whole = answer.status == 200 and not (answer.closed_early or answer.garbage or answer.error)
        own = f"file_{int(row['frame_id'])}.py" in answer.text
        marks = {
            "busy": answer.status == 503,
            "http_500": answer.status == 500,
            "cut_stream": answer.closed_early and answer.finish is None,
            "malformed_chunk": answer.garbage == 1,
            "stream_error": answer.status == 200 and answer.error,
            "empty": whole and not answer.text,
            "truncated": whole and answer.finish == "length",
            "duplicate": whole and not own and answer.finish == "stop",
            None: whole and own and answer.finish == "stop",
        }
        assert marks[row["fault"]], (row, answer)
    assert {row["fault"] for row in rows} == {None, *ENDINGS}

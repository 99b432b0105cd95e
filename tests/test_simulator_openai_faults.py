"""Every planted fault as a client of the OpenAI-compatible API sees it."""

import asyncio

import httpx
import pytest

from poc_lib.simulator import simulated_server
from tests.test_simulator_kit import MODEL, Seen, ask, openai_body, planted, read_answer, write_answers

N_FRAMES = 20


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return write_answers(tmp_path_factory.mktemp("answers"), N_FRAMES)


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


FAULTS_ON_THE_WIRE = ("wrong_image", "replay_first", "duplicate", "busy", "http_500", "cut_stream")
FAULTS_ON_THE_WIRE += ("malformed_chunk", "stream_error", "empty", "truncated", "loop")


def looks_like(seen: Seen, own: str, answered: str | None) -> dict[str, bool]:
    """For each fault, whether the answer shows its mark."""
    whole = seen.status == 200 and not (seen.closed_early or seen.garbage or seen.error)
    return {
        "busy": seen.status in (503, 429),
        "http_500": seen.status == 500,
        "cut_stream": seen.closed_early and seen.finish is None,
        "malformed_chunk": seen.garbage == 1 and seen.finish == "stop",
        "stream_error": seen.status == 200 and seen.error,
        "empty": whole and seen.finish == "stop" and not seen.text,
        "truncated": whole and seen.finish == "length" and len(seen.text) < 90,
        "loop": whole and seen.finish == "length" and len(seen.text) > 600,
        "wrong_image": whole and f"file_{answered}.py" in seen.text and answered != own,
        "replay_first": whole and "file_0.py" in seen.text and own != "0",
        "duplicate": whole and "file_" not in seen.text and seen.text.startswith("description"),
        "none": whole and seen.finish == "stop" and f"file_{own}.py" in seen.text,
    }


def test_what_was_planted_is_what_a_client_sees(answers, client):
    faults = [f"{name}:0.15" for name in FAULTS_ON_THE_WIRE]
    with simulated_server("openai", MODEL, answers, speed=400, faults=faults) as server:
        seen = [ask(client, server.url, openai_body(n % N_FRAMES)) for n in range(8 * N_FRAMES)]
        rows = planted(client, server.url)
    assert len(rows) == len(seen)
    for answer, row in zip(seen, rows, strict=True):
        own, answered = str(int(row["frame_id"])), row["answered"] and str(int(row["answered"]))
        assert looks_like(answer, own, answered)[row["fault"] or "none"], (row, answer)
    assert {row["fault"] for row in rows} == {None, *FAULTS_ON_THE_WIRE}


def test_the_same_seed_plants_the_same_faults_and_another_seed_others(answers, client):
    def planted_by(seed):
        with simulated_server("openai", MODEL, answers, speed=400, seed=seed, faults=["empty:0.3"]) as server:
            for index in range(N_FRAMES):
                ask(client, server.url, openai_body(index))
            return [row["fault"] for row in planted(client, server.url)]

    first = planted_by(0)
    assert first == planted_by(0)
    assert first != planted_by(1)


def test_a_stalled_answer_stops_half_way_and_the_server_goes_on(answers):
    with (
        simulated_server("openai", MODEL, answers, speed=400, faults=["stall:1"]) as server,
        httpx.Client(timeout=httpx.Timeout(10, read=1.0), trust_env=False) as impatient,
        impatient.stream("POST", server.url + "/chat/completions", json=openai_body(0)) as response,
    ):
        seen = Seen(status=response.status_code)
        with pytest.raises(httpx.ReadTimeout):
            read_answer(response, seen)
        assert seen.text.startswith("description: ")
        assert "topics" not in seen.text
        assert seen.finish is None
        assert impatient.get(server.url + "/status").status_code == 200


def test_a_level_spares_the_requests_that_come_alone(answers, client):
    async def together(url, n_requests):
        async with httpx.AsyncClient(timeout=30, trust_env=False) as sender:
            bodies = [openai_body(i, stream=False) for i in range(n_requests)]
            await asyncio.gather(*(sender.post(url + "/chat/completions", json=body) for body in bodies))

    with simulated_server("openai", MODEL, answers, speed=10, faults=["wrong_image:1@4"]) as server:
        for index in range(3):
            ask(client, server.url, openai_body(index))
        asyncio.run(together(server.url, 12))
        rows = planted(client, server.url)
    assert all(row["fault"] is None for row in rows[:3])
    assert all((row["fault"] == "wrong_image") == (row["in_flight"] >= 4) for row in rows)
    assert any(row["fault"] for row in rows)


def test_a_crash_ends_the_process_after_its_requests(answers, client):
    with simulated_server("openai", MODEL, answers, speed=400, faults=["crash_after:2"]) as server:
        assert [ask(client, server.url, openai_body(i)).status for i in range(2)] == [200, 200]
        with pytest.raises(httpx.TransportError):
            ask(client, server.url, openai_body(2))
        assert server.process.wait(10) == 3

"""Asking servers for their own figures, whatever they answer."""

import httpx
import pytest

from poc_lib.telemetry.asking import ask_server, open_asking_client, plan_asking, snapshot_counters
from poc_lib.telemetry.spec import Target
from tests.builders import ABORT, http_response, raw_server, spec
from tests.recorded_telemetry import VLLM_METRICS, VLLM_STATUS_IDLE

PAGES = {"/v1/status": VLLM_STATUS_IDLE, "/metrics": VLLM_METRICS}


def pages(texts: dict[str, bytes], otherwise: int = 404):
    def answer(request: bytes) -> list:
        path = request.split(b" ", 2)[1].decode()
        return [http_response(200, texts[path]) if path in texts else http_response(otherwise, b"{}")]

    return answer


def target(server, **changes) -> Target:
    return Target(**({"name": "s", "api": "openai", "url": server.base_url, "model": "tiny"} | changes))


async def ask_once(asked) -> dict:
    async with open_asking_client(None, 5.0) as client:
        return await ask_server(client, asked)


def paths_of(server) -> list[str]:
    return [request.split(b" ", 2)[1].decode() for request in server.requests]


async def test_status_and_metrics_are_put_together():
    async with raw_server(pages(PAGES)) as server:
        found = await ask_once(plan_asking(target(server)))
    assert found["completion_tokens_total"] == 39
    assert found["answered_completion_tokens_total"] == 892
    assert "error" not in found


@pytest.mark.parametrize("status", [401, 404])
async def test_a_route_that_the_server_does_not_have_is_asked_once(status):
    async with raw_server(pages({"/metrics": VLLM_METRICS}, otherwise=status)) as server:
        asked = plan_asking(target(server))
        first, second = await ask_once(asked), await ask_once(asked)
    assert first["error"] == f"HTTP {status} at /v1/status"
    assert first | second == first
    assert "error" not in second
    assert paths_of(server) == ["/v1/status", "/metrics", "/metrics"]


async def test_a_server_in_trouble_is_asked_again():
    async with raw_server(pages({}, otherwise=500)) as server:
        asked = plan_asking(target(server))
        for _ in range(2):
            assert await ask_once(asked) == {"error": "HTTP 500 at /metrics"}
    assert len(server.requests) == 4


async def test_a_broken_connection_is_told_and_raises_nothing():
    async with raw_server([ABORT]) as server:
        found = await ask_once(plan_asking(target(server)))
    assert found["error"] in {"ReadError", "RemoteProtocolError"}


async def test_a_server_that_is_away_is_told_and_raises_nothing():
    async with raw_server([]) as server:
        asked = plan_asking(target(server))
    assert await ask_once(asked) == {"error": "ConnectError"}


async def test_the_key_is_sent_to_the_server():
    async with raw_server(pages(PAGES)) as server:
        await snapshot_counters(spec(server.base_url), "secret")
    assert all(b"authorization: bearer secret" in request.lower() for request in server.requests)


async def test_a_snapshot_of_ollama_asks_its_own_route():
    loaded = b'{"models":[{"name":"tiny","size_vram":2000000000}]}'
    async with raw_server(pages({"/api/ps": loaded})) as server:
        found = await snapshot_counters(spec(server.url, api="ollama", model="tiny"))
    assert found == {"size_vram_gb": 2.0}
    assert paths_of(server) == ["/api/ps"]


async def test_a_snapshot_of_a_server_without_figures_is_empty():
    async with raw_server(pages({})) as server:
        assert await snapshot_counters(spec(server.base_url)) == {}


def test_questions_have_one_connection_of_their_own():
    client = open_asking_client(None, 7.0)
    assert client.timeout == httpx.Timeout(7.0)
    assert not client.trust_env

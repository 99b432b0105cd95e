"""Sending over a real connection to a server that writes given bytes, stalls, cuts or refuses."""

import asyncio
import time
from dataclasses import asdict

import httpx
import orjson
import pytest
from PIL import Image

from poc_lib.records import Cell
from poc_lib.servers import (
    Sending,
    open_client,
    prepare_request,
    prepare_requests,
    run_clock_ns,
    send_request,
)
from tests.builders import (
    ABORT,
    ANSWERS,
    KEEP_OPEN,
    MODEL,
    OK_HEAD,
    OPENAI_ANSWER,
    TEXT,
    delta,
    frame,
    http_response,
    raw_server,
    settings,
    spec,
    sse,
)

APIS = ("openai", "ollama")
KEY = "sk-very-secret"
CELL = Cell("vllm-mlx", "candidate", 4, 1)


@pytest.fixture
def shot(tmp_path):
    path = tmp_path / "shot.png"
    Image.new("RGB", (8, 8), "navy").save(path)
    return frame("f1", image_path=path)


async def send(url, shot, api="openai", **changes):
    prepared = prepare_request(spec(url, api=api), shot, settings(**changes))
    sending = Sending(CELL, 2, 3, True, run_clock_ns(), 4)
    async with open_client(settings(**changes)) as client:
        return await send_request(client, prepared, sending)


async def answer_of(pieces, shot, api="openai", **changes):
    async with raw_server(pieces) as server:
        return await send(server.base_url, shot, api, **changes)


@pytest.mark.parametrize("api", APIS)
async def test_an_answer_that_comes_byte_by_byte_is_read(api, shot):
    body = ANSWERS[api]
    reply = await answer_of([OK_HEAD, *(body[i : i + 1] for i in range(len(body)))], shot, api)
    assert (reply.error_class, reply.text, reply.prompt_tokens, reply.output_tokens) == (None, TEXT, 812, 7)
    assert 0 <= reply.headers_s <= reply.ttft_s <= reply.arrivals_s[-1] + 1e-5 <= reply.total_s + 2e-5


async def test_the_reply_says_where_in_the_run_it_belongs(shot):
    reply = await answer_of([OK_HEAD, OPENAI_ANSWER], shot)
    assert reply.request_id == "vllm-mlx/measure/c4/b1/f1"
    assert (reply.concurrency, reply.block, reply.sitting, reply.slot) == (4, 1, 2, 3)
    assert (reply.in_flight, reply.simulated, reply.http_status) == (4, True, 200)
    assert reply.start_s >= 0


def test_the_body_is_encoded_before_it_is_sent(shot):
    prepared = prepare_requests(spec("http://h/v1"), [shot], settings())["f1"]
    shot.image_path.unlink()
    assert isinstance(prepared.body, bytes)
    assert orjson.loads(prepared.body)["model"] == MODEL


async def test_the_encoded_body_is_what_arrives(shot):
    prepared = prepare_request(spec("http://h/v1"), shot, settings())
    async with raw_server([OK_HEAD, OPENAI_ANSWER]) as server:
        await send(server.base_url, shot)
    head, body = server.requests[0].split(b"\r\n\r\n", 1)
    assert body == prepared.body
    assert b"accept-encoding: identity" in head.lower()


@pytest.mark.parametrize("api", APIS)
async def test_a_closed_port_is_a_failed_connection(api, shot):
    async with raw_server([]) as server:
        pass
    reply = await send(server.base_url, shot, api)
    assert (reply.error_class, reply.http_status, reply.ttft_s) == ("connect", None, None)
    assert reply.error_message.startswith("ConnectError")


@pytest.mark.parametrize("api", APIS)
async def test_a_connection_dropped_before_the_response_is_a_failed_connection(api, shot):
    assert (await answer_of([ABORT], shot, api)).error_class == "connect"
    assert (await answer_of([], shot, api)).error_class == "connect"


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("sent", [[], [OK_HEAD], [OK_HEAD, 40]])
async def test_a_server_that_falls_silent_is_timed_out(api, sent, shot):
    pieces = [ANSWERS[api][:piece] if isinstance(piece, int) else piece for piece in sent]
    reply = await answer_of([*pieces, KEEP_OPEN], shot, api, timeout_s=0.2)
    assert reply.error_class == "timeout"
    assert reply.total_s >= 0.2


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (503, b'{"error": "server busy"}', "busy"),
        (429, b"", "busy"),
        (400, b'{"detail": {"error": "text_generation_busy", "message": "retry later"}}', "busy"),
        (500, b'{"error": {"message": "oops"}}', "http_status"),
        (404, b"<html>no such page</html>", "http_status"),
        (302, b"", "http_status"),
    ],
)
async def test_another_status_than_200_is_named(api, status, body, expected, shot):
    reply = await answer_of([http_response(status, body)], shot, api)
    assert (reply.error_class, reply.http_status) == (expected, status)
    assert reply.error_message.startswith(f"HTTP {status}: ")


@pytest.mark.parametrize("api", APIS)
async def test_the_other_failures_arrive_named_over_the_wire(api, shot):
    half = ANSWERS[api][:60]
    error = {"openai": sse({"error": "oops"}), "ollama": b'{"error": "oops"}\n'}[api]
    empty = {"openai": sse(delta("stop")), "ollama": b'{"message": {"content": ""}, "done": true}\n'}[api]
    assert (await answer_of([OK_HEAD, b"<html>"], shot, api)).error_class == "malformed"
    assert (await answer_of([OK_HEAD, error], shot, api)).error_class == "server_error"
    assert (await answer_of([OK_HEAD, half, ABORT], shot, api)).error_class == "truncated"
    assert (await answer_of([OK_HEAD, empty], shot, api)).error_class == "empty"


async def test_bytes_that_are_not_http_are_a_failed_connection(shot):
    assert (await answer_of([b"220 mail.example ESMTP\r\n"], shot)).error_class == "connect"


async def test_a_cut_response_of_known_length_is_truncated(shot):
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9999\r\n\r\n"
    first = sse(delta(content="An"))
    reply = await answer_of([head + first, ABORT], shot)
    assert (reply.error_class, reply.text) == ("truncated", "An")


async def test_a_connection_held_open_after_the_answer_costs_no_latency(shot):
    before_s = time.perf_counter()
    reply = await answer_of([OK_HEAD, OPENAI_ANSWER, KEEP_OPEN], shot, timeout_s=0.8)
    waited_s = time.perf_counter() - before_s
    assert (reply.error_class, reply.text) == (None, TEXT)
    assert reply.total_s <= waited_s - 0.8  # the time-out that ended the wait is not counted


@pytest.mark.parametrize("pieces", [[ABORT], [http_response(503, b"{}")], [OK_HEAD, b"data: x\n"]])
async def test_nothing_is_retried(pieces, shot):
    async with raw_server(pieces) as server:
        reply = await send(server.base_url, shot)
        assert reply.error_class is not None
        assert (server.n_connections, len(server.requests)) == (1, 1)


async def test_a_slot_keeps_its_connection(shot):
    whole = http_response(200, OPENAI_ANSWER)
    async with raw_server([whole]) as server:
        prepared = prepare_request(spec(server.base_url), shot, settings())
        sending = Sending(CELL, 0, 0, False, run_clock_ns(), 1)
        async with open_client(settings()) as client:
            replies = [await send_request(client, prepared, sending) for _ in range(3)]
        assert [reply.error_class for reply in replies] == [None] * 3
        assert server.n_connections == 1


async def test_the_api_key_travels_in_the_header_and_nowhere_else(shot):
    echo = b'{"error": {"message": "wrong key sk-very-secret"}}'
    async with raw_server([http_response(401, echo)]) as server:
        reply = await send(server.base_url, shot, api_key=KEY)
    head, body = server.requests[0].split(b"\r\n\r\n", 1)
    assert b"authorization: bearer sk-very-secret" in head.lower()
    assert KEY.encode() not in body
    assert KEY not in repr(asdict(reply))
    assert reply.error_message == "HTTP 401: wrong key [API key]"


def test_the_api_key_and_the_body_are_not_shown(shot):
    with_key = settings(api_key=KEY)
    prepared = prepare_request(spec("http://h/v1"), shot, with_key)
    assert KEY not in repr(with_key) + repr(prepared)
    assert "base64" not in repr(prepared)


def test_without_a_key_no_authorization_is_sent(shot):
    assert "authorization" not in prepare_request(spec("http://h/v1"), shot, settings()).headers


async def test_proxies_of_the_environment_are_ignored(shot, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert (await answer_of([OK_HEAD, OPENAI_ANSWER], shot)).error_class is None


async def test_time_outs_are_the_settings_not_the_librarys():
    async with open_client(settings(timeout_s=600.0, connect_timeout_s=7.0)) as client:
        assert client.timeout == httpx.Timeout(600.0, connect=7.0)


async def test_a_cancelled_request_leaves_no_reply(shot):
    async with raw_server([OK_HEAD, KEEP_OPEN]) as server:
        task = asyncio.create_task(send(server.base_url, shot))
        await server.first_request.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

"""Giving a request up: what the reply says, and that the server notices."""

import asyncio

import pytest

from poc_lib.canary.aborting import send_and_abort
from poc_lib.records import Cell
from poc_lib.servers import open_client, prepare_request
from poc_lib.servers.chat import Sending, run_clock_ns
from tests.builders import (
    ABORT,
    DONE,
    KEEP_OPEN,
    OK_HEAD,
    delta,
    frame,
    ndjson,
    raw_server,
    settings,
    spec,
    sse,
)

ROLE = sse(delta(role="assistant"))
WORDS = [sse(delta(content=word)) for word in ("one ", "two ", "three ", "four ")]
ENDING = sse(delta("stop")) + DONE


async def send(tmp_path, server, *, api="openai", **giving_up):
    path = tmp_path / "f1.jpg"
    path.write_bytes(b"jpeg")
    url = server.base_url if api == "openai" else server.url
    prepared = prepare_request(spec(url, api=api), frame("f1", image_path=path), settings())
    cell = Cell("vllm-mlx", "candidate", 2, block=0, phase="canary_abort")
    sending = Sending(cell=cell, sitting=0, slot=1, simulated=False, run_start_ns=run_clock_ns(), in_flight=2)
    async with open_client(settings()) as client:
        return await send_and_abort(client, prepared, sending, **giving_up)


async def test_a_request_is_given_up_after_its_first_chunks_of_text(tmp_path):
    async with raw_server([OK_HEAD, ROLE, *WORDS[:2], KEEP_OPEN]) as server:
        reply = await send(tmp_path, server, after_chunks=2)
    assert (reply.error_class, reply.error_message) == ("aborted", "given up after 2 chunks")
    assert reply.text == "one two "
    assert len(reply.arrivals_s) == 2
    assert reply.ttft_s == pytest.approx(reply.arrivals_s[0], abs=1e-5)
    assert reply.total_s >= reply.arrivals_s[-1] - 1e-5
    assert (reply.phase, reply.slot, reply.http_status) == ("canary_abort", 1, 200)


async def test_a_request_is_given_up_before_its_first_token(tmp_path):
    async with raw_server([OK_HEAD, ROLE, KEEP_OPEN]) as server:
        reply = await send(tmp_path, server, after_s=0.05)
    assert (reply.error_class, reply.error_message) == ("aborted", "given up 0.05 s after sending")
    assert reply.ttft_s is None
    assert reply.text == ""
    assert reply.total_s >= 0.05


async def test_a_request_is_given_up_before_its_headers(tmp_path):
    async with raw_server([KEEP_OPEN]) as server:
        reply = await send(tmp_path, server, api="ollama", after_s=0.05)
    assert reply.error_class == "aborted"
    assert reply.http_status is None
    assert reply.headers_s is None


async def test_chunks_of_the_other_api_are_counted_as_well(tmp_path):
    lines = [ndjson({"message": {"role": "assistant", "content": word}, "done": False}) for word in "abc"]
    async with raw_server([OK_HEAD, *lines, KEEP_OPEN]) as server:
        reply = await send(tmp_path, server, api="ollama", after_chunks=3)
    assert (reply.error_class, reply.text) == ("aborted", "abc")


async def test_an_answer_that_ended_before_is_an_answer(tmp_path):
    async with raw_server([OK_HEAD + ROLE + b"".join(WORDS) + ENDING]) as server:
        reply = await send(tmp_path, server, after_chunks=2)
    assert reply.error_class is None
    assert reply.text == "one two three four "
    async with raw_server([OK_HEAD, ROLE, WORDS[0], ENDING]) as server:
        reply = await send(tmp_path, server, after_chunks=5, after_s=30.0)
    assert (reply.error_class, reply.text) == (None, "one ")


@pytest.mark.parametrize("pieces", [[OK_HEAD, ROLE, WORDS[0]], [OK_HEAD, ROLE, WORDS[0], ABORT]])
async def test_an_answer_that_broke_before_is_a_failure_of_the_server(tmp_path, pieces):
    async with raw_server(pieces) as server:
        reply = await send(tmp_path, server, after_chunks=2)
    assert reply.error_class == "truncated"


async def test_a_refusal_is_a_refusal(tmp_path):
    head = b"HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nbusy"
    async with raw_server([head]) as server:
        reply = await send(tmp_path, server, after_chunks=1, after_s=30.0)
    assert (reply.error_class, reply.http_status) == ("busy", 503)


async def test_the_server_sees_the_connection_close_and_the_client_can_go_on(tmp_path):
    closed = asyncio.Event()

    async def handle(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK_HEAD + ROLE + WORDS[0])
        await writer.drain()
        while await reader.read(65536):
            pass
        closed.set()
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    path = tmp_path / "f1.jpg"
    path.write_bytes(b"jpeg")
    where = spec(f"http://127.0.0.1:{port}/v1")
    prepared = prepare_request(where, frame("f1", image_path=path), settings())
    cell = Cell("vllm-mlx", "candidate", 1, block=0, phase="canary_abort")
    sending = Sending(cell=cell, sitting=0, slot=0, simulated=False, run_start_ns=run_clock_ns(), in_flight=1)
    async with listening, open_client(settings()) as client:
        for _ in range(2):
            closed.clear()
            reply = await send_and_abort(client, prepared, sending, after_chunks=1)
            assert reply.error_class == "aborted"
            async with asyncio.timeout(10):
                await closed.wait()


async def test_a_cancelled_send_stays_cancelled(tmp_path):
    async with raw_server([OK_HEAD, ROLE, KEEP_OPEN]) as server:
        task = asyncio.create_task(send(tmp_path, server, after_s=30.0))
        await server.first_request.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

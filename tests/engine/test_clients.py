"""The same servers, read by the project's own clients: what comes back becomes the right row."""

import asyncio
from dataclasses import replace

import pytest

from poc_lib.records import Cell, Frame, Reply, ServerSpec
from poc_lib.servers import (
    ChatSettings,
    PreparedRequest,
    Sending,
    check_server,
    clear_cache,
    open_client,
    prepare_request,
    run_clock_ns,
    send_request,
)
from poc_lib.telemetry import snapshot_counters
from tests.engine.asking import PATIENCE_S, Target, draw_image, send
from tests.engine.counters import wait_until_idle, wait_until_settled
from tests.engine.servers import free_port
from tests.engine.targets import servers

SETTINGS = ChatSettings("What is this?", 0.0, 8, timeout_s=PATIENCE_S, connect_timeout_s=10)


@pytest.fixture(autouse=True)
async def _forgets_its_caches(target):
    await send(target, "DELETE", "/v1/cache")


def spec_of(target: Target, **changes: object) -> ServerSpec:
    spec = ServerSpec("server", "candidate", "openai", target.url, target.model, (1,))
    return replace(spec, **changes)


def frame_at(folder, index: int = 0, data: bytes | None = None) -> Frame:
    path = folder / f"frame_{index}.jpg"
    path.write_bytes(draw_image(index) if data is None else data)
    return Frame(f"frame-{index}", 0.0, path)


async def reply_to(prepared: PreparedRequest, settings: ChatSettings = SETTINGS) -> Reply:
    sending = Sending(Cell("server", "candidate", 1, 0), 0, 0, False, run_clock_ns(), 1)
    async with open_client(settings) as client:
        return await send_request(client, prepared, sending)


async def test_an_answer_becomes_a_row_with_its_times_and_tokens(target, tmp_path):
    reply = await reply_to(prepare_request(spec_of(target), frame_at(tmp_path), SETTINGS))
    assert (reply.error_class, reply.error_message, reply.http_status) == (None, None, 200)
    assert reply.text.strip()
    assert reply.output_tokens == 8 + target.known.extra_stream_tokens
    assert reply.prompt_tokens > 50
    assert reply.finish_reason == target.known.cut_reason
    assert 0 < reply.headers_s <= reply.ttft_s == pytest.approx(reply.arrivals_s[0], abs=1e-4)
    assert reply.ttft_s <= reply.total_s
    assert 1 < len(reply.arrivals_s) <= 8  # nine, if the chunk with the role were taken for a token


async def test_a_wrong_model_is_a_row_of_class_http_status(target, tmp_path):
    reply = await reply_to(prepare_request(spec_of(target, model="nope"), frame_at(tmp_path), SETTINGS))
    assert (reply.error_class, reply.http_status) == ("http_status", target.known.wrong_model.status)
    assert target.known.wrong_model.words in reply.error_message


async def test_a_file_that_is_no_image_is_a_failure_however_the_server_says_it(target, tmp_path):
    refusal = target.known.bad_image_stream
    frame = frame_at(tmp_path, data=b"not an image")
    reply = await reply_to(prepare_request(spec_of(target), frame, SETTINGS))
    assert reply.http_status == refusal.status
    assert reply.error_class == ("server_error" if refusal.status == 200 else "http_status")
    assert refusal.words in reply.error_message
    assert (reply.text, reply.output_tokens) == ("", None)


@servers(lambda known: known.huge_max_tokens is not None)
async def test_too_large_max_tokens_are_a_row_of_class_http_status(target, tmp_path):
    settings = replace(SETTINGS, max_tokens=10_000_000)
    reply = await reply_to(prepare_request(spec_of(target), frame_at(tmp_path), settings), settings)
    assert (reply.error_class, reply.http_status) == ("http_status", 400)


@servers(lambda known: not known.batches)
async def test_without_batching_the_refused_are_failures_and_no_fast_answers(target, tmp_path):
    frames = [frame_at(tmp_path, index) for index in range(4)]
    prepared = [prepare_request(spec_of(target), frame, SETTINGS) for frame in frames]
    replies = await asyncio.gather(*map(reply_to, prepared))
    failed = [reply for reply in replies if reply.error_class]
    assert len(failed) == 3
    # Nothing in a refused stream says "busy", so it cannot be told from another error of the server.
    assert {reply.error_class for reply in failed} == {"server_error"}
    assert {(reply.ttft_s, reply.output_tokens, reply.text) for reply in failed} == {(None, None, "")}


async def test_a_time_out_is_a_row_of_class_timeout_and_the_server_goes_on(target, tmp_path):
    settings = replace(SETTINGS, max_tokens=400, timeout_s=0.001)
    prepared = prepare_request(spec_of(target), frame_at(tmp_path), settings)
    reply = await reply_to(prepared, settings)
    assert reply.error_class == "timeout"
    await wait_until_idle(target)
    again = await reply_to(prepare_request(spec_of(target), frame_at(tmp_path), SETTINGS))
    assert again.error_class is None


async def test_a_server_that_is_not_there_is_a_row_of_class_connect(target, tmp_path):
    spec = spec_of(target, url=f"http://127.0.0.1:{free_port()}/v1")
    assert (await reply_to(prepare_request(spec, frame_at(tmp_path), SETTINGS))).error_class == "connect"


async def test_the_check_names_the_software_and_only_the_simulator_is_simulated(target):
    identity = await check_server(spec_of(target))
    assert identity.problem is None
    assert identity.reachable
    assert identity.software == target.known.software
    assert identity.simulated is (not target.known.real)


async def test_the_check_names_the_served_models_when_another_is_asked_for(target):
    identity = await check_server(spec_of(target, model="nope"))
    assert target.model in identity.problem


async def test_the_cache_is_cleared_where_the_server_can(target):
    assert await clear_cache(spec_of(target)) is target.known.clears_cache


async def test_the_servers_counters_rise_by_the_rows_tokens(target, tmp_path):
    await wait_until_settled(target)
    spec = spec_of(target)
    before = await snapshot_counters(spec)
    reply = await reply_to(prepare_request(spec, frame_at(tmp_path), SETTINGS))
    after = await snapshot_counters(spec)
    assert after["completion_tokens_total"] - before.get("completion_tokens_total", 0) == reply.output_tokens
    assert after["prompt_tokens_total"] - before.get("prompt_tokens_total", 0) == reply.prompt_tokens
    assert after["results"]["success"] - before.get("results", {}).get("success", 0) == 1
    assert after["in_flight"] == 0

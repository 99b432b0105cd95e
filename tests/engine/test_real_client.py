"""The same servers, read by the project's own client: what comes back becomes the right row."""

import asyncio
import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from poc_lib.client import (
    ChatSettings,
    Sending,
    check_server,
    clear_cache,
    open_client,
    prepare_request,
    replay_risk,
    send_request,
)
from poc_lib.records import Cell, Frame, Reply, Server
from poc_lib.telemetry import snapshot_counters
from tests.engine.conftest import Target
from tests.engine.known import servers
from tests.engine.servers import free_port, vllm_mlx
from tests.engine.test_contract import PATIENCE_S, PROMPT, image_url, send

SETTINGS = ChatSettings(PROMPT, temperature=0.0, max_tokens=8, timeout_s=PATIENCE_S)


@pytest.fixture(autouse=True)
async def _forgets_its_caches(target: Target):
    await send(target, "DELETE", "/v1/cache")


def server_of(target: Target, **changes: object) -> Server:
    return replace(Server("server", "candidate", "openai", target.url, target.model, (1,)), **changes)


def frame_at(folder: Path, index: int = 0, data: bytes | None = None) -> Frame:
    path = folder / f"frame_{index}.jpg"
    path.write_bytes(data or base64.b64decode(image_url(index).partition(",")[2]))
    return Frame(f"frame-{index}", 0.0, path)


async def reply_of(server: Server, frame: Frame, settings: ChatSettings = SETTINGS) -> Reply:
    prepared = prepare_request(server, frame, settings, frame.frame_id)
    sending = Sending(Cell("server", "candidate", 1, 0, "pilot"), 0, 0, 0, False, 0, 1)
    async with open_client(settings) as client:
        return await send_request(client, prepared, sending)


async def test_an_answer_becomes_a_row_with_its_times_and_tokens(target, tmp_path):
    reply = await reply_of(server_of(target), frame_at(tmp_path))
    assert (reply.error_class, reply.error_message, reply.http_status) == (None, None, 200)
    assert reply.text.strip()
    assert reply.output_tokens == 8 + target.known.extra_tokens
    assert reply.prompt_tokens > 10
    assert reply.finish_reason == target.known.cut
    assert 0 < reply.headers_s <= reply.ttft_s == pytest.approx(reply.arrivals_s[0], abs=1e-4)
    assert reply.ttft_s <= reply.total_s
    assert 1 < len(reply.arrivals_s) <= 8  # nine, if the chunk with the role were taken for a token


async def test_whatever_goes_wrong_is_a_row_of_its_class_and_the_next_request_is_answered(target, tmp_path):
    known, server, frame = target.known, server_of(target), frame_at(tmp_path)
    cases = {
        "http_status": (server_of(target, model="nope"), frame, SETTINGS),
        known.bad_image_class: (server, frame_at(tmp_path, 1, b"not an image"), SETTINGS),
        "connect": (server_of(target, url=f"http://127.0.0.1:{free_port()}/v1"), frame, SETTINGS),
        "timeout": (server, frame, replace(SETTINGS, max_tokens=400, answer_timeout_s=0.005)),
    }
    replies = [await reply_of(*case) for case in cases.values()]
    assert [reply.error_class for reply in replies] == list(cases)
    assert {reply.text for reply in replies} == {""}
    assert all(reply.error_message for reply in replies)
    for _ in range(60):  # without batching it is busy until it notices that nobody waits any more
        reply = await reply_of(server, frame)
        if reply.error_class is None:
            break
        await asyncio.sleep(0.25)
    assert reply.text.strip()


async def test_without_batching_the_refused_are_failures_and_no_fast_answers(target, tmp_path):
    frames = [frame_at(tmp_path, index) for index in range(4)]
    replies = await asyncio.gather(*(reply_of(server_of(target), frame) for frame in frames))
    failed = [reply for reply in replies if reply.error_class]
    assert len(failed) == (0 if target.known.batches else 3)
    assert {reply.error_class for reply in failed} <= {target.known.busy_class}
    assert {(reply.ttft_s, reply.output_tokens, reply.text) for reply in failed} <= {(None, None, "")}


async def test_the_check_names_software_and_version_also_where_only_the_process_tells_it(target):
    known, identity = target.known, await check_server(server_of(target))
    assert (identity.problem, identity.reachable) == (None, True)
    assert (identity.software, identity.version) == (known.software, known.version)
    assert identity.simulated is (not known.real)
    assert (replay_risk(identity) is not None) is (known.version == "0.5.0")
    flags = identity.details["process"]["flags"]
    assert ("continuous-batching" in flags) is (known.real and known.software == "vllm-mlx" and known.batches)
    problem = (await check_server(server_of(target, model="nope"))).problem
    assert Path(target.model).name in problem
    assert "candidate_model" in problem
    assert await clear_cache(server_of(target)) is known.clears_cache


async def test_the_servers_counters_rise_by_the_rows_tokens(target, tmp_path):
    server = server_of(target)
    before = await settled_counters(target)
    replies = [await reply_of(server, frame_at(tmp_path, index)) for index in range(3)]
    after = await settled_counters(target)
    rise = {name: value - before.get(name, 0) for name, value in after.items() if name.endswith("_total")}
    tokens = sum(reply.output_tokens for reply in replies)
    assert rise["requests_total"] == 3
    assert rise["output_tokens_total"] == tokens
    assert rise.get("answered_output_tokens_total", tokens) == tokens
    assert rise["prompt_tokens_total"] == sum(reply.prompt_tokens for reply in replies)


async def settled_counters(target: Target) -> dict:
    """What the server counts once it is idle; a request that was given up is counted late."""
    found: list[dict] = []
    for _ in range(60):
        found.append(await snapshot_counters(server_of(target)))
        found[-1]["prompt_tokens_total"] = await prompt_tokens(target)
        if found[-2:-1] == found[-1:]:
            return found[-1]
        await asyncio.sleep(1.0 if target.known.real else 0.05)
    raise AssertionError(f"the counters of {target.known.name} never stand still: {found[-2:]}")


async def prompt_tokens(target: Target) -> int:
    """The prompt tokens that the server has counted."""
    if target.known.software == "mlx-vlm":
        return json.loads((await send(target, "GET", "/metrics")).body)["summary"]["prompt_tokens_total"]
    return json.loads((await send(target, "GET", "/v1/status")).body)["total_prompt_tokens"]


@servers("vllm-mlx-0.5.0")
async def test_a_version_that_replays_is_no_risk_with_its_prefix_cache_off(target, model_dir):
    with vllm_mlx(model_dir, "--disable-prefix-cache", version=target.known.version) as server:
        identity = await check_server(server_of(target, url=server.url))
    assert (identity.version, replay_risk(identity)) == ("0.5.0", None)

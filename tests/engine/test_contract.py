"""One contract, held against the simulator and against the real servers, each in each of its modes.

``make test`` runs it against the simulator alone, ``make test-engine`` against all of them.
"""

import asyncio
import base64
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from PIL import Image, ImageDraw

from poc_lib.client import (
    ChatSettings,
    PreparedRequest,
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
from tests.demo_kit import MODEL, running
from tests.engine.known import EVERY, Known
from tests.engine.servers import HOST, free_port, mlx_vlm, random_model, vllm_mlx

PATIENCE_S = 120.0
SIZE_PX = (320, 180)
IMAGE_TOKENS = 60  # of that size, for Qwen3-VL; the text of the prompt has fewer
SETTINGS = ChatSettings("What is on the screen?", temperature=0.0, max_tokens=8, timeout_s=PATIENCE_S)
PARAMS = [pytest.param(known, id=known.name, marks=[pytest.mark.engine] * known.real) for known in EVERY]


class Target(NamedTuple):
    """A running server and what is known of it."""

    known: Known
    server: Server


@pytest.fixture(scope="module", params=PARAMS)
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server of the table: every test runs once for each."""
    known: Known = request.param
    model = random_model(tmp_path_factory.getbasetemp() / "tiny") if known.real else MODEL
    if known.software == "mlx-vlm":
        serving = mlx_vlm(model)
    elif known.real:
        serving = vllm_mlx(model, version=known.version, batching=known.batches)
    else:
        serving = running("openai", faults=[] if known.batches else ["busy@2"])
    with serving as server:
        name = server.model if known.real else MODEL
        yield Target(known, Server("server", "candidate", "openai", server.url, name, (1,)))


@pytest.fixture
def target(started: Target) -> Target:
    """No test meets an image that another has shown to the server."""
    httpx.delete(f"{started.server.url}/cache", timeout=PATIENCE_S, trust_env=False)
    return started


def draw_frame(folder: Path, index: int = 0) -> Frame:
    """A screen of coloured boxes that has little in common with that of another index."""
    drawn = random.Random(index)
    pen = ImageDraw.Draw(image := Image.new("RGB", SIZE_PX, tuple(drawn.choices(range(256), k=3))))
    for _ in range(24):
        left, top = map(drawn.randrange, SIZE_PX)
        corner = (left + drawn.randrange(10, 150), top + drawn.randrange(10, 90))
        pen.rectangle(((left, top), corner), fill=tuple(drawn.choices(range(256), k=3)))
    image.save(folder / f"{index}.jpg", quality=90)
    return Frame(f"frame-{index}", 0.0, folder / f"{index}.jpg")


async def ask(server: Server, frame: Frame, **changes: object) -> Reply:
    """One request of the project's client; its settings changed."""
    return await send(prepare_request(server, frame, replace(SETTINGS, **changes), frame.frame_id))


async def send(prepared: PreparedRequest) -> Reply:
    """The row that a prepared request becomes."""
    sending = Sending(Cell("server", "candidate", 1, 0, "pilot"), 0, 0, 0, False, 0, 1)
    async with open_client(SETTINGS) as client:
        return await send_request(client, prepared, sending)


async def ask_until_answered(server: Server, frame: Frame) -> Reply:
    """Ask again while it fails: without batching a server is busy until it notices that nobody waits."""
    for _ in range(60):
        if (reply := await ask(server, frame)).error_class is None:
            break
        await asyncio.sleep(0.25)
    assert reply.error_class is None, reply.error_message
    return reply


def open_stream(prepared: PreparedRequest):
    """The response to the same bytes, chunk by chunk as the server sends it."""
    more = {"content": prepared.body, "headers": prepared.headers, "timeout": PATIENCE_S, "trust_env": False}
    return httpx.stream("POST", prepared.url, **more)


async def test_the_check_names_software_and_version_also_where_only_the_process_tells_it(target):
    known, server = target
    identity = await check_server(server)
    assert (identity.problem, identity.reachable) == (None, True)
    assert (identity.software, identity.version) == (known.software, known.version)
    assert identity.simulated is (not known.real)
    assert known.health.items() <= identity.details["health"].items()
    assert (replay_risk(identity) is not None) is (known.version == "0.5.0")
    flags = identity.details["process"]["flags"]
    assert ("continuous-batching" in flags) is (known.real and known.software == "vllm-mlx" and known.batches)
    problem = (await check_server(replace(server, model="nope"))).problem
    assert Path(server.model).name in problem
    assert "candidate_model" in problem


def test_a_stream_has_role_text_finish_usage_and_end_in_this_order(target, tmp_path):
    known, server = target
    with open_stream(prepare_request(server, draw_frame(tmp_path), SETTINGS, "raw")) as response:
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data:")]
    assert data.pop() == "[DONE]"
    *chunks, last = map(json.loads, data)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert choices[0]["delta"]["role"] == "assistant"
    assert (not choices[0]["delta"].get("content")) is known.role_first
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + [known.cut]
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 8 + known.extra_tokens


async def test_an_answer_becomes_a_row_with_its_times_and_tokens(target, tmp_path):
    known, server = target
    reply = await ask(server, draw_frame(tmp_path))
    assert (reply.error_class, reply.error_message, reply.http_status) == (None, None, 200)
    assert reply.text.strip()
    assert reply.output_tokens == 8 + known.extra_tokens
    assert (reply.prompt_tokens > IMAGE_TOKENS) is known.counts_images
    assert reply.finish_reason == known.cut
    assert 0 < reply.headers_s <= reply.ttft_s == pytest.approx(reply.arrivals_s[0], abs=1e-4)
    assert reply.ttft_s <= reply.total_s
    assert 1 < len(reply.arrivals_s) <= 8  # nine, if the chunk with the role were taken for a token


async def test_whatever_goes_wrong_is_a_row_of_its_class_and_the_next_request_is_answered(target, tmp_path):
    known, server = target
    frame, nobody = draw_frame(tmp_path), replace(server, url=f"http://{HOST}:{free_port()}/v1")
    broken = prepare_request(server, frame, SETTINGS, "broken")
    picture = base64.b64encode(frame.image_path.read_bytes())
    broken = replace(broken, body=broken.body.replace(picture, b"bm90IGFuIGltYWdl"))  # "not an image"
    cases = [
        (known.wrong_model, await ask(replace(server, model="nope"), frame)),
        (known.bad_image, await send(broken)),
        (("connect", None, "connect"), await ask(nobody, frame)),
    ]
    for (error_class, status, words), reply in cases:
        assert (reply.error_class, reply.http_status, reply.text) == (error_class, status, "")
        assert words in reply.error_message
    assert (await ask(server, frame, max_tokens=400, answer_timeout_s=0.005)).error_class == "timeout"
    assert (await ask_until_answered(server, frame)).text.strip()


async def test_of_eight_in_flight_all_are_answered_about_their_images_or_all_but_one_refused(
    target, tmp_path
):
    known, server = target
    frames = [draw_frame(tmp_path, index) for index in range(8)]
    replies = await asyncio.gather(*(ask(server, frame, max_tokens=24) for frame in frames))
    texts = [reply.text.strip() for reply in replies if reply.error_class is None]
    assert all(texts)
    assert len(texts) == (8 if known.batches else 1)
    assert len(set(texts)) >= len(texts) - 1
    for reply in (reply for reply in replies if reply.error_class):
        assert (reply.error_class, reply.http_status) == known.busy[:2]
        assert known.busy[2] in reply.error_message
        assert (reply.ttft_s, reply.output_tokens, reply.text) == (None, None, "")


async def test_clearing_the_cache_forgets_the_images(target, tmp_path):
    known, server = target
    hits = []
    for clears in (False, False, True) if known.counts_hits else ():
        await (clear_cache(server) if clears else ask(server, draw_frame(tmp_path, 3)))
        hits.append(read_hits(server))
    assert hits == ([0, 1, 0] if known.counts_hits else [])
    assert await clear_cache(server) is known.clears_cache


def read_hits(server: Server) -> int:
    """How often the server met an image again, as its statistics say."""
    told = httpx.get(f"{server.url}/cache/stats", timeout=PATIENCE_S, trust_env=False).json()
    return told["engine_cache"]["vision_embedding_cache"]["pixel_cache_hits"]


async def test_after_an_answer_given_up_in_mid_stream_the_server_answers_as_before(target, tmp_path):
    known, server = target
    first, other = draw_frame(tmp_path), draw_frame(tmp_path, 2)
    expected = await ask(server, other)
    with open_stream(prepare_request(server, first, replace(SETTINGS, max_tokens=400), "raw")) as response:
        assert any('"content":"' in line for line in response.iter_lines())  # and so it ends there
    reply = await ask_until_answered(server, other)
    assert reply.text == expected.text or not known.real  # the simulator puts it in other words


async def test_the_servers_counters_rise_by_the_rows_tokens(target, tmp_path):
    known, server = target
    before = await settled_counters(known, server)
    replies = [await ask(server, draw_frame(tmp_path, index)) for index in range(3)]
    after = await settled_counters(known, server)
    rise = {name: after[name] - before.get(name, 0) for name in after if name.endswith("_total")}
    tokens = sum(reply.output_tokens for reply in replies)
    assert rise == {"requests_total": 3, "output_tokens_total": tokens}
    assert after["num_running"] == 0


async def settled_counters(known: Known, server: Server) -> dict:
    """What the server counts once it is idle; a request that was given up is counted late."""
    found: list[dict] = []
    for _ in range(60):
        found.append(await snapshot_counters(server))
        if found[-2:-1] == found[-1:]:
            return found[-1]
        await asyncio.sleep(1.0 if known.real else 0.05)
    raise AssertionError(f"the counters of {known.name} never stand still: {found[-2:]}")

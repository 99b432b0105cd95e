"""One contract, held against the simulator and against the real servers, each in each of its modes.

``make test`` runs it against the simulator alone, ``make test-engine`` against all of them.
"""

import asyncio
import base64
import io
import json
import random
from dataclasses import dataclass, field

import httpx
import pytest
from PIL import Image, ImageDraw

from tests.engine.conftest import Target
from tests.engine.known import EVERY, servers

PROMPT = "What is on the screen? Answer as description: …"
SIZE_PX = (320, 180)
IMAGE_TOKENS_AT_LEAST = 50  # of SIZE_PX; 60 for Qwen3-VL
BAD_IMAGE = "data:image/jpeg;base64,bm90IGFuIGltYWdl"
PATIENCE_S = 120.0


@dataclass
class Heard:
    """One response, read to its end."""

    status: int
    body: str
    headers: httpx.Headers
    events: list[dict] = field(default_factory=list)  # of a stream, without [DONE]
    done: bool = False  # the stream ended with [DONE]

    @property
    def choices(self) -> list[dict]:
        return [choice for event in self.events for choice in event.get("choices", [])]

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content") or "" for choice in self.choices)


def image_url(index: int) -> str:
    """A JPEG of coloured boxes that has little in common with that of another index."""
    drawn = random.Random(index)
    pen = ImageDraw.Draw(image := Image.new("RGB", SIZE_PX, tuple(drawn.choices(range(256), k=3))))
    for _ in range(24):
        left, top = drawn.randrange(SIZE_PX[0]), drawn.randrange(SIZE_PX[1])
        corner = (left + drawn.randrange(10, 150), top + drawn.randrange(10, 90))
        pen.rectangle(((left, top), corner), fill=tuple(drawn.choices(range(256), k=3)))
    image.save(data := io.BytesIO(), "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"


def chat(target: Target, image: int | str | None = 0, **changes: object) -> dict:
    """A streamed chat request about the image of an index, an image URL, or none; temperature 0, 8 tokens."""
    content: list[dict] = [{"type": "text", "text": PROMPT}]
    if image is not None:
        url = image if isinstance(image, str) else image_url(image)
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {"model": target.model, "messages": [{"role": "user", "content": content}]}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body | {"max_tokens": 8, "temperature": 0} | changes


async def send(target: Target, method: str, path: str, **options: object) -> Heard:
    """One request on a connection of its own."""
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, verify=False) as client:
        response = await client.request(method, target.url.removesuffix("/v1") + path, **options)
    heard = Heard(response.status_code, response.text, response.headers)
    if response.headers["content-type"].startswith("text/event-stream"):
        data = [line.removeprefix("data: ") for line in heard.body.splitlines() if line.startswith("data:")]
        heard.done = data[-1:] == ["[DONE]"]
        heard.events = [json.loads(event) for event in data if event != "[DONE]"]
    return heard


async def ask(target: Target, image: int | str | None = 0, **changes: object) -> Heard:
    """One chat request."""
    return await send(target, "POST", "/v1/chat/completions", json=chat(target, image, **changes))


@pytest.fixture(autouse=True)
async def _forgets_its_caches(target: Target):
    """No test meets an image that another has shown to the server."""
    await send(target, "DELETE", "/v1/cache")


async def test_health_names_the_state_and_the_engine_and_only_the_simulator_is_simulated(target):
    health = json.loads((await send(target, "GET", "/health")).body)
    assert dict(target.known.health).items() <= health.items()
    assert ("simulated" in health) is (not target.known.real)


async def test_the_served_model_is_listed_and_an_unknown_route_is_a_404_in_json(target):
    listed = json.loads((await send(target, "GET", "/v1/models")).body)
    assert target.model in [card["id"] for card in listed["data"]]
    heard = await send(target, "GET", "/no/such/route")
    assert (heard.status, json.loads(heard.body)) == (404, {"detail": "Not Found"})


async def test_a_stream_has_role_text_finish_usage_and_end_in_this_order(target):
    known, heard = target.known, await ask(target)
    assert heard.status == 200
    assert heard.done
    assert heard.text.strip()
    assert heard.choices[0]["delta"]["role"] == "assistant"
    assert (not heard.choices[0]["delta"].get("content")) is known.role_first
    reasons = [choice["finish_reason"] for choice in heard.choices]
    assert reasons == [None] * (len(reasons) - 1) + [known.cut]
    *_, last = heard.events
    assert last["choices"] == []
    usage = last["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] == 8 + known.extra_tokens


@servers(*(name for name in EVERY if not name.startswith("simulator")))
async def test_an_image_costs_the_prompt_its_tokens_where_they_are_counted(target):
    with_image, without = [(await ask(target, image)).events[-1]["usage"] for image in (0, None)]
    more = with_image["prompt_tokens"] - without["prompt_tokens"]
    assert (more > IMAGE_TOKENS_AT_LEAST) is target.known.counts_images


async def test_a_model_that_is_not_served_is_refused_and_the_server_still_answers(target):
    status, words = target.known.wrong_model
    heard = await ask(target, model="nope")
    assert heard.status == status
    assert words in heard.body
    assert (await ask(target)).done


async def test_an_image_that_is_none_is_an_error_and_no_answer(target):
    status, words = target.known.bad_image
    heard = await ask(target, BAD_IMAGE)
    assert heard.status == status
    assert words in heard.body
    assert heard.text == ""
    assert heard.done is (status == 200)


async def test_of_eight_in_flight_all_are_answered_about_their_images_or_all_but_one_refused(target):
    heard = await asyncio.gather(*(ask(target, index, max_tokens=24) for index in range(8)))
    texts = [each.text.strip() for each in heard if each.text.strip()]
    if target.known.batches:
        assert len(texts) == 8
        assert len(set(texts)) >= 7
        return
    status, words = target.known.busy
    refused = [each for each in heard if not each.text.strip()]
    assert len(texts) == 1
    assert {each.status for each in refused} == {status}
    assert all(words in each.body for each in refused)


@servers("vllm-mlx-simple")
async def test_without_batching_a_second_plain_request_is_told_that_the_route_is_busy(target):
    first, second = await asyncio.gather(*(ask(target, index, stream=False) for index in range(2)))
    assert sorted((first.status, second.status)) == [200, 503]
    assert '"text_generation_busy"' in max(first, second, key=lambda heard: heard.status).body


async def test_clearing_the_cache_forgets_the_images(target):
    known = target.known
    assert (await send(target, "DELETE", "/v1/cache")).status == (200 if known.clears_cache else 404)
    hits = []
    for _ in range(2 * bool(known.image_hits)):
        await ask(target, 3)
        hits.append(await read_hits(target))
    await send(target, "DELETE", "/v1/cache")
    assert not hits or [*hits, await read_hits(target)] == [0, 1, 0]


async def read_hits(target: Target) -> int:
    """How often the server met an image again, as its statistics say."""
    block, name = target.known.image_hits
    return json.loads((await send(target, "GET", "/v1/cache/stats")).body)["engine_cache"][block][name]


async def test_after_an_answer_given_up_in_mid_stream_the_server_answers_as_before(target):
    expected = await ask(target, 2)
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, verify=False) as client:
        body = chat(target, max_tokens=400)
        async with client.stream("POST", f"{target.url}/chat/completions", json=body) as response:
            assert '"content":' in [line async for line in _until_content(response)][-1]
    for _ in range(60):  # without batching it is busy until it notices
        heard = await ask(target, 2)
        if heard.text:
            break
        await asyncio.sleep(0.25)
    assert target.known.name.startswith("simulator") or heard.text == expected.text
    assert heard.done


async def _until_content(response: httpx.Response):
    async for line in response.aiter_lines():
        yield line
        if '"content":"' in line:
            return

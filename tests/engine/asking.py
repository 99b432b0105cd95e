"""A plain client for the contract: what is sent and what came back, without any of the library's reading."""

import asyncio
import base64
import io
import json
import random
from dataclasses import dataclass, field

import httpx
from PIL import Image, ImageDraw

from tests.engine.known import KnownServer

PROMPT = "What is on the screen? Answer as description: …"
SIZE_PX = (320, 180)
PATIENCE_S = 120.0  # the servers share two cores with whatever else runs


@dataclass(frozen=True)
class Target:
    """A running server and what is known of it."""

    known: KnownServer
    url: str  # ends in /v1
    model: str

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")


@dataclass
class Heard:
    """One response, read to its end."""

    status: int
    headers: dict[str, str]
    body: str
    events: list[dict] = field(default_factory=list)  # of a stream, without [DONE]
    done: bool = False  # the stream ended with [DONE]

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def deltas(self) -> list[dict]:
        return [choice["delta"] for event in self.events for choice in event.get("choices", [])]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)

    @property
    def usages(self) -> list[dict]:
        return [event["usage"] for event in self.events if event.get("usage")]

    @property
    def finish_reasons(self) -> list[str]:
        choices = [choice for event in self.events for choice in event.get("choices", [])]
        return [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]

    @property
    def error(self) -> dict | None:
        return next((event["error"] for event in self.events if "error" in event), None)


def draw_image(index: int) -> bytes:
    """A JPEG of coloured boxes that has little in common with that of another index."""
    drawn = random.Random(index)
    image = Image.new("RGB", SIZE_PX, tuple(drawn.choices(range(256), k=3)))
    draw = ImageDraw.Draw(image)
    for _ in range(24):
        left, top = drawn.randrange(SIZE_PX[0]), drawn.randrange(SIZE_PX[1])
        corner = (left + drawn.randrange(10, 150), top + drawn.randrange(10, 90))
        draw.rectangle(((left, top), corner), fill=tuple(drawn.choices(range(256), k=3)))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def chat_body(target: Target, image: int | str | None = 0, **changes: object) -> dict:
    """A chat request about the image of an index, an image URL, or none; temperature 0, 8 tokens, plain."""
    content: list[dict] = [{"type": "text", "text": PROMPT}]
    if image is not None:
        url = image if isinstance(image, str) else data_url(draw_image(image))
        content.append({"type": "image_url", "image_url": {"url": url}})
    body = {"model": target.model, "messages": [{"role": "user", "content": content}]}
    return body | {"max_tokens": 8, "temperature": 0} | changes


def stream_body(target: Target, image: int | str | None = 0, **changes: object) -> dict:
    """The same, streamed, with usage asked for."""
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    return chat_body(target, image, **streamed | changes)


def open_client() -> httpx.AsyncClient:
    """A client that waits; verify=False spares it the 25 ms that certificates take."""
    return httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, verify=False)


async def send(target: Target, method: str, path: str, **options: object) -> Heard:
    """One request on a connection of its own."""
    async with open_client() as client:
        response = await client.request(method, target.root + path, **options)
    heard = Heard(response.status_code, dict(response.headers), response.text)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        data = [
            block.removeprefix("data: ") for block in heard.body.split("\n\n") if block.startswith("data:")
        ]
        heard.done = data[-1:] == ["[DONE]"]
        heard.events = [json.loads(event) for event in data if event != "[DONE]"]
    return heard


async def ask(target: Target, body: dict) -> Heard:
    return await send(target, "POST", "/v1/chat/completions", json=body)


async def ask_at_once(target: Target, bodies: list[dict]) -> list[Heard]:
    """All of them in flight together."""
    return await asyncio.gather(*(ask(target, body) for body in bodies))


async def get_json(target: Target, path: str) -> dict:
    return (await send(target, "GET", path)).json


async def ask_until_answered(target: Target, body: dict, tries: int = 60) -> Heard:
    """The first answer that does not say busy, as a cancelled request still is for half a second."""
    for _ in range(tries):
        heard = await ask(target, body)
        if heard.status != 503:
            return heard
        await asyncio.sleep(0.25)
    raise AssertionError(f"{target.known.name} refused {tries} times: {heard.body}")

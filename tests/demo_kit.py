"""The generated data, drawn once for all tests, and a simulated server with a client that asks it."""

import base64
import tempfile
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import httpx
import orjson
from PIL import Image

from demo.data import prepare_demo
from demo.server import start, stop
from poc_lib.client.stamp import stamp_image

ROOT = Path(__file__).parent.parent
PROMPT = (ROOT / "params" / "prompts" / "one_line.txt").read_text()
MODEL = "demo-vlm"
CHAT = {"openai": "/chat/completions", "ollama": "/api/chat"}


@cache
def demo():
    return prepare_demo(Path(tempfile.gettempdir()) / "poc-lib-tests")


@cache
def entries():
    return orjson.loads(demo().answers.read_bytes())


@cache
def screenshots():
    paths = {path.name: path for path in (demo().database.parent / "frames").glob("*.jpg")}
    return [paths[name].read_bytes() for name in sorted(paths)]


def quote(i):
    """What is quoted in every answer to a screenshot: no wording changes it."""
    return entries()[i]["description"].split("“")[1].split("”")[0]


def encoded(image, code=None, quality=85):
    data = BytesIO()
    (stamp_image(image, code) if code else image).save(data, format="JPEG", quality=quality)
    return data.getvalue()


def stamped(i, code):
    return encoded(Image.open(BytesIO(screenshots()[i])), code)


@contextmanager
def running(api="openai", **options):
    """A running server."""
    server = start(api, MODEL, demo().answers, **options)
    try:
        yield server
    finally:
        stop(server)


@asynccontextmanager
async def serving(api="openai", **options):
    """A client of a running server."""
    with running(api, **options) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=20) as client:
            yield client


def chat_body(api, image, prompt=PROMPT):
    picture = base64.b64encode(image).decode()
    parts = [{"text": prompt}, {"image_url": {"url": f"data:image/jpeg;base64,{picture}"}}]
    message = {"content": parts} if api == "openai" else {"content": prompt, "images": [picture]}
    more = {"model": MODEL, "stream": True, "stream_options": {"include_usage": True}}
    return {"messages": [message | {"role": "user"}]} | more


async def ask(client, api, image, prompt=PROMPT, **more):
    """The objects of a streamed answer; httpx's error where the stream breaks."""
    reply = await client.post(CHAT[api], json=chat_body(api, image, prompt) | more)
    assert reply.status_code == 200, reply.text
    lines = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    return [orjson.loads(line) for line in lines if line != "[DONE]"]


async def text_of(client, image, prompt=PROMPT):
    chunks = await ask(client, "openai", image, prompt)
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])

"""Images, answers and a reader of answers that the simulator's tests share."""

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image

MODEL = "demo-vlm"
ONE_LINE = "Answer in one line: description: … | activity: … | apps: […] | topics: […]"
FREE = "What is on the screen?"
BMP_PIXELS = (64, 32)


@dataclass
class Seen:
    """What a client saw of one answer."""

    status: int
    text: str = ""
    finish: str | None = None
    closed_early: bool = False  # the connection broke
    garbage: int = 0  # chunks that are not JSON
    error: bool = False  # an error object inside a 200 stream
    last: dict | None = None  # the last object of the stream
    headers: dict | None = None


def make_image(index: int) -> bytes:
    """A small uncompressed image; its bytes depend on nothing but the index."""
    buffer = io.BytesIO()
    Image.new("RGB", BMP_PIXELS, (index % 256, 90, 120)).save(buffer, "BMP")
    return buffer.getvalue()


def frame_answer(index: int) -> dict:
    return {
        "frame_id": f"{index:04d}",
        "description": f"Editing file_{index}.py beside a terminal that shows {index} failing tests",
        "activity": "coding",
        "apps": ["Terminal", "Editor"],
        "topics": ["tests", f"module {index}"],
        "variants": [f"The file file_{index}.py is open, {index} tests fail", {"activity": "debugging"}],
    }


def write_answers(folder: Path, n_frames: int) -> Path:
    entries = {hashlib.sha256(make_image(i)).hexdigest(): frame_answer(i) for i in range(n_frames)}
    path = folder / "answers.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def openai_body(index: int, prompt: str = ONE_LINE, **fields) -> dict:
    url = "data:image/bmp;base64," + base64.b64encode(make_image(index)).decode()
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    body = {"model": MODEL, "stream": True, "max_tokens": 300, "temperature": 0.3}
    return body | {"messages": [{"role": "user", "content": content}]} | fields


def ollama_body(index: int, prompt: str = ONE_LINE, **fields) -> dict:
    images = [base64.b64encode(make_image(index)).decode()]
    message = {"role": "user", "content": prompt, "images": images}
    return {"model": MODEL, "messages": [message], "options": {"num_predict": 300}} | fields


def read_answer(response: httpx.Response, seen: Seen) -> None:
    """Fill ``seen`` from a stream of either API, as it arrives."""
    for line in response.iter_lines():
        data = line.removeprefix("data: ")
        if not data or data == "[DONE]" or data.startswith(":"):
            continue
        try:
            chunk = json.loads(data)
        except ValueError:
            seen.garbage += 1
            continue
        seen.error |= "error" in chunk
        seen.last = chunk
        choice = (chunk.get("choices") or [{}])[0]
        seen.text += (choice.get("delta") or chunk.get("message") or {}).get("content") or ""
        seen.finish = choice.get("finish_reason") or chunk.get("done_reason") or seen.finish


def ask(client: httpx.Client, url: str, body: dict) -> Seen:
    """Send one streaming chat request and read what comes back, however it ends."""
    path = "/chat/completions" if url.endswith("/v1") else "/api/chat"
    with client.stream("POST", url + path, json=body) as response:
        seen = Seen(status=response.status_code, headers=dict(response.headers))
        try:
            read_answer(response, seen)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            seen.closed_early = True
    return seen


def planted(client: httpx.Client, url: str) -> list[dict]:
    return client.get(url.removesuffix("/v1") + "/simulator/planted").json()


def test_images_of_the_kit_are_all_different():
    assert len({make_image(i) for i in range(200)}) == 200

"""Rows, frames and a server of raw bytes, for the tests of the core rooms."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from poc_lib.benchmark import Load
from poc_lib.records import Frame, Reference, Reply, ServerSpec
from poc_lib.servers import ChatSettings, prepare_requests

MODEL = "tiny-vlm"
OK_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
KEEP_OPEN = object()  # as a server's last piece: send nothing more, and do not close
ABORT = object()  # as a server's last piece: reset the connection
DONE = b"data: [DONE]\n\n"


def frame(frame_id: str = "f1", **changes: Any) -> Frame:
    """A usable frame with a reference."""
    reference = Reference("Editing parser.py", "coding", ("VS Code",), ("parsing",), "qwen3-vl:4b")
    values = {"timestamp_s": 1.5, "image_path": Path(f"{frame_id}.jpg"), "reference": reference}
    return Frame(frame_id, **(values | changes))


def reply(frame_id: str = "f1", **changes: Any) -> Reply:
    """An answered request of the candidate at 1 in flight: 2 s, first token at 0.5 s, 31 output tokens."""
    values = {
        "server": "vllm-mlx",
        "role": "candidate",
        "concurrency": 1,
        "block": 0,
        "phase": "measure",
        "sitting": 0,
        "slot": 0,
        "simulated": False,
        "sent_at": "2026-11-22T10:00:00.000+00:00",
        "start_s": 0.0,
        "in_flight": 1,
        "total_s": 2.0,
        "ttft_s": 0.5,
        "arrivals_s": [0.5, 1.0, 2.0],
        "prompt_tokens": 100,
        "output_tokens": 31,
        "finish_reason": "stop",
        "text": "description: an editor",
        "http_status": 200,
    } | changes
    cell = f"{values['server']}/{values['phase']}/c{values['concurrency']}/b{values['block']}"
    return Reply(request_id=f"{cell}/{frame_id}", frame_id=frame_id, **values)


def failed(frame_id: str = "f1", **changes: Any) -> Reply:
    """A request that was refused after 0.1 s."""
    nothing = {"ttft_s": None, "arrivals_s": [], "prompt_tokens": None, "output_tokens": None}
    failure = {"total_s": 0.1, "finish_reason": None, "text": "", "http_status": 503}
    named = {"error_class": "busy", "error_message": "HTTP 503: busy"}
    return reply(frame_id, **(nothing | failure | named | changes))


def table(replies: Iterable[Reply]) -> pd.DataFrame:
    """The requests table, as runs.requests_table reads it."""
    return pd.DataFrame([asdict(one) for one in replies], columns=[column.name for column in fields(Reply)])


def settings(**changes: Any) -> ChatSettings:
    values = {"prompt": "Describe.", "temperature": 0.3, "max_tokens": 64}
    return ChatSettings(**(values | {"timeout_s": 20.0, "connect_timeout_s": 5.0} | changes))


def spec(url: str, **changes: Any) -> ServerSpec:
    values = {"name": "vllm-mlx", "role": "candidate", "api": "openai", "model": MODEL, "concurrency": (1,)}
    return ServerSpec(**(values | {"url": url} | changes))


def frames_of_one_image(folder: Path, frame_ids: Iterable[str]) -> list[Frame]:
    """Frames that share one file of any bytes."""
    path = folder / "shot.jpg"
    path.write_bytes(b"\xff\xd8 any bytes")
    return [frame(frame_id, image_path=path) for frame_id in frame_ids]


def load_for(url: str, frames: list[Frame], **changes: Any) -> Load:
    """The load of one sitting on one server; its replies go nowhere unless ``on_reply`` says so."""
    values = {
        "requests": {"vllm-mlx": prepare_requests(spec(url), frames, settings())},
        "settings": settings(),
        "simulated": {"vllm-mlx": True},
        "sitting": 3,
        "stop_after_failures": 3,
        "on_reply": lambda reply: None,
    }
    return Load(**(values | changes))


def sse(*events: object) -> bytes:
    """Server-sent events."""
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def delta(finish_reason: str | None = None, **fields: str) -> dict:
    """One chunk of an OpenAI-compatible stream."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def ndjson(*events: object) -> bytes:
    """Newline-delimited JSON, as Ollama streams it."""
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


OPENAI_ANSWER = (
    sse(delta(role="assistant"), delta(content="An editor"), delta(content=" – été 🖥"), delta("stop"))
    + sse({"choices": [], "usage": {"prompt_tokens": 812, "completion_tokens": 7, "total_tokens": 819}})
    + DONE
)
OLLAMA_ANSWER = ndjson(
    {"message": {"role": "assistant", "content": "An editor"}, "done": False},
    {"message": {"role": "assistant", "content": " – été 🖥"}, "done": False},
    {
        "message": {"role": "assistant", "content": ""},
        "done": True,
        "done_reason": "stop",
        "load_duration": 1_500_000_000,
        "prompt_eval_count": 812,
        "prompt_eval_duration": 250_000_000,
        "eval_count": 7,
        "eval_duration": 125_000_000,
    },
)
ANSWERS = {"openai": OPENAI_ANSWER, "ollama": OLLAMA_ANSWER}
TEXT = "An editor – été 🖥"


def http_response(status: int, body: bytes, extra: bytes = b"") -> bytes:
    """A whole response that leaves the connection open."""
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(body), extra, body)


def json_pages(pages: dict[str, object], status: int = 200) -> Callable[[bytes], list]:
    """What a server of raw bytes sends for each path; 404 elsewhere."""

    def answer(request: bytes) -> list:
        path = request.split(b" ", 2)[1].decode()
        found = path in pages
        body = orjson.dumps(pages[path] if found else {"detail": "Not Found"})
        return [http_response(status if found else 404, body)]

    return answer


@dataclass
class RawServer:
    """What a server of raw bytes saw."""

    port: int = 0
    n_connections: int = 0
    requests: list[bytes] = field(default_factory=list)  # head and body
    n_in_flight: int = 0
    max_in_flight: int = 0
    first_request: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return head + await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)


async def _write_pieces(writer: asyncio.StreamWriter, pieces: list) -> object:
    for piece in pieces:
        if not isinstance(piece, bytes):
            return piece
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    return None


@asynccontextmanager
async def raw_server(
    answer: Callable[[bytes], Any] | list, hold: Callable[[RawServer], Any] | None = None
) -> AsyncIterator[RawServer]:
    """A server on 127.0.0.1 that sends given bytes in given pieces.

    Args:
        answer: the pieces, or a function from the request to them; a piece KEEP_OPEN or ABORT is the last.
        hold: awaited with each request read and not yet answered.
    """
    seen, closing = RawServer(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.n_connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await _read_request(reader)
                seen.requests.append(request)
                seen.first_request.set()
                seen.n_in_flight += 1
                seen.max_in_flight = max(seen.max_in_flight, seen.n_in_flight)
                if hold is not None:
                    await hold(seen)
                pieces = answer(request) if callable(answer) else answer
                seen.n_in_flight -= 1
                last = await _write_pieces(writer, pieces)
                if last is KEEP_OPEN:
                    await closing.wait()
                if last is ABORT:
                    writer.transport.abort()
                if not (pieces and isinstance(pieces[0], bytes) and b"content-length" in pieces[0]):
                    break
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        closing.set()
        server.close()
        await server.wait_closed()

"""A server of raw bytes, and the bytes of both APIs."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import orjson

from poc_lib.client import ChatSettings
from poc_lib.records import Cell, Server

KEY = "sk-very-secret-0123456789"
OK_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
KEEP_OPEN = object()  # as a server's last piece: send nothing more, and do not close
ABORT = object()  # as a server's last piece: reset the connection
DONE = b"data: [DONE]\n\n"
TEXT = "An editor – été 🖥"
CELL = Cell("vllm-mlx", "candidate", 4, 1, "confirm")


def settings(**changes: object) -> ChatSettings:
    """Settings whose time-outs end a hanging test."""
    return ChatSettings(
        **({"prompt": "Describe.", "temperature": 0.3, "max_tokens": 64, "timeout_s": 20.0} | changes)
    )


def server_at(url: str, **changes: object) -> Server:
    """The candidate of the tests, at a URL."""
    values = {"name": "vllm-mlx", "role": "candidate", "api": "openai", "model": "tiny-vlm"}
    return Server(**(values | {"url": url, "concurrency": (1,)} | changes))


def sse(*events: object) -> bytes:
    """Server-sent events."""
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)


def delta(finish_reason: str | None = None, **fields: object) -> dict:
    """One chunk of an OpenAI-compatible stream."""
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def ndjson(*events: object) -> bytes:
    """Newline-delimited JSON, as Ollama streams it."""
    return b"".join(orjson.dumps(event) + b"\n" for event in events)


USAGE = {"choices": [], "usage": {"prompt_tokens": 812, "completion_tokens": 7, "total_tokens": 819}}
WORDS = delta(content="An editor"), delta(content=TEXT[9:])
OPENAI_ANSWER = sse(delta(role="assistant", content=""), *WORDS, delta("stop"), USAGE) + DONE
LAST = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}
LAST |= {"load_duration": 1_500_000_000, "prompt_eval_count": 812, "prompt_eval_duration": 250_000_000}
LAST |= {"eval_count": 7, "eval_duration": 125_000_000}
OLLAMA_ANSWER = ndjson(
    {"message": {"role": "assistant", "content": TEXT[:9]}, "done": False},
    {"message": {"role": "assistant", "content": TEXT[9:]}, "done": False},
    LAST,
)
ANSWERS = {"openai": OPENAI_ANSWER, "ollama": OLLAMA_ANSWER}


def response(status: int, body: bytes, *headers: bytes) -> bytes:
    """A whole response that leaves the connection open."""
    lines = [b"HTTP/1.1 %d X" % status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def json_pages(pages: dict[str, object]) -> Callable[[bytes], list]:
    """What a server of raw bytes sends for each path; 404 elsewhere."""

    def answer(request: bytes) -> list:
        path = request.split(b" ", 2)[1].decode()
        page = pages.get(path, {"detail": "Not Found"})
        return [
            response(200 if path in pages else 404, page if isinstance(page, bytes) else orjson.dumps(page))
        ]

    return answer


def untrusted_tls(folder: Path) -> ssl.SSLContext:
    """What a server on 127.0.0.1 needs for https; its certificate, which nobody knows, is cert.pem."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    command = [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def raw_server(answer: Callable[[bytes], list] | list) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on 127.0.0.1 that sends given bytes in given pieces: its URL, and the requests it got.

    ``answer``: the pieces, or a function from a request to them. A number among them is a pause in seconds.
    """
    requests, handlers = [], []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                requests.append(head + await reader.readexactly(int(length or 0)))
                pieces = answer(requests[-1]) if callable(answer) else answer
                for piece in pieces:
                    if piece is KEEP_OPEN:
                        await asyncio.sleep(3600)
                    elif piece is ABORT:
                        writer.transport.abort()
                    elif isinstance(piece, bytes):
                        writer.write(piece)
                        await writer.drain()
                    await asyncio.sleep(piece if isinstance(piece, float) else 0)
                if not (pieces and isinstance(pieces[0], bytes) and b"content-length" in pieces[0]):
                    break
        writer.close()

    listening = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", requests
    finally:
        listening.close()
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers)
        await listening.wait_closed()

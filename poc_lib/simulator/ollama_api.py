"""The routes of a simulated Ollama."""

import asyncio
import base64
import binascii
from datetime import UTC, datetime

import orjson
from aiohttp import web

from poc_lib.simulator.engine import in_flight
from poc_lib.simulator.exchanges import Exchange, Prompt
from poc_lib.simulator.ollama_status import add_ollama_status_routes, json_response, ollama_error
from poc_lib.simulator.serving import (
    STALL_S,
    Server,
    admit,
    enter,
    image_size_px,
    leave,
    planted_refusal,
    wait_for_pieces,
)

MAX_QUEUE = 512
DEFAULT_TEMPERATURE = 0.8
UNLIMITED_TOKENS = 32768
QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"
GARBAGE = b'{"model":"demo","message":{"role":"assistant","content":\n'


def add_ollama_routes(app: web.Application, server: Server) -> None:
    """Add every route of the API to the application."""
    add_ollama_status_routes(app, server)

    async def chat(request: web.Request) -> web.StreamResponse:
        return await _answer_chat(server, request)

    app.router.add_post("/api/chat", chat)


async def _answer_chat(server: Server, request: web.Request) -> web.StreamResponse:
    body = _parse_body(await request.read(), server)
    if not body.get("messages"):
        return json_response(_line(server, "") | {"done": True, "done_reason": "load"})
    exchange = admit(server, _read_prompt(body))
    _refuse(server, exchange)
    enter(server, exchange)
    try:
        if body.get("stream", True):
            return await _stream(server, exchange, request)
        return await _answer_plain(server, exchange, request)
    finally:
        leave(server, exchange)


def _parse_body(raw: bytes, server: Server) -> dict:
    try:
        body = orjson.loads(raw) if raw else None
    except orjson.JSONDecodeError as error:
        raise ollama_error(web.HTTPBadRequest, str(error)) from None
    if not isinstance(body, dict):
        raise ollama_error(web.HTTPBadRequest, "missing request body")
    if not body.get("model"):
        raise ollama_error(web.HTTPBadRequest, "model is required")
    if body["model"] not in (server.model, f"{server.model}:latest"):
        raise ollama_error(web.HTTPNotFound, f"model '{body['model']}' not found")
    if body.get("think"):
        raise ollama_error(web.HTTPBadRequest, f'"{body["model"]}" does not support thinking')
    return body


def _read_prompt(body: dict) -> Prompt:
    messages = [message for message in body["messages"] if isinstance(message, dict)]
    try:
        encoded = [image for message in messages for image in message.get("images") or ()]
        images = tuple(base64.b64decode(image, validate=True) for image in encoded)
    except binascii.Error:
        raise ollama_error(web.HTTPBadRequest, "illegal base64 data at input byte 0") from None
    sizes = tuple(image_size_px(image) for image in images)
    if None in sizes:
        text = "Failed to create new sequence: failed to process inputs: image: unknown format"
        raise ollama_error(web.HTTPInternalServerError, text)
    options = body.get("options") or {}
    limit = options.get("num_predict")
    return Prompt(
        text="\n".join(str(message.get("content") or "") for message in messages),
        images=images,
        sizes_px=sizes,
        temperature=options.get("temperature", DEFAULT_TEMPERATURE),
        max_tokens=limit if limit and limit > 0 else UNLIMITED_TOKENS,
    )


def _refuse(server: Server, exchange: Exchange) -> None:
    n_in_flight = in_flight(server.engine) + 1
    fault = planted_refusal(server, exchange, n_in_flight)
    if fault == "http_500":
        raise ollama_error(web.HTTPInternalServerError, "llama runner process has terminated: exit status 2")
    if fault == "busy" or len(server.engine.waiting) >= MAX_QUEUE:
        raise ollama_error(web.HTTPServiceUnavailable, QUEUE_FULL)


async def _stream(server: Server, exchange: Exchange, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    job, n_written = exchange.job, 0
    # Ollama sends its headers with the first line, so a queued request has none yet.
    await _wait(job, 0)
    await response.prepare(request)
    while True:
        pieces, n_written = job.pieces[n_written : job.n_sent], job.n_sent
        await response.write(b"".join(_ndjson(_line(server, piece)) for piece in pieces))
        if job.finished:
            break
        await _wait(job, n_written)
    await _end_stream(server, exchange, request, response)
    return response


async def _end_stream(
    server: Server, exchange: Exchange, request: web.Request, response: web.StreamResponse
) -> None:
    ending = exchange.job.ending
    if ending == "stall":
        await asyncio.sleep(STALL_S)
    if ending == "cut_stream":
        request.transport.abort()
        return
    if ending == "stream_error":
        await response.write(_ndjson({"error": "an error was encountered while running the model"}))
        return
    if ending == "malformed_chunk":
        await response.write(GARBAGE)
    await response.write(_ndjson(_last_line(server, exchange, "")))


async def _answer_plain(server: Server, exchange: Exchange, request: web.Request) -> web.Response:
    job = exchange.job
    while not job.finished:
        await _wait(job, len(job.pieces))
    if job.ending == "stall":
        await asyncio.sleep(STALL_S)
    if job.ending == "cut_stream":
        request.transport.abort()
    if job.ending == "stream_error":
        raise ollama_error(web.HTTPInternalServerError, "an error was encountered while running the model")
    if job.ending == "malformed_chunk":
        return web.Response(body=GARBAGE, content_type="application/json")
    return json_response(_last_line(server, exchange, "".join(job.pieces)))


async def _wait(job, n_seen: int) -> None:
    await wait_for_pieces(job, n_seen, STALL_S)


def _line(server: Server, text: str) -> dict:
    return {
        "model": server.model,
        "created_at": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "message": {"role": "assistant", "content": text},
        "done": False,
    }


def _last_line(server: Server, exchange: Exchange, text: str) -> dict:
    job = exchange.job
    return _line(server, text) | {
        "done": True,
        "done_reason": "length" if job.ending == "length" else "stop",
        "total_duration": _nanoseconds(job.ended - job.arrived),
        "load_duration": _nanoseconds(job.load_s),
        "prompt_eval_count": job.prompt_tokens,
        "prompt_eval_duration": _nanoseconds(job.decode_from - job.prefill_from),
        "eval_count": job.output_tokens,
        "eval_duration": _nanoseconds(job.ended - job.decode_from),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _ndjson(line: dict) -> bytes:
    return orjson.dumps(line) + b"\n"

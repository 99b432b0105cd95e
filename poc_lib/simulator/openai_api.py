"""The routes of a simulated vllm-mlx 0.6.0."""

import asyncio
import uuid

import orjson
from aiohttp import web

from poc_lib.simulator.engine import in_flight
from poc_lib.simulator.exchanges import Exchange
from poc_lib.simulator.openai_body import BadImage, http_error, parse_body, read_prompt
from poc_lib.simulator.openai_shapes import (
    GENERATION_ERROR,
    SIMPLE_STREAM_ERROR,
    ChunkNames,
    busy_detail,
    completion,
    usage_of,
)
from poc_lib.simulator.openai_status import add_status_routes
from poc_lib.simulator.openai_stream import finish_reason, stream_answer, stream_error
from poc_lib.simulator.serving import (
    STALL_S,
    Server,
    admit,
    enter,
    leave,
    note_result,
    planted_refusal,
    wait_for_pieces,
)


def add_openai_routes(app: web.Application, server: Server) -> None:
    """Add every route of the API to the application."""
    add_status_routes(app, server)

    async def chat(request: web.Request) -> web.StreamResponse:
        return await _answer_chat(server, request)

    app.router.add_post("/v1/chat/completions", chat)


async def _answer_chat(server: Server, request: web.Request) -> web.StreamResponse:
    body = parse_body(await request.read(), server.model)
    if not body["messages"]:
        return await _break_down(request)
    names = ChunkNames(f"chatcmpl-{uuid.uuid4().hex[:8]}", server.model)
    stream = bool(body.get("stream"))
    try:
        exchange = admit(server, read_prompt(body))
    except BadImage:
        return await _fail(server, request, names, stream=stream)
    _refuse(server, exchange)
    if server.simple and in_flight(server.engine):
        return await _refuse_as_busy(server, exchange, request, names, stream=stream)
    if stream and exchange.asked in server.asked_plainly:
        return await _fail(server, request, names, stream=True)
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    result = "error"
    try:
        if stream:
            response = await stream_answer(server, exchange, request, names, with_usage=with_usage)
        else:
            response = await _answer_plain(server, exchange, request, names)
        result = "success" if exchange.job.ending in ("stop", "length") else "error"
    except (asyncio.CancelledError, ConnectionError):
        result = "cancelled" if stream else "client_closed"
        raise
    finally:
        note_result(server, exchange, result, stream=stream)
        leave(server, exchange)
    return response


def _refuse(server: Server, exchange: Exchange) -> None:
    fault = planted_refusal(server, exchange, in_flight(server.engine) + 1)
    if fault == "http_500":
        raise http_error(web.HTTPInternalServerError, GENERATION_ERROR)
    if fault == "busy" and exchange.count % 2:
        headers = {"Retry-After": "1"}
        raise http_error(web.HTTPTooManyRequests, "Rate limit exceeded. Retry after 1 seconds.", headers)
    if fault == "busy":
        raise http_error(web.HTTPServiceUnavailable, _busy(server, exchange))


async def _refuse_as_busy(
    server: Server, exchange: Exchange, request: web.Request, names: ChunkNames, *, stream: bool
) -> web.StreamResponse:
    server.results["error" if stream else "busy", stream] += 1
    if stream:
        # The real server has sent 200 by then, and its error event does not say "busy".
        return await stream_error(request, names, SIMPLE_STREAM_ERROR)
    raise http_error(web.HTTPServiceUnavailable, _busy(server, exchange))


def _busy(server: Server, exchange: Exchange) -> dict[str, str]:
    holder = next(iter(server.active.values()), exchange)
    elapsed_s = asyncio.get_running_loop().time() - holder.job.arrived if holder.job.arrived else 0.0
    return busy_detail(exchange.job.number, holder.job.number, elapsed_s)


async def _fail(
    server: Server, request: web.Request, names: ChunkNames, *, stream: bool
) -> web.StreamResponse:
    if server.simple and not stream:
        return await _break_down(request)  # not among the results either
    server.results["error", stream] += 1
    if stream:
        return await stream_error(request, names, SIMPLE_STREAM_ERROR if server.simple else GENERATION_ERROR)
    raise http_error(web.HTTPInternalServerError, GENERATION_ERROR)


async def _break_down(request: web.Request) -> web.StreamResponse:
    """What an exception nobody caught does to the real server: a bare 500, then an unannounced close."""
    response = web.Response(status=500, text="Internal Server Error")
    await response.prepare(request)
    await response.write_eof()
    request.transport.close()
    return response


async def _answer_plain(
    server: Server, exchange: Exchange, request: web.Request, names: ChunkNames
) -> web.StreamResponse:
    job = exchange.job
    enter(server, exchange)
    while not job.finished:
        await wait_for_pieces(job, len(job.pieces), STALL_S)
    await server.engine.responsive.wait()
    if job.ending == "stall":
        await asyncio.sleep(STALL_S)
    if job.ending == "cut_stream":
        request.transport.abort()
    if job.ending == "stream_error":
        raise http_error(web.HTTPInternalServerError, GENERATION_ERROR)
    usage = usage_of(job.prompt_tokens, job.output_tokens)
    raw = orjson.dumps(completion(names, "".join(job.pieces), finish_reason(server, exchange), usage))
    if job.ending == "malformed_chunk":
        raw = raw[: len(raw) // 2]
    return web.Response(body=raw, content_type="application/json")

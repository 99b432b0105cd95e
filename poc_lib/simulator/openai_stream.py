"""A streamed chat completion, chunk by chunk, as vllm-mlx 0.6.0 sends it."""

import asyncio

from aiohttp import web

from poc_lib.simulator.exchanges import Exchange
from poc_lib.simulator.openai_shapes import (
    DONE,
    GARBAGE,
    GENERATION_ERROR,
    HEARTBEAT,
    ChunkNames,
    choice,
    sse_chunk,
    sse_error,
    usage_of,
)
from poc_lib.simulator.serving import STALL_S, Server, counted_tokens, enter, wait_for_pieces
from poc_lib.simulator.timing import HEARTBEAT_S


async def stream_answer(
    server: Server, exchange: Exchange, request: web.Request, names: ChunkNames, *, with_usage: bool
) -> web.StreamResponse:
    """Send the role, one chunk a token, the finish with its usage, and the end; or what was planted."""
    response = await begin_stream(request, names)
    enter(server, exchange)
    await send_pieces(server, response, exchange, names)
    ending = exchange.job.ending
    if ending == "stall":
        await asyncio.sleep(STALL_S)
    if ending == "cut_stream":
        request.transport.abort()
    elif ending == "stream_error":
        await response.write(sse_error(GENERATION_ERROR) + DONE)
    else:
        garbage = GARBAGE if ending == "malformed_chunk" else b""
        finish, rest = _ending(server, exchange, names, with_usage=with_usage)
        await response.write(garbage + finish)
        # Nothing leaves the server while images are prefilled: the next wave holds up the rest.
        await server.engine.responsive.wait()
        await response.write(rest)
    return response


async def stream_error(request: web.Request, names: ChunkNames, message: str) -> web.StreamResponse:
    """A failure noticed after the stream has begun: HTTP 200, the role, an error event, the end."""
    response = await begin_stream(request, names)
    await response.write(sse_error(message) + DONE)
    return response


async def begin_stream(request: web.Request, names: ChunkNames) -> web.StreamResponse:
    """Send the headers and the chunk with the role, before the engine knows of the request."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    await response.write(sse_chunk(names, choice({"role": "assistant"})))
    return response


async def send_pieces(
    server: Server, response: web.StreamResponse, exchange: Exchange, names: ChunkNames
) -> None:
    """Send the answer's text as it is made, except what belongs into the finishing chunk."""
    job, n_seen, n_written = exchange.job, 0, 0
    while not job.finished:
        ready = await wait_for_pieces(job, n_seen, HEARTBEAT_S)
        if not ready:
            await server.engine.responsive.wait()
            await response.write(HEARTBEAT)
            continue
        chunks = [{}] if server.simple and n_seen == 0 else []
        n_seen, n_due = job.n_sent, _pieces_due(server, exchange)
        chunks += [{"content": piece} for piece in job.pieces[n_written:n_due]]
        n_written = max(n_written, n_due)
        if chunks:
            await response.write(b"".join(sse_chunk(names, choice(delta)) for delta in chunks))


def _pieces_due(server: Server, exchange: Exchange) -> int:
    job = exchange.job
    if server.simple:
        return job.n_sent if job.finished else job.n_sent - 1  # its text comes one token late
    # The last piece of an answer cut at its limit travels in the finishing chunk.
    return job.n_sent - (job.finished and job.ending == "length")


def _ending(
    server: Server, exchange: Exchange, names: ChunkNames, *, with_usage: bool
) -> tuple[bytes, bytes]:
    job = exchange.job
    usage = usage_of(job.prompt_tokens, counted_tokens(server, job, stream=True))
    reason = finish_reason(server, exchange)
    delta = {"content": job.pieces[-1]} if reason == "length" and job.pieces else {}
    last = sse_chunk(names, choice(delta, reason), usage)
    return last, (sse_chunk(names, [], usage) if with_usage else b"") + DONE


def finish_reason(server: Server, exchange: Exchange) -> str:
    """Why the answer ended; simple mode says "stop" of an answer cut at its limit, too."""
    return "length" if exchange.job.ending == "length" and not server.simple else "stop"

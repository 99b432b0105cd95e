"""The application of one simulated server, and its life from the first line to the end of stdin."""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

from poc_lib.simulator.answers import read_answers
from poc_lib.simulator.engine import run_engine
from poc_lib.simulator.faults import crash_is_due, parse_fault
from poc_lib.simulator.ollama_api import add_ollama_routes
from poc_lib.simulator.openai_api import add_openai_routes
from poc_lib.simulator.serving import Server, new_server, planted_rows
from poc_lib.simulator.timing import TIMINGS, timing_at_speed

HOST = "127.0.0.1"
MAX_BODY_BYTES = 256 * 1024**2
CRASH_STATUS = 3
CHAT_PATHS = ("/v1/chat/completions", "/api/chat")


@dataclass(frozen=True, slots=True)
class Settings:
    """The command line of a simulated server."""

    api: str
    model: str
    answers: Path
    speed: float = 1.0
    seed: int = 0
    faults: tuple[str, ...] = ()
    simple: bool = False
    max_batch: int = 32
    port: int = 0  # 0: a free one


async def serve(settings: Settings) -> None:
    """Listen, print the URL as one JSON line, and serve until stdin ends or a signal asks to stop.

    Raises:
        SetupProblem: an unreadable answers file or an unknown fault.
    """
    server = new_server(
        settings.api,
        settings.model,
        read_answers(settings.answers),
        timing_at_speed(TIMINGS[settings.api], settings.speed),
        seed=settings.seed,
        faults=tuple(parse_fault(text) for text in settings.faults),
        simple=settings.simple,
        max_batch=settings.max_batch,
        started_at=time.time(),
    )
    engine = asyncio.create_task(run_engine(server.engine))
    runner = web.AppRunner(
        build_app(server), access_log=None, handler_cancellation=True, shutdown_timeout=0.1
    )
    await runner.setup()
    site = web.TCPSite(runner, HOST, settings.port, backlog=1024)
    await site.start()
    end = _end_of_service()
    port = runner.addresses[0][1]
    path = "/v1" if settings.api == "openai" else ""
    sys.stdout.write(orjson.dumps({"url": f"http://{HOST}:{port}{path}"}).decode() + "\n")
    sys.stdout.flush()
    await end.wait()
    engine.cancel()
    await runner.cleanup()


def build_app(server: Server) -> web.Application:
    """The routes of the server's API, and GET /simulator/planted for whoever wants to check a run."""
    app = web.Application(middlewares=[_as_a_simulated_server(server)], client_max_size=MAX_BODY_BYTES)
    add_routes = add_openai_routes if server.api == "openai" else add_ollama_routes
    add_routes(app, server)

    async def planted(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(planted_rows(server)), content_type="application/json")

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["x-simulated"] = "1"
        if server.api == "openai":
            response.headers["Server"] = "uvicorn"
        else:
            del response.headers["Server"]  # Ollama sends none

    app.router.add_get("/simulator/planted", planted)
    app.on_response_prepare.append(mark)
    return app


def _as_a_simulated_server(server: Server):
    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path in CHAT_PATHS and crash_is_due(server.faults, len(server.rows) + 1):
            os._exit(CRASH_STATUS)
        if not request.path.startswith("/simulator/"):
            await server.engine.responsive.wait()
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            return _wrong_route(server, error)

    return middleware


def _wrong_route(server: Server, error: web.HTTPError) -> web.StreamResponse:
    if error.content_type == "application/json":
        return error  # an answer of the API, not of the router
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    if server.api == "ollama":
        words = "page not found" if error.status == 404 else "method not allowed"
        return web.Response(status=error.status, text=f"{error.status} {words}", headers=headers)
    body = orjson.dumps({"detail": error.reason})
    return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


def _end_of_service() -> asyncio.Event:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    # A thread, since the event loop cannot watch every kind of stdin (a file, /dev/null).
    threading.Thread(target=_await_end_of_stdin, args=(loop, end), daemon=True).start()
    return end


def _await_end_of_stdin(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with suppress(RuntimeError):  # the loop is closed already: a signal came first
        loop.call_soon_threadsafe(end.set)

"""The sampling process: takes its spec on standard input and ends when that closes."""

import asyncio
import json
import sys
import time

import httpx
import orjson

from poc_lib.client.transport import ExactTransport
from poc_lib.records import Server
from poc_lib.telemetry.said import ask_server, machine_reader, routes_of
from poc_lib.text import authorize


async def sample(spec: dict) -> None:
    """Sample until standard input closes; one line a sample on standard output.

    What ended one source is raised in the end: the others go on.
    """

    def write(source: str, **figures: object) -> None:
        at_s = round((time.perf_counter_ns() - spec["start_ns"]) / 1e9, 6)
        line = {"sitting": spec["sitting"], "source": source, "at_s": at_s, **figures}
        sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()

    async def watch_server(server: Server) -> None:
        routes, (_, headers) = routes_of(server), authorize(server.url, spec["api_key"])
        async with httpx.AsyncClient(transport=ExactTransport(), trust_env=False, headers=headers) as client:
            while routes:
                if figures := await ask_server(client, server, routes, spec["timeout_s"]):
                    write("server", server=server.name, **figures)
                await asyncio.sleep(spec["every_s"])

    async def watch_machine() -> None:
        read = machine_reader()
        while True:
            write("machine", **read())
            await asyncio.sleep(spec["every_s"])

    servers = [Server(**server, concurrency=()) for server in spec["servers"]]
    sources = [asyncio.create_task(source) for source in (watch_machine(), *map(watch_server, servers))]
    await asyncio.to_thread(sys.stdin.read)  # a lifeline: it closes with the process that measures
    for source in sources:
        source.cancel()
    ended = await asyncio.gather(*sources, return_exceptions=True)
    if failures := [failure for failure in ended if isinstance(failure, Exception)]:
        raise failures[0]


asyncio.run(sample(json.loads(sys.stdin.readline())))

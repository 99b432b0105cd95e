"""What an HTTP client adds to what it measures: contestants take turns against servers with exact deadlines.

``python benchmarks/client.py --rounds 3 > FILE.md`` needs httpx, httptools and aiohttp; the OpenAI SDK
joins in where it is installed. Each contestant runs in a process of its own and keeps N requests in flight,
with bodies of 200 KB that all but the SDK encode beforehand. The servers (``demo/paced.py``) answer with 48
chunks, the first 210 ms after a request's last byte, the others 10 ms apart. A request of each slot goes
before the clock starts, so that connections are open. The order rotates from round to round. A request that
fails is counted, and its slot goes on.
"""

import argparse
import asyncio
import importlib.util
import json
import math
import os
import platform
import resource
import ssl
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TTFT_S, CHUNKS, GAP_S, BODY_BYTES = 0.210, 48, 0.010, 200_000
IDEAL_S = TTFT_S + (CHUNKS - 1) * GAP_S
IMAGE = "data:image/jpeg;base64," + "A" * (BODY_BYTES - 250)
MESSAGES = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]
BODY = json.dumps({"model": "paced", "stream": True, "messages": MESSAGES}).encode()
HEADERS = {"content-type": "application/json"}
COLUMNS = ["CPU ms a request", "added TTFT p50/p99 ms", "from due", "failed"]


# A contestant opens its clients and returns how it sends, as (moment, chunks), and what it raises.


async def exact(stack: AsyncExitStack, in_flight: int):
    """This project's transport under one httpx client, as the measurement uses it."""
    import httpx

    from poc_lib.client.transport import ExactTransport, fetch

    client = await stack.enter_async_context(httpx.AsyncClient(transport=ExactTransport(), timeout=60))
    extensions = {"is_last": lambda tail: b"\ndata: [DONE]" in tail, "deadline_s": 60.0}
    extensions |= {"timeout": {"read": 60.0}}

    async def send(url: str, slot: int):
        request = httpx.Request("POST", url, content=BODY, headers=HEADERS, extensions=extensions)
        exchange = await fetch(client, request)
        if exchange.error_class:
            raise ConnectionError(exchange.error_message)
        return exchange.start_ns, exchange.chunks

    return send, ConnectionError


async def aiohttp(stack: AsyncExitStack, in_flight: int):
    """One aiohttp session, raw pieces of the body as they come."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))

    async def send(url: str, slot: int):
        start_ns, chunks = time.perf_counter_ns(), []
        async with session.post(url, data=BODY, headers=HEADERS) as response:
            async for piece in response.content.iter_any():
                chunks.append((time.perf_counter_ns(), piece))
        return start_ns, chunks

    return send, (aiohttp.ClientError, TimeoutError)


async def httpx_itself(stack: AsyncExitStack, in_flight: int, is_shared: bool):
    """httpx's own transport, one client or a client for every request in flight, raw pieces of the body."""
    import httpx

    limits, context, clients = httpx.Limits(max_connections=in_flight), ssl.create_default_context(), []
    for _ in range(1 if is_shared else in_flight):
        client = httpx.AsyncClient(verify=context, trust_env=False, timeout=60, limits=limits)
        clients.append(await stack.enter_async_context(client))

    async def send(url: str, slot: int):
        start_ns, chunks, client = time.perf_counter_ns(), [], clients[slot % len(clients)]
        async with client.stream("POST", url, content=BODY, headers=HEADERS) as response:
            async for piece in response.aiter_raw():
                chunks.append((time.perf_counter_ns(), piece))
        return start_ns, chunks

    return send, httpx.HTTPError


async def openai(stack: AsyncExitStack, in_flight: int):
    """The OpenAI SDK, which encodes the body and parses every chunk itself."""
    import openai

    clients = {}

    async def send(url: str, slot: int):
        base = url.removesuffix("/chat/completions")
        if base not in clients:
            client = openai.AsyncOpenAI(base_url=base, api_key="none", max_retries=0, timeout=60)
            clients[base] = await stack.enter_async_context(client)
        start_ns, chunks = time.perf_counter_ns(), []
        completions = clients[base].chat.completions
        async for chunk in await completions.create(model="paced", messages=MESSAGES, stream=True):
            content = chunk.choices and chunk.choices[0].delta.content
            chunks.append((time.perf_counter_ns(), b'"content"' if content else b""))
        return start_ns, chunks

    return send, openai.APIError


CONTESTANTS = {
    "this project (httpx on ExactTransport)": exact,
    "raw aiohttp": aiohttp,
    "httpx, one client a slot": partial(httpx_itself, is_shared=False),
    "httpx, one shared client": partial(httpx_itself, is_shared=True),
    "OpenAI SDK": openai,
}


def drive(*cell) -> dict:
    """What measure tells; a process of its own calls it."""
    return asyncio.run(measure(*cell))


async def measure(name: str, urls: list[str], in_flight: int, per_slot: int) -> dict:
    """Keep ``in_flight`` requests going and tell what was measured, times in seconds."""
    rows, failures = [], []
    async with AsyncExitStack() as stack:
        send, errors = await CONTESTANTS[name](stack, in_flight)

        async def run_slot(slot: int, n: int):
            for _ in range(n):
                due_ns = time.perf_counter_ns()
                try:
                    rows.append((due_ns, *await send(urls[slot % len(urls)] + "/chat/completions", slot)))
                except errors as error:
                    failures.append(error)

        await asyncio.gather(*(run_slot(slot, 1) for slot in range(in_flight)))
        rows.clear()
        failures.clear()
        usage, start_s = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await asyncio.gather(*(run_slot(slot, per_slot) for slot in range(in_flight)))
        wall_s, end = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = end.ru_utime + end.ru_stime - usage.ru_utime - usage.ru_stime
    n_sent = len(rows) + len(failures)
    measured = {"rate": len(rows) / wall_s, "cpu": cpu_s / n_sent, "failed": len(failures)}
    for clock, column in (("own", 1), ("due", 0)):
        first = ((next(ns for ns, piece in row[2] if b'"content"' in piece), row[column]) for row in rows)
        added = sorted((ns - start_ns) / 1e9 - TTFT_S for ns, start_ns in first) or [math.nan]
        measured |= {f"{clock}_p{p}": added[len(added) * p // 100] for p in (50, 99)}
    return measured


def start_server(stack: ExitStack) -> str:
    """Start a paced server that ends with us; returns its address."""
    command = [sys.executable, "demo/paced.py", "--ttft_ms", str(TTFT_S * 1e3), "--chunks", str(CHUNKS)]
    command += ["--gap_ms", str(GAP_S * 1e3)]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(server.communicate)  # closes its input
    return json.loads(server.stdout.readline())["url"]


def table(rounds: dict[tuple[str, int], list[dict]], levels: list[int]) -> str:
    """Medians over the rounds and all failures, a line a contestant, levels side by side."""
    ideal = " · ".join(f"{level / IDEAL_S:.3g}" for level in levels)
    heads = ["client", f"requests/s (ideal {ideal})", *COLUMNS]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in dict.fromkeys(name for name, _ in rounds):
        cells = []
        for found in (rounds[name, level] for level in levels):
            at = {key: statistics.median(measured[key] for measured in found) for key in found[0]}
            ms = {key: f"{value * 1e3:.1f}" for key, value in at.items()}
            times = [f"{ms['own_p50']}/{ms['own_p99']}", f"{ms['due_p50']}/{ms['due_p99']}"]
            failed = f"{sum(measured['failed'] for measured in found)}"
            cells.append([f"{at['rate']:.3g}", f"{at['cpu'] * 1e3:.2f}", *times, failed])
        lines.append(f"| {name} | " + " | ".join(map(" · ".join, zip(*cells, strict=True))) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--per_slot", type=int, default=8, help="requests of each slot in a round")
    parser.add_argument("--servers", type=int, default=max(1, min(6, (os.cpu_count() or 2) - 2)))
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), metavar="NAME", help="parts of names")
    args = parser.parse_args()
    names = [name for name in CONTESTANTS if any(part in name for part in args.only)]
    if importlib.util.find_spec("openai") is None:
        names = [name for name in names if name != "OpenAI SDK"]
    rounds: dict[tuple[str, int], list[dict]] = {(name, level): [] for name in names for level in args.levels}
    with ExitStack() as stack:
        urls = [start_server(stack) for _ in range(args.servers)]
        each = ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1)  # a process for each cell
        pool = stack.enter_context(each)
        for i in range(args.rounds):
            for level in args.levels:
                for name in [*names[i % len(names) :], *names[: i % len(names)]]:
                    measured = pool.submit(drive, name, urls, level, args.per_slot).result()
                    rounds[name, level].append(measured)
                    print(i, level, name, measured, file=sys.stderr)
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    what = f"{args.servers} server processes, medians of {args.rounds} rounds, in flight {args.levels}"
    print(f"{machine}; {what}.\n\n{table(rounds, args.levels)}")


if __name__ == "__main__":
    main()

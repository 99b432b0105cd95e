"""What an HTTP client adds to what it measures: contestants take turns against servers with exact deadlines.

``python benchmarks/client.py --rounds 3 --out FILE.md`` needs httpx, httptools and aiohttp; the OpenAI SDK
joins in where it is installed. Each contestant runs in a process of its own and keeps N requests in flight,
with bodies of 200 KB that all but the SDK encode beforehand. The servers (``demo/paced.py``) answer with 48
chunks, the first 210 ms after a request's last byte, the others 10 ms apart. A request of each slot goes
before the clock starts, so that connections are open. The order rotates from round to round.
"""

import argparse
import asyncio
import importlib.util
import json
import os
import platform
import resource
import ssl
import statistics
import subprocess
import sys
import time
import types
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
TTFT_S, CHUNKS, GAP_S, BODY_BYTES = 0.210, 48, 0.010, 200_000
IDEAL_S = TTFT_S + (CHUNKS - 1) * GAP_S
IMAGE = "data:image/jpeg;base64," + "A" * (BODY_BYTES - 250)
MESSAGES = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]
BODY = json.dumps({"model": "paced", "stream": True, "messages": MESSAGES}).encode()
HEADERS = {"content-type": "application/json"}


async def exact(stack: AsyncExitStack, in_flight: int):
    """This project's transport under one httpx client, as the measurement uses it."""
    import httpx

    for name in ("poc_lib", "poc_lib.client"):  # without what their __init__ imports
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(ROOT / name.replace(".", "/"))]
    from poc_lib.client.transport import ExactTransport, fetch

    client = await stack.enter_async_context(httpx.AsyncClient(transport=ExactTransport(), timeout=60))
    extensions = {
        "is_last": lambda tail: b"\ndata: [DONE]" in tail,
        "deadline_s": 60.0,
        "timeout": {"read": 60.0},
    }

    async def send(url: str, slot: int):
        request = httpx.Request("POST", url, content=BODY, headers=HEADERS, extensions=extensions)
        exchange = await fetch(client, request)
        assert exchange.error_class is None, exchange.error_message
        return exchange.start_ns, exchange.chunks

    return send


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

    return send


async def _httpx(stack: AsyncExitStack, n_clients: int, in_flight: int):
    import httpx

    limits, context = httpx.Limits(max_connections=in_flight), ssl.create_default_context()
    clients = [
        httpx.AsyncClient(verify=context, trust_env=False, timeout=60, limits=limits)
        for _ in range(n_clients)
    ]
    for client in clients:
        await stack.enter_async_context(client)

    async def send(url: str, slot: int):
        start_ns, chunks = time.perf_counter_ns(), []
        async with clients[slot % n_clients].stream("POST", url, content=BODY, headers=HEADERS) as response:
            async for piece in response.aiter_raw():
                chunks.append((time.perf_counter_ns(), piece))
        return start_ns, chunks

    return send


async def httpx_per_slot(stack: AsyncExitStack, in_flight: int):
    """httpx's own transport, a client for every request in flight, raw pieces of the body."""
    return await _httpx(stack, in_flight, in_flight)


async def httpx_shared(stack: AsyncExitStack, in_flight: int):
    """httpx's own transport, one client."""
    return await _httpx(stack, 1, in_flight)


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
        async for chunk in await clients[base].chat.completions.create(
            model="paced", messages=MESSAGES, stream=True
        ):
            content = chunk.choices and chunk.choices[0].delta.content
            chunks.append((time.perf_counter_ns(), b'"content"' if content else b""))
        return start_ns, chunks

    return send


CONTESTANTS = {
    "this project (httpx on ExactTransport)": exact,
    "raw aiohttp": aiohttp,
    "httpx, one client a slot": httpx_per_slot,
    "httpx, one shared client": httpx_shared,
    "OpenAI SDK": openai,
}


async def drive(name: str, urls: list[str], in_flight: int, per_slot: int) -> dict:
    """Keep ``in_flight`` requests going and tell what was measured, times in seconds."""
    rows = []
    async with AsyncExitStack() as stack:
        send = await CONTESTANTS[name](stack, in_flight)

        async def run_slot(slot: int, n: int, kept: list):
            for _ in range(n):
                due_ns = time.perf_counter_ns()
                kept.append((due_ns, *await send(urls[slot % len(urls)] + "/chat/completions", slot)))

        await asyncio.gather(*(run_slot(slot, 1, []) for slot in range(in_flight)))
        usage, start_s = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await asyncio.gather(*(run_slot(slot, per_slot, rows) for slot in range(in_flight)))
        wall_s, end = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = end.ru_utime + end.ru_stime - usage.ru_utime - usage.ru_stime
    measured = {"rate": len(rows) / wall_s, "cpu": cpu_s / len(rows)}
    for clock, column in (("own", 1), ("due", 0)):
        first = ((next(ns for ns, piece in row[2] if b'"content"' in piece), row[column]) for row in rows)
        added = sorted((ns - start_ns) / 1e9 - TTFT_S for ns, start_ns in first)
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
    """Medians over the rounds, a line a contestant, levels side by side."""
    ideal = " · ".join(f"{level / IDEAL_S:.3g}" for level in levels)
    heads = ["client", f"requests/s (ideal {ideal})", "CPU ms a request", "added TTFT p50/p99 ms", "from due"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in dict.fromkeys(name for name, _ in rounds):
        cells = [name, *([] for _ in range(4))]
        for got in (rounds[name, level] for level in levels):
            at = {key: statistics.median(one[key] for one in got) for key in got[0]}
            ms = {key: f"{value * 1e3:.1f}" for key, value in at.items()}
            cells[1].append(f"{at['rate']:.3g}")
            cells[2].append(f"{at['cpu'] * 1e3:.2f}")
            cells[3].append(f"{ms['own_p50']}/{ms['own_p99']}")
            cells[4].append(f"{ms['due_p50']}/{ms['due_p99']}")
        lines.append(f"| {name} | " + " | ".join(" · ".join(cell) for cell in cells[1:]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--levels", type=int, nargs="+", default=[8, 64, 256])
    parser.add_argument("--per_slot", type=int, default=8, help="requests of each slot in a round")
    parser.add_argument("--servers", type=int, default=max(1, min(6, (os.cpu_count() or 2) - 2)))
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), metavar="NAME", help="parts of names")
    parser.add_argument("--out", type=Path, help="also write the table here")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "LEVEL"), help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(asyncio.run(drive(args.child[0], args.urls, int(args.child[1]), args.per_slot))))
        return
    names = [name for name in CONTESTANTS if any(part in name for part in args.only)]
    if importlib.util.find_spec("openai") is None:
        names = [name for name in names if name != "OpenAI SDK"]
    rounds: dict[tuple[str, int], list[dict]] = {(name, level): [] for name in names for level in args.levels}
    with ExitStack() as stack:
        urls = [start_server(stack) for _ in range(args.servers)]
        for i in range(args.rounds):
            for level in args.levels:
                for name in [*names[i % len(names) :], *names[: i % len(names)]]:
                    command = [sys.executable, __file__, "--per_slot", str(args.per_slot)]
                    command += ["--child", name, str(level), "--urls", *urls]
                    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
                    rounds[name, level].append(json.loads(done.stdout))
                    print(i, level, name, done.stdout.strip(), file=sys.stderr)
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    what = f"{args.servers} server processes, medians of {args.rounds} rounds, in flight {args.levels}"
    text = f"{machine}; {what}.\n\n{table(rounds, args.levels)}"
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

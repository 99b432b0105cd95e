"""Servers and machine beside the requests, sampled by a process of its own: python -m poc_lib.telemetry."""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import httpx
import orjson
import psutil

from poc_lib.client.transport import ExactTransport, fetch
from poc_lib.host import is_on_battery
from poc_lib.records import Server, SetupProblem
from poc_lib.text import authorize

if TYPE_CHECKING:  # pandas would double the sampler's start
    import pandas as pd

    from poc_lib.runs import Run

NAMES = {  # a server's word for a number -> ours
    "num_running": "num_running",  # of vllm-mlx: requests in its batch
    "num_waiting": "num_waiting",  # queued before it
    "total_requests_processed": "requests_total",  # since it started
    "total_completion_tokens": "output_tokens_total",  # given-up requests' too, which are counted late
    "in_flight": "num_running",  # of mlx_vlm.server
    "requests_completed": "requests_total",
    "completion_tokens_total": "output_tokens_total",
    "context_length": "context_length",  # of the model that Ollama has loaded
}
ROUTES = {"ollama": ("/api/ps",), "openai": ("/v1/status", "/metrics")}  # below the server's root
DEADLINE_S = 5.0  # of one route
SERVERS_EVERY_S, MACHINE_EVERY_S = 1.0, 5.0  # macOS' thermal state costs a process each time
STOP_TIMEOUT_S = 3.0
JUDGED = {"sitting": float, "swap_used_gb": float, "thermal": float}  # what findings read, beside on_battery


@contextmanager
def sampling(
    run: "Run", servers: Iterable[Server], *, sitting: int, start_ns: int, api_key: str | None = None
) -> Iterator[None]:
    """Sample servers and machine into the run's telemetry.jsonl meanwhile; sampling that fails stops no
    measurement: it is noted in the run's events as telemetry_failed."""
    from poc_lib.params import PROJECT_ROOT
    from poc_lib.runs import append_event, telemetry_writer

    rows = [asdict(server) for server in servers]
    spec = json.dumps({"servers": rows, "sitting": sitting, "start_ns": start_ns, "api_key": api_key})
    with telemetry_writer(run) as samples:
        process = subprocess.Popen(
            [sys.executable, "-m", "poc_lib.telemetry"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=samples,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupted cell must not take it along
            text=True,
        )
        with suppress(BrokenPipeError):
            print(spec, file=process.stdin, flush=True)
        try:
            yield
        finally:
            try:
                _, said = process.communicate(timeout=STOP_TIMEOUT_S)  # closes the sampler's lifeline
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
            if process.returncode:
                problem = (said.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
                with suppress(SetupProblem):  # a full disk, told by who writes replies
                    append_event(run, "telemetry_failed", sitting=sitting, problem=problem)


async def snapshot_counters(server: Server, api_key: str | None = None) -> dict[str, float]:
    """The figures of the first route that tells any, else {}; exact while the server is idle."""
    url, headers = authorize(server.url, api_key)
    async with httpx.AsyncClient(transport=ExactTransport(), trust_env=False, headers=headers) as client:
        for route in ROUTES.get(server.api, ()):
            asked = url.rstrip("/").removesuffix("/v1") + route
            request = client.build_request("GET", asked, extensions={"deadline_s": DEADLINE_S})
            if figures := read_figures(server, (await fetch(client, request)).body):
                return figures
    return {}


def telemetry_table(samples: Iterable[dict]) -> "pd.DataFrame":
    """One row a sample: its source (server, machine) and what findings read of it; not known is NaN."""
    import pandas as pd

    return pd.DataFrame(list(samples)).reindex(columns=["source", "on_battery", *JUDGED]).astype(JUDGED)


def read_figures(server: Server, body: bytes) -> dict[str, float]:
    """The figures in a route's answer; what is no JSON number is left out."""
    try:
        said = orjson.loads(body)
        if server.api == "ollama":
            tags = server.model, f"{server.model}:latest"
            said = next(model for model in said["models"] if model["name"] in tags)
        said = said.get("summary", said)  # mlx_vlm.server's
        return {NAMES[k]: v for k, v in said.items() if k in NAMES and type(v) in (int, float)}
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError, StopIteration):  # another shape
        return {}


def read_machine() -> dict[str, float | bool | None]:
    """Swap, power, and the share of full speed that macOS allows its chip, in %; None: not known."""
    thermal = None
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.TimeoutExpired):
            command = ["pmset", "-g", "therm"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False).stdout
            limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", said)
            thermal = float(limit[1]) if limit else 100.0 if said else None  # no limit is noted at full speed
    swap_gb = psutil.swap_memory().used / 1e9
    return {"swap_used_gb": swap_gb, "on_battery": is_on_battery(), "thermal": thermal}


async def sample(servers: list[dict], sitting: int, start_ns: int, api_key: str | None) -> None:
    """Write a line a sample until standard input closes; what ended one source is raised in the end."""

    async def watch(every_s: float, read: Callable[[], Awaitable[dict]], **source: str) -> None:
        while True:
            if figures := await read():
                at_s = round((time.perf_counter_ns() - start_ns) / 1e9, 6)
                line = {"sitting": sitting, "at_s": at_s, **source, **figures}
                sys.stdout.buffer.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                sys.stdout.buffer.flush()
            await asyncio.sleep(every_s)

    watched = [watch(MACHINE_EVERY_S, partial(asyncio.to_thread, read_machine), source="machine")]
    for server in (Server(**row) for row in servers):
        read = partial(snapshot_counters, server, api_key)
        watched.append(watch(SERVERS_EVERY_S, read, source="server", server=server.name))
    tasks = [asyncio.create_task(source) for source in watched]
    await asyncio.to_thread(sys.stdin.read)  # a lifeline: it closes with the process that measures
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            raise ended


if __name__ == "__main__":
    asyncio.run(sample(**json.loads(sys.stdin.readline())))

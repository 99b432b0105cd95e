"""Servers and machine beside the requests, sampled by a process of its own."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import httpx
import pandas as pd

from poc_lib.client.transport import ExactTransport
from poc_lib.params import PROJECT_ROOT, TELEMETRY_EVERY_S
from poc_lib.records import Server, SetupProblem
from poc_lib.runs import Run, append_event, telemetry_writer
from poc_lib.telemetry.said import ask_server, routes_of
from poc_lib.text import authorize

TIMEOUT_S = 60.0  # vllm-mlx answers nothing while it reads images
SNAPSHOT_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0
NUMBERS = (
    *("sitting", "at_s", "num_running", "num_waiting", "requests_total", "output_tokens_total"),
    *("context_length", "memory_available_gb", "swap_used_gb", "thermal"),
)


@contextmanager
def sampling(
    run: Run, servers: Iterable[Server], *, sitting: int, start_ns: int, api_key: str | None = None
) -> Iterator[None]:
    """Sample servers and machine into the run's telemetry.jsonl once a second for the length of a block.

    Sampling that fails stops no measurement: it is noted in the run's events as telemetry_failed.
    """
    rows = [{k: v for k, v in asdict(server).items() if k != "concurrency"} for server in servers]
    spec = {"servers": rows, "sitting": sitting, "start_ns": start_ns, "api_key": api_key}
    spec |= {"every_s": TELEMETRY_EVERY_S, "timeout_s": TIMEOUT_S}
    with telemetry_writer(run) as samples:
        process = subprocess.Popen(
            [sys.executable, "-m", "poc_lib.telemetry"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=samples,
            stderr=subprocess.PIPE,
            start_new_session=True,  # an interrupted cell must not take it along
        )
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(spec).encode() + b"\n")
            process.stdin.flush()
        try:
            yield
        finally:
            with suppress(BrokenPipeError):
                process.stdin.close()  # the sampler's lifeline
            problem = None
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            else:
                said = process.stderr.read().decode(errors="replace").strip().splitlines()
                problem = (said or ["nothing on stderr"])[-1] if process.returncode else None
            process.stderr.close()
            if problem:
                with suppress(SetupProblem):  # a full disk, told by who writes replies
                    append_event(run, "telemetry_failed", sitting=sitting, problem=problem)


async def snapshot_counters(server: Server, api_key: str | None = None) -> dict:
    """The server's figures while it is idle: the difference of two is exact. {} where it tells nothing.

    Takes 10 s at most, however a server drips.
    """
    _, headers = authorize(server.url, api_key)
    async with httpx.AsyncClient(transport=ExactTransport(), trust_env=False, headers=headers) as client:
        return await ask_server(client, server, routes_of(server), SNAPSHOT_TIMEOUT_S)


def telemetry_table(samples: Iterable[dict]) -> pd.DataFrame:
    """One row a sample: source (server, machine), server, at_s (from the sitting's start), figures.

    GB are 1e9 bytes; what is not known is NaN.
    """
    table = pd.DataFrame(list(samples)).reindex(columns=["source", "server", "on_battery", *NUMBERS])
    return table.astype(dict.fromkeys(NUMBERS, float))

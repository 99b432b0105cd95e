"""The sampling loops, which run in a process of their own until its stdin closes."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import psutil

from poc_lib.telemetry.asking import Asked, ask_server, open_asking_client, plan_asking
from poc_lib.telemetry.gpu import ReadGpu, gpu_reader
from poc_lib.telemetry.machine import ServerProcesses, local_port, read_machine, read_rss_gb
from poc_lib.telemetry.spec import Sample, SamplingSpec, moment_s

READY_WITHIN_S = 2.0

Write = Callable[[Sample], None]


@dataclass(frozen=True, slots=True)
class _Watched:
    asked: Asked
    client: httpx.AsyncClient
    answered: asyncio.Event = field(default_factory=asyncio.Event)


async def sample_until_eof(
    spec: SamplingSpec, write: Write, stdin: int, on_ready: Callable[[], None]
) -> None:
    """Sample servers and machine every ``spec.every_s`` seconds until the pipe ``stdin`` is closed.

    ``on_ready`` is called when every server has answered once, or after READY_WITHIN_S.
    """
    psutil.cpu_percent()  # the first call has nothing to compare with
    watched = [
        _Watched(plan_asking(t), open_asking_client(spec.api_key, spec.timeout_s)) for t in spec.targets
    ]
    local = _find_local(spec)
    async with gpu_reader(spec.every_s) as read_gpu, asyncio.TaskGroup() as group:
        tasks = [group.create_task(_watch_server(spec, server, write)) for server in watched]
        tasks.append(group.create_task(_watch_machine(spec, local, read_gpu, write)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                await asyncio.gather(*(server.answered.wait() for server in watched))
        on_ready()
        await _until_closed(stdin)
        for task in tasks:
            task.cancel()


async def _watch_server(spec: SamplingSpec, server: _Watched, write: Write) -> None:
    """One question at a time: the next is asked only when the last was answered or has failed."""
    source = {"sitting": spec.sitting, "source": "server", "server": server.asked.target.name}
    async with server.client:
        async for _ in _ticks(spec.every_s):
            asked_s = moment_s(spec)
            try:
                figures = await ask_server(server.client, server.asked)
            except asyncio.CancelledError:
                write({**source, "asked_s": asked_s, "error": "no answer before the end"})
                raise
            write({**source, "asked_s": asked_s, "answered_s": moment_s(spec), **figures})
            server.answered.set()
            if not server.asked.routes:
                return


def _find_local(spec: SamplingSpec) -> dict[str, ServerProcesses]:
    ports = {target.name: local_port(target.url) for target in spec.targets}
    local = {name: ServerProcesses(port) for name, port in ports.items() if port is not None}
    for server in local.values():
        read_rss_gb(server)  # the search for its process costs most: before anything is measured
    return local


async def _watch_machine(
    spec: SamplingSpec, local: dict[str, ServerProcesses], read_gpu: ReadGpu, write: Write
) -> None:
    async for _ in _ticks(spec.every_s):
        write(_machine_sample(spec, "host", read_machine() | read_gpu()))
        for name, server in local.items():
            rss_gb = read_rss_gb(server)
            if rss_gb is not None:
                write(_machine_sample(spec, "process", {"server": name, "rss_gb": rss_gb}))


def _machine_sample(spec: SamplingSpec, source: str, figures: dict) -> Sample:
    now_s = moment_s(spec)
    return {"sitting": spec.sitting, "source": source, "asked_s": now_s, "answered_s": now_s, **figures}


async def _ticks(every_s: float) -> AsyncIterator[None]:
    """Ticks on a grid; those that were missed are left out, not made up for."""
    due_s = time.monotonic()
    while True:
        yield
        now_s = time.monotonic()
        due_s += every_s * max(1, -(-(now_s - due_s) // every_s))
        await asyncio.sleep(due_s - now_s)


async def _until_closed(pipe: int) -> None:
    loop, closed = asyncio.get_running_loop(), asyncio.Event()

    def look() -> None:
        if not os.read(pipe, 4096):
            closed.set()

    loop.add_reader(pipe, look)
    try:
        await closed.wait()
    finally:
        loop.remove_reader(pipe)

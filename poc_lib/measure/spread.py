"""One cell from several processes, where one event loop no longer keeps up with the server.

Dask hands the slots out, to the scheduler at DASK_SCHEDULER_ADDRESS (whose workers have this project) or to
processes of this machine. All start at the same moment; only the process that measures writes.
"""

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from poc_lib.client import PreparedRequest
from poc_lib.measure.loop import Load, Make, Progress, run_cell
from poc_lib.records import Cell, Reply, SetupProblem

if TYPE_CHECKING:
    from distributed import Client

LEAD_S = 0.5  # between handing out and the common start
LOST = "a worker process was lost in mid-block: the same command measures that block again"


@contextmanager
def open_workers(n: int, scheduler: str = "") -> Iterator["Client"]:
    """A client of the scheduler at that address, else at Dask's own setting, else of ``n`` processes here;
    SetupProblem where Dask is not installed, or no scheduler answers there."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise SetupProblem("several processes need Dask: pip install 'distributed'") from None
    # What a lost worker did has failed; it is not done again in secret. Workers may start servers.
    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.worker.daemon": False}
    settings["distributed.scheduler.locks.lease-timeout"] = "10s"  # after which a lost worker's lock is free
    scheduler = scheduler or dask.config.get("scheduler-address", "")
    with dask.config.set(settings), ExitStack() as stack:
        if not scheduler:
            here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}
            scheduler = stack.enter_context(LocalCluster(n_workers=n, threads_per_worker=1, **here))
        try:
            client = Client(scheduler, timeout=10, set_as_default=False)
        except OSError as error:
            raise SetupProblem(
                f"no Dask scheduler at {scheduler} ({error}): start `dask scheduler`"
            ) from None
        yield stack.enter_context(client)


async def run_spread(
    client: "Client", load: Load, cell: Cell, n_requests: int, make: Make, seed: int = 0
) -> Progress:
    """As loop.run_cell in closed loop, its slots dealt out to the client's workers; replies come at the
    end of the cell, in the order in which they ended. SetupProblem: a worker was lost."""
    parts = await asyncio.to_thread(deal_slots, client, load, cell, n_requests, make)
    replies = [reply for replies, _ in parts for reply in replies]
    stopped = next((reason for _, reason in parts if reason), None)
    starts_s = sorted(reply.start_s for reply in replies)
    ends_s = sorted(reply.start_s + reply.total_s for reply in replies)
    state = Progress(n_sent=len(replies), stopped_because=stopped)
    state.start_s = starts_s[0] + load.start_ns / 1e9 if replies else state.start_s
    for reply in sorted(replies, key=lambda reply: reply.start_s + reply.total_s):
        reply.in_flight = bisect_right(starts_s, reply.start_s) - bisect_right(ends_s, reply.start_s)
        state.n_done += 1
        state.n_failed += reply.error_class is not None
        load.on_reply(reply, state)
    return state


def deal_slots(client: "Client", load: Load, cell: Cell, n_requests: int, make: Make) -> list[tuple]:
    """Hand every worker its slots with their requests; of each its replies, and why it gave the server up."""
    from distributed.scheduler import KilledWorker

    workers = sorted(client.nthreads())[: cell.concurrency]
    shares = []
    for number, worker in enumerate(workers):
        slots = range(number, cell.concurrency, len(workers))
        requests = {i: make(i) for i in range(n_requests) if i % cell.concurrency in slots}
        shares += client.scatter([requests], workers=[worker], direct=True, hash=False)
    start_wall_ns = time.time_ns() - time.perf_counter_ns() + load.start_ns
    load = replace(load, start_ns=start_wall_ns, on_reply=None)  # which stays here
    begin_wall_s = time.time() + LEAD_S
    futures = [
        client.submit(send_share, share, cell, load, begin_wall_s, workers=[worker], pure=False, retries=0)
        for share, worker in zip(shares, workers, strict=True)
    ]
    while any(future.status == "pending" for future in futures):
        if not set(workers) <= set(client.nthreads()):
            raise SetupProblem(LOST)
        time.sleep(0.2)
    if any(isinstance(future.exception(), KilledWorker) for future in futures):
        raise SetupProblem(LOST)
    return client.gather(futures)


def send_share(
    requests: dict[int, PreparedRequest], cell: Cell, load: Load, begin_wall_s: float
) -> tuple[list[Reply], str | None]:
    """In a worker: keep its slots busy from the common moment on; clocks of other machines count alike."""
    positions, replies = list(requests), []
    slots = sorted({position % cell.concurrency for position in positions})

    def keep(reply: Reply, state: Progress) -> None:
        reply.position, reply.slot = positions[reply.position], slots[reply.slot]
        reply.concurrency = cell.concurrency
        replies.append(reply)

    async def send() -> Progress:
        await asyncio.sleep(max(0.0, begin_wall_s - time.time()))
        start_ns = load.start_ns - (time.time_ns() - time.perf_counter_ns())
        own = replace(load, start_ns=start_ns, on_reply=keep)
        part = replace(cell, concurrency=len(slots))
        return await run_cell(own, part, len(positions), lambda i: requests[positions[i]])

    return replies, asyncio.run(send()).stopped_because

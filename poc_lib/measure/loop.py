"""The loops that run one cell: closed (so many in flight) and open (arrivals at a rate).

Bodies are made by threads just ahead of need, behind a bounded queue; the event loop only sends and stamps.
"""

import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from poc_lib.client import ChatSettings, PreparedRequest, Sending, open_client, send_request
from poc_lib.params import STOP_AFTER_FAILURES
from poc_lib.records import Cell, Reply

READ_AHEAD = 64  # bodies ready at least; a cell that sends no more is encoded whole before its clock starts
TICK_S = 0.005
LAG_NOTED_S = 0.001

Make = Callable[[int], PreparedRequest]  # position in the cell -> its request, encoded


@dataclass(slots=True)
class Progress:
    """Where one cell stands."""

    n_done: int = 0
    n_failed: int = 0
    n_sent: int = 0
    in_flight: int = 0
    failures_in_row: int = 0
    stopped_because: str | None = None  # once set, no slot sends again, whatever is still answered
    start_s: float = field(default_factory=time.perf_counter)

    def count(self, reply: Reply) -> None:
        """Count a reply; ten failures in a row stop the cell."""
        self.n_done += 1
        if reply.error_class in (None, "aborted"):  # what we gave up ourselves says nothing of the server
            self.failures_in_row = 0
            return
        self.n_failed += 1
        self.failures_in_row += 1
        if self.failures_in_row == STOP_AFTER_FAILURES:
            why = f"{reply.error_class}, {reply.error_message}"
            self.stopped_because = f"{STOP_AFTER_FAILURES} failures in a row: {why}"


@dataclass(frozen=True, slots=True)
class Load:
    """What one cell needs besides its requests."""

    settings: ChatSettings
    sitting: int
    simulated: bool
    start_ns: int  # perf_counter_ns at the sitting's start
    on_reply: Callable[[Reply, Progress], None]
    abort_after_s: Callable[[int], float | None] = lambda position: None  # when a request is given up


async def run_cell(load: Load, cell: Cell, n_requests: int, make: Make, seed: int = 0) -> Progress:
    """Send a cell's requests; every reply goes to ``load.on_reply`` as it comes.

    A closed loop keeps ``cell.concurrency`` requests in flight. An open loop sends at Poisson arrivals of
    ``cell.rate_per_s``, drawn from the seed, and counts each latency from the due moment. Ten failures in a
    row end the cell. On cancellation the connections are closed at once.
    """
    due_s: list[float] = []  # from the cell's start to each arrival
    if cell.rate_per_s is not None:
        pick = random.Random(f"{seed}/arrivals {cell.rate_per_s}")
        gaps_s = (pick.expovariate(cell.rate_per_s) for _ in range(n_requests - 1))
        due_s = list(itertools.accumulate(gaps_s, initial=0.0))
    lags: deque[tuple[float, float]] = deque(maxlen=10_000)
    positions = iter(range(n_requests))

    async def watch_lag() -> None:
        """Note how late the event loop wakes a timer: what it adds to any stamp taken meanwhile."""
        while True:
            asked_s = time.perf_counter()
            await asyncio.sleep(TICK_S)
            late_s = time.perf_counter() - asked_s - TICK_S
            if late_s > LAG_NOTED_S:
                lags.append((asked_s + TICK_S + late_s, late_s))

    async def run_slot(slot: int) -> None:
        async with open_client(load.settings) as client:
            for position in positions:
                prepared, due_ns = await next_request(), None
                if due_s:
                    due_ns = round((state.start_s + due_s[position]) * 1e9)
                    await asyncio.sleep(max(0.0, (due_ns - time.perf_counter_ns()) / 1e9))
                if state.stopped_because:
                    return
                state.in_flight += 1
                state.n_sent += 1
                due = None if due_ns is None else (due_ns - load.start_ns) / 1e9
                sending = Sending(
                    cell, load.sitting, slot, position, load.simulated, load.start_ns, state.in_flight, due
                )
                began_s, abort_after_s = time.perf_counter(), load.abort_after_s(position)
                try:
                    reply = await send_request(client, prepared, sending, abort_after_s=abort_after_s)
                finally:
                    state.in_flight -= 1
                reply.lag_s = round(max((lag for at, lag in lags if at >= began_s), default=0.0), 5)
                state.count(reply)
                load.on_reply(reply, state)

    with feeding(make, n_requests, ahead=max(READ_AHEAD, 4 * cell.concurrency)) as next_request:
        await asyncio.sleep(0)
        state = Progress()
        watch = asyncio.create_task(watch_lag())
        try:
            async with asyncio.TaskGroup() as slots:
                for slot in range(min(cell.concurrency, n_requests)):
                    slots.create_task(run_slot(slot))
        finally:
            watch.cancel()
    return state


@contextmanager
def feeding(make: Make, n: int, ahead: int) -> Iterator[Callable[[], Awaitable[PreparedRequest]]]:
    """A function that gives the next request, in order; at most ``ahead`` bodies are in memory.

    The first ``ahead`` are ready before the block begins, so that a cell of no more than that is encoded
    whole before its clock starts.
    """
    positions = iter(range(n))
    waiting: deque[Future] = deque()
    pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="encode")

    def submit() -> None:
        position = next(positions, None)
        if position is not None:
            waiting.append(pool.submit(make, position))

    async def next_request() -> PreparedRequest:
        future = waiting.popleft()
        submit()
        return future.result() if future.done() else await asyncio.wrap_future(future)

    try:
        for _ in range(ahead):
            submit()
        for future in list(waiting):
            future.result()
        yield next_request
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

"""The open loop: every request is sent when it is due, whatever became of the ones before.

A closed loop asks again only when it has its answer, so a slow server slows its own questioner down and the
requests that would have had to wait are never sent: Gil Tene's "coordinated omission" ("How NOT to Measure
Latency", 2013). Here the moments are fixed before the first request (``arrivals``), each reply keeps the
moment at which it was due (``Reply.due_s``), and latency counts from there (``goodput``).
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import httpx

from poc_lib.arrivals import plan_arrivals
from poc_lib.benchmark import CellOutcome, CellState, Load, Progress, count_reply, progress_of_cell
from poc_lib.records import Cell
from poc_lib.servers import PreparedRequest, Sending, open_client, run_clock_ns

TIMER_SLACK_S = 0.002  # timers wake 1 ms late (epoll counts whole ms); so long before, the clock is watched


@dataclass(slots=True)
class _OpenCell:
    """One open-loop cell while it runs."""

    load: Load
    cell: Cell
    counted: Progress
    state: CellState
    clients: list[httpx.AsyncClient]  # by slot
    idle: list[int]  # slots without a request; the last used is taken first, its connection is warm
    overdue: deque[tuple[PreparedRequest, float]] = field(default_factory=deque)  # (request, due_s), in order
    given_up: asyncio.Event = field(default_factory=asyncio.Event)


async def run_open_cell(
    load: Load, cell: Cell, frame_ids: Sequence[str], counted: Progress, seed: int
) -> CellOutcome:
    """Send each frame's request at its own moment, until all have a reply or the cell gives up.

    ``cell.arrivals`` and ``cell.rate_per_s`` say how the moments are spaced; block b draws from seed + b.
    At most ``cell.concurrency`` requests are in flight, each on a client with a connection of its own; what
    is due when all are taken is sent, in order, as soon as one is free, and keeps the moment it was due.
    So a request that waited here has ``in_flight == cell.concurrency``.

    Args:
        counted: the sweep's progress before this cell; done and failed go on from there.
        seed: of the moments.
    """
    prepared = [load.requests[cell.server][frame_id] for frame_id in frame_ids]
    arrivals = plan_arrivals(len(prepared), cell.rate_per_s, cell.arrivals, seed + cell.block)
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(open_client(load.settings))
            for _ in range(min(cell.concurrency, len(prepared)))
        ]
        state = CellState(iter(()), n_total=len(prepared))
        running = _OpenCell(load, cell, counted, state, clients, idle=list(reversed(range(len(clients)))))
        await _send_when_due(running, prepared, arrivals)
    n_not_sent = state.n_total - state.n_sent
    return CellOutcome(
        cell=cell,
        n_sent=state.n_sent,
        n_failed=state.n_failed,
        n_not_sent=n_not_sent,
        stopped_because=state.given_up_because if n_not_sent else None,
    )


async def _send_when_due(
    running: _OpenCell, prepared: Sequence[PreparedRequest], arrivals: Sequence[float]
) -> None:
    start_ns = run_clock_ns()
    async with asyncio.TaskGroup() as in_flight:
        for request, arrival_s in zip(prepared, arrivals, strict=True):
            due_ns = start_ns + round(arrival_s * 1e9)
            await _wait_until(due_ns, running.given_up)
            if running.given_up.is_set():
                return
            running.overdue.append((request, (due_ns - running.load.start_ns) / 1e9))
            if running.idle:
                in_flight.create_task(_send_overdue(running, running.idle.pop()))


async def _wait_until(due_ns: int, given_up: asyncio.Event) -> None:
    """Return at the moment, or as soon as the cell is given up."""
    left_s = (due_ns - run_clock_ns()) / 1e9
    if left_s > TIMER_SLACK_S:
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s - TIMER_SLACK_S):
                await given_up.wait()
    while run_clock_ns() < due_ns and not given_up.is_set():  # noqa: ASYNC110 - a moment has no event
        await asyncio.sleep(0)


async def _send_overdue(running: _OpenCell, slot: int) -> None:
    """Send what is due, one after the other, while anything is; then the slot is idle.

    A finished request and the next overdue one change places without the event loop in between, which keeps
    ``in_flight`` at the limit for every request that had to wait.
    """
    while running.overdue and not running.given_up.is_set():
        request, due_s = running.overdue.popleft()
        await _send_one(running, slot, request, due_s)
    running.idle.append(slot)


async def _send_one(running: _OpenCell, slot: int, request: PreparedRequest, due_s: float) -> None:
    load, cell, state = running.load, running.cell, running.state
    state.in_flight += 1
    state.n_sent += 1
    simulated = load.simulated[cell.server]
    sending = Sending(cell, load.sitting, slot, simulated, load.start_ns, state.in_flight, due_s)
    try:
        reply = await load.send(running.clients[slot], request, sending)
    finally:
        state.in_flight -= 1
    load.on_reply(reply)
    count_reply(state, reply, load.stop_after_failures)
    load.on_progress(progress_of_cell(load, cell, state, running.counted))
    if state.given_up_because:
        running.given_up.set()

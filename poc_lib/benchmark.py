"""The closed loop that runs one cell. Knows no server's API and no files."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from poc_lib.plan import describe_cell
from poc_lib.records import Cell, Reply, ServerSpec
from poc_lib.servers import (
    ChatSettings,
    PreparedRequest,
    Sending,
    open_client,
    request_id,
    run_clock_ns,
    send_request,
)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sweep stands; times in seconds."""

    doing: str  # "vllm-mlx, 4 in flight"
    done: int
    total: int
    failed: int
    elapsed_s: float
    frames_per_s: float  # of the current cell
    left_s: float | None  # at the current cell's pace; None before its first reply


@dataclass(frozen=True, slots=True)
class Load:
    """What stays the same during one sitting."""

    requests: Mapping[str, Mapping[str, PreparedRequest]]  # server name -> frame_id -> request
    settings: ChatSettings
    simulated: Mapping[str, bool]  # server name -> its answers are simulated
    sitting: int
    stop_after_failures: int  # failures in a row that end a cell
    on_reply: Callable[[Reply], None]
    on_progress: Callable[[Progress], None] = lambda progress: None
    send: Callable[..., Awaitable[Reply]] = send_request  # (client, prepared, sending) -> reply
    start_ns: int = field(default_factory=run_clock_ns)


@dataclass(frozen=True, slots=True)
class CellOutcome:
    """How one cell ended."""

    cell: Cell
    n_sent: int
    n_failed: int
    n_not_sent: int  # left over when the cell was stopped
    stopped_because: str | None


@dataclass(slots=True)
class CellState:
    """Where one cell stands while it runs."""

    waiting: Iterator[PreparedRequest]
    n_total: int
    in_flight: int = 0
    n_sent: int = 0
    n_done: int = 0
    n_failed: int = 0
    failures_in_row: int = 0
    given_up_because: str | None = None  # once set, no slot sends again, whatever is still answered
    start_s: float = field(default_factory=time.perf_counter)


def warmup_cell(spec: ServerSpec, concurrency: int, sitting: int) -> Cell:
    """The untimed cell of a server's level, in this sitting."""
    return Cell(spec.name, spec.role, concurrency, block=sitting, phase="warmup")


def remaining_requests(cell: Cell, frame_ids: Sequence[str], done: frozenset[str] | set[str]) -> list[str]:
    """The frames of a cell that have no reply on file yet."""
    return [frame_id for frame_id in frame_ids if request_id(cell, frame_id) not in done]


async def run_cell(load: Load, cell: Cell, frame_ids: Sequence[str], counted: Progress) -> CellOutcome:
    """Send the frames with ``cell.concurrency`` requests in flight, until all have a reply or it gives up.

    Args:
        counted: the sweep's progress before this cell; done and failed go on from there.
    """
    prepared = [load.requests[cell.server][frame_id] for frame_id in frame_ids]
    state = CellState(iter(prepared), n_total=len(prepared))
    async with asyncio.TaskGroup() as slots:
        for slot in range(min(cell.concurrency, len(prepared))):
            slots.create_task(_run_slot(load, cell, state, slot, counted))
    n_not_sent = state.n_total - state.n_sent
    return CellOutcome(
        cell=cell,
        n_sent=state.n_sent,
        n_failed=state.n_failed,
        n_not_sent=n_not_sent,
        stopped_because=state.given_up_because if n_not_sent else None,
    )


async def _run_slot(load: Load, cell: Cell, state: CellState, slot: int, counted: Progress) -> None:
    async with open_client(load.settings) as client:
        for prepared in state.waiting:
            state.in_flight += 1
            state.n_sent += 1
            simulated = load.simulated[cell.server]
            sending = Sending(cell, load.sitting, slot, simulated, load.start_ns, state.in_flight)
            try:
                reply = await load.send(client, prepared, sending)
            finally:
                state.in_flight -= 1
            load.on_reply(reply)
            count_reply(state, reply, load.stop_after_failures)
            load.on_progress(progress_of_cell(load, cell, state, counted))
            if state.given_up_because:
                return


def count_reply(state: CellState, reply: Reply, stop_after_failures: int) -> None:
    """Take a reply into the cell's state; the given number of failures in a row ends the cell."""
    state.n_done += 1
    if reply.error_class in (None, "aborted"):  # what we gave up ourselves says nothing of the server
        state.failures_in_row = 0
        return
    state.n_failed += 1
    state.failures_in_row += 1
    if state.failures_in_row == stop_after_failures:
        failure = f"{reply.error_class}, {reply.error_message}"
        state.given_up_because = f"{stop_after_failures} failures in a row: {failure}"


def progress_of_cell(load: Load, cell: Cell, state: CellState, counted: Progress) -> Progress:
    """The sweep's progress with this cell's part."""
    elapsed_s = time.perf_counter() - state.start_s
    done = counted.done + state.n_done
    pace = state.n_done / elapsed_s if elapsed_s > 0 else 0.0
    return Progress(
        doing=describe_cell(cell),
        done=done,
        total=counted.total,
        failed=counted.failed + state.n_failed,
        elapsed_s=(run_clock_ns() - load.start_ns) / 1e9,
        frames_per_s=pace,
        left_s=(counted.total - done) / pace if pace else None,
    )

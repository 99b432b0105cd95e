"""The measurement of a run: warm-up, then every cell of the plan that is not yet on file."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, replace

import httpx
import pandas as pd

from poc_lib.benchmark import CellOutcome, Load, Progress, remaining_requests, run_cell, warmup_cell
from poc_lib.canary import aborted_ids, canary_plan, send_and_abort
from poc_lib.errors import SetupProblem
from poc_lib.open_loop import run_open_cell
from poc_lib.params import Params
from poc_lib.plan import describe_cell
from poc_lib.progress import notebook_progress
from poc_lib.records import Cell, Frame, Reply, ServerSpec
from poc_lib.runs import append_event, next_sitting, read_replies, reply_writer, sync_run
from poc_lib.servers import PreparedRequest, Sending, clear_cache, send_request
from poc_lib.session import Session, close_session, open_session
from poc_lib.stopping import bare_problems, reason_of, stopping_task
from poc_lib.telemetry import sampling, snapshot_counters

WARM_COLUMNS = ["server", "concurrency", "frame_id", "ttft_s", "total_s", "server_load_s"]
WARM_COLUMNS += ["error_class", "error_message"]


async def warm_up(session: Session) -> pd.DataFrame:
    """Send the untimed requests: models are loaded and kernels compiled before anything is timed.

    Every level is warmed with at least one request per slot, since a server compiles for each batch size
    anew. One row a request: server, concurrency, frame_id, ttft_s, total_s, server_load_s, error_class,
    error_message. Cells that are all on file are not warmed again.
    """
    rows: list[Reply] = []
    if session.params.warmup_requests and (todo := remaining_cells(session)):
        waiting = {(cell.server, cell.concurrency) for cell in todo}
        with bare_problems(), reply_writer(session.run) as write:
            load = _load(session, lambda reply: (write(reply), rows.append(reply)))
            for spec in session.servers:
                for level in (level for level in spec.concurrency if (spec.name, level) in waiting):
                    n_requests = max(session.params.warmup_requests, level)
                    await _warm(session, load, warmup_cell(spec, level, session.sitting), n_requests)
    return pd.DataFrame([asdict(row) for row in rows], columns=WARM_COLUMNS)


async def _warm(session: Session, load: Load, cell: Cell, n_requests: int) -> None:
    """Untimed requests with the last frames, so that the first measured ones are new to the server."""
    frame_ids = [frame.frame_id for frame in session.frames[-n_requests:]]
    await run_cell(load, cell, frame_ids, Progress("", 0, len(frame_ids), 0, 0.0, 0.0, None))


async def measure(session: Session) -> list[CellOutcome]:
    """Measure every cell that is not yet on file; each reply is on disk before the next is counted.

    A sitting that is stopped continues where it was when the same run is opened again, or this is called
    again; servers and machine are sampled meanwhile (telemetry).
    """
    session.sitting = next_sitting(session.run)  # its times count from its own start
    todo = remaining_cells(session)
    total = sum(map(len, todo.values()))
    outcomes: list[CellOutcome] = []
    if not total:
        return outcomes
    with stopping_task(), reply_writer(session.run) as write:
        load = _load(session, write, shown=True)
        with _sitting_noted(session, total), bare_problems(), _telemetry(session, load):
            for cell, frame_ids in todo.items():
                outcomes.append(await _measure_cell(session, load, cell, frame_ids, outcomes, total))
    return outcomes


async def run_sitting(params: Params) -> Session:
    """Open, warm up, measure and close; the closed session is returned for its run."""
    session = await open_session(params)
    try:
        await warm_up(session)
        await measure(session)
    finally:
        close_session(session)
    return session


@contextmanager
def _sitting_noted(session: Session, n_requests: int) -> Iterator[None]:
    """The sitting's first and last event; a sitting that was killed has no last one."""
    servers = [asdict(identity) for identity in session.identities]
    facts = {"sitting": session.sitting}
    append_event(session.run, "sitting_started", **facts, requests=n_requests, servers=servers)
    try:
        yield
    except (SetupProblem, KeyboardInterrupt, asyncio.CancelledError) as stop:
        with suppress(SetupProblem):  # a full disk takes no event either
            append_event(session.run, "sitting_stopped", **facts, because=reason_of(stop))
        raise
    append_event(session.run, "sitting_ended", **facts)


async def _measure_cell(
    session: Session, load: Load, cell: Cell, frame_ids: list[str], before: list[CellOutcome], total: int
) -> CellOutcome:
    spec = next(spec for spec in session.servers if spec.name == cell.server)
    cleared = await _make_ready(session, load, spec, cell)
    facts = {"cell": describe_cell(cell), **asdict(cell), "sitting": session.sitting}
    append_event(
        session.run,
        "cell_started",
        **facts,
        requests=len(frame_ids),
        cache_cleared=cleared,
        counters=await _counters(session, spec),
    )
    counted = Progress(
        doing=describe_cell(cell),
        done=sum(outcome.n_sent + outcome.n_not_sent for outcome in before),
        total=total,
        failed=sum(outcome.n_failed for outcome in before),
        elapsed_s=0.0,
        frames_per_s=0.0,
        left_s=None,
    )
    outcome = await _run(session, load, cell, frame_ids, counted)
    append_event(
        session.run,
        "cell_ended",
        **facts,
        failed=outcome.n_failed,
        not_sent=outcome.n_not_sent,
        stopped_because=outcome.stopped_because,
        counters=await _counters(session, spec),
    )
    sync_run(session.run)
    return outcome


async def _make_ready(session: Session, load: Load, spec: ServerSpec, cell: Cell) -> bool | None:
    """Rest, untimed requests, empty caches; nothing before the second pass of repeat_image, whose point is
    what the first one left behind. Returns whether the server cleared its caches."""
    if cell.phase == "repeat_image" and cell.block:
        return False
    await asyncio.sleep(session.params.cooldown_s)
    if session.params.warmup_per_cell:
        unrecorded = _load(session, lambda reply: None)
        level = min(cell.concurrency, max(spec.concurrency))
        await _warm(
            session, unrecorded, warmup_cell(spec, level, session.sitting), session.params.warmup_per_cell
        )
    return await clear_cache(spec, session.settings.api_key)


async def _run(
    session: Session, load: Load, cell: Cell, frame_ids: list[str], counted: Progress
) -> CellOutcome:
    if cell.phase == "open_loop":
        return await run_open_cell(load, cell, frame_ids, counted, session.params.seed)
    if cell.phase == "canary":
        load = replace(load, requests=session.canary_requests)
    if cell.phase == "canary_abort":
        load = replace(load, requests=session.canary_requests, send=_giving_some_up(session, cell))
    return await run_cell(load, cell, frame_ids, counted)


def _giving_some_up(session: Session, cell: Cell) -> Callable[..., Awaitable[Reply]]:
    """How a canary_abort cell sends: about every third request is given up in mid-stream."""
    given_up = aborted_ids(_canary_frames(session, cell), session.params.seed)

    async def send(client: httpx.AsyncClient, prepared: PreparedRequest, sending: Sending) -> Reply:
        when = given_up.get(prepared.frame_id)
        if when is None:
            return await send_request(client, prepared, sending)
        return await send_and_abort(
            client, prepared, sending, after_chunks=when.after_chunks, after_s=when.after_s
        )

    return send


def _canary_frames(session: Session, cell: Cell) -> list[Frame]:
    return canary_plan(session.frames, session.canaries, cell.concurrency, session.params.seed)


def _telemetry(session: Session, load: Load) -> AbstractContextManager:
    return sampling(
        session.run,
        session.servers,
        sitting=session.sitting,
        run_start_ns=load.start_ns,
        every_s=session.params.telemetry_every_s,
        timeout_s=session.params.timeout_s,
        api_key=session.settings.api_key,
    )


async def _counters(session: Session, spec: ServerSpec) -> dict:
    """The server's counters between cells, when it is idle."""
    if not session.params.telemetry_every_s:
        return {}
    return await snapshot_counters(spec, session.settings.api_key)


def frames_of_cell(session: Session, cell: Cell) -> list[str]:
    """The frames that a cell sends, in order."""
    frame_ids = [frame.frame_id for frame in session.frames]
    if cell.phase == "repeat_image":
        return frame_ids[: session.params.repeat_image_frames]
    if cell.phase in ("canary", "canary_abort"):
        return [frame.frame_id for frame in _canary_frames(session, cell)]
    return frame_ids


def remaining_cells(session: Session) -> dict[Cell, list[str]]:
    """The cells that are not all on file, each with the frames still to send."""
    done = {reply.request_id for reply in read_replies(session.run)}
    left = {cell: remaining_requests(cell, frames_of_cell(session, cell), done) for cell in session.cells}
    return {cell: frame_ids for cell, frame_ids in left.items() if frame_ids}


def _load(session: Session, on_reply: Callable[[Reply], object], shown: bool = False) -> Load:
    progress = {"on_progress": notebook_progress(session.run.folder)} if shown else {}
    return Load(
        requests=session.requests,
        settings=session.settings,
        simulated={identity.name: identity.simulated for identity in session.identities},
        sitting=session.sitting,
        stop_after_failures=session.params.stop_after_failures,
        on_reply=on_reply,
        **progress,
    )

"""Measuring one unit: caches cleared, bodies encoded, every cell run, first and last event written."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from statistics import median

from poc_lib.client import PreparedRequest, clear_cache, prepare_request
from poc_lib.client.stamp import draw_codes
from poc_lib.measure import plan
from poc_lib.measure.loop import Load, Progress, run_cell
from poc_lib.measure.session import Session
from poc_lib.records import Cell, Reply, Server
from poc_lib.runs import append_event, read_events, read_requests, sync_run
from poc_lib.telemetry import snapshot_counters


def waiting_units(session: Session, units: Iterable[plan.Unit]) -> list[plan.Unit]:
    """The units that did not end in one sitting yet."""
    ended: dict[tuple, int] = {}
    for event in read_events(session.run):
        if event["event"] == "cell_ended":
            ended[_key(event)] = event["sitting"]
    return [unit for unit in units if len({ended.get(_key(asdict(cell)), cell) for cell in unit.cells}) > 1
            or _key(asdict(unit.cells[0])) not in ended]  # fmt: skip


def _key(cell: dict) -> tuple:
    return tuple(cell[key] for key in ("server", "phase", "concurrency", "block", "rate_per_s"))


async def measure_unit(session: Session, unit: plan.Unit) -> None:
    """Every cell of a unit, one after the other; its first and last event say whether it is whole."""
    run, sitting = session.run, session.sitting
    for cell in unit.cells:
        server = next(server for server in session.servers if server.name == cell.server)
        await warm(session, server, cell.concurrency if cell.arrivals == "closed" else 1, 1)
        facts = {**asdict(cell), "sitting": sitting}
        cleared = await clear_cache(server, session.settings.api_key)
        counters = await snapshot_counters(server, session.settings.api_key)
        append_event(run, "cell_started", **facts, requests=len(unit.frames), cache_cleared=cleared,
                     counters=counters)  # fmt: skip
        session.standing.doing = plan.describe_cell(cell)
        load = replace(_load(session, server, counted=True), abort_after_s=_aborts(session, cell))
        state = await run_cell(
            load, cell, len(unit.frames), _maker(session, server, cell, unit), session.params.seed
        )
        append_event(run, "cell_ended", **facts, failed=state.n_failed, not_sent=state.n_total - state.n_sent,
                     stopped_because=state.stopped_because,
                     counters=await snapshot_counters(server, session.settings.api_key))  # fmt: skip
        sync_run(run)


def _load(session: Session, server: Server, counted: bool = False) -> Load:
    def keep(reply: Reply, state: Progress) -> None:
        session.write(reply)
        if not counted:
            return
        standing = session.standing
        standing.done += 1
        standing.failed += reply.error_class not in (None, "aborted")
        standing.frames_per_s = state.n_done / (time.perf_counter() - state.start_s)
        standing.elapsed_s = (time.perf_counter_ns() - session.start_ns) / 1e9
        standing.left_s = standing.elapsed_s / standing.done * max(0, standing.fewest - standing.done)
        session.show(standing)

    simulated = session.identities[server.name].simulated
    return Load(session.settings, session.sitting, simulated, session.start_ns, keep)


def _maker(session: Session, server: Server, cell: Cell, unit: plan.Unit) -> Callable[[int], PreparedRequest]:
    """A function that encodes the request at a position of a cell; stamped, where the cell is a proof."""
    settings, codes = session.settings, []
    if cell.phase.startswith("proof"):
        codes = draw_codes(len(unit.frames), f"{session.params.seed}/{session.sitting}/{cell}", session.codes)
        session.codes += codes
    place = f"{cell.server}/{cell.phase}/c{cell.concurrency}/b{cell.block}/s{session.sitting}"

    def make(position: int) -> PreparedRequest:
        code = codes[position] if codes else None
        request_id, width = f"{place}/{position:03d}", session.params.image_width
        return prepare_request(
            server, unit.frames[position], settings, request_id, image_width=width, code=code
        )

    return make


def _aborts(session: Session, cell: Cell) -> Callable[[int], float | None]:
    """When each request of a cell is given up, in seconds from sending: a third of them, in mid-answer."""
    if cell.phase != "proof_abort":
        return lambda position: None
    requests = read_requests(session.run)
    at_level = requests[(requests["server"] == cell.server) & (requests["concurrency"] == cell.concurrency)]
    usual_s = median(at_level["total_s"]) if len(at_level) else 1.0
    pick = random.Random(f"{session.params.seed}/aborts {cell.concurrency}")
    after_s = [usual_s * pick.uniform(0.2, 0.9) for _ in range(session.params.proof_frames)]
    return lambda position: after_s[position] if position % 3 == 1 else None


async def warm(session: Session, server: Server, level: int, n: int) -> None:
    """Send ``n`` untimed requests."""
    cell = Cell(server.name, server.role, level, session.sitting, "warmup")
    drawn = plan.draw_frames(session.frames, n, session.params.seed + 2, level)
    await run_cell(_load(session, server), cell, n, _maker(session, server, cell, plan.Unit((cell,), drawn)))

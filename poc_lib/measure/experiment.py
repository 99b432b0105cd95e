"""The experiment: calibrate, pilot, confirm, open loop. Every reply is on disk as it comes."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, fields, replace
from functools import partial

import pandas as pd

from poc_lib import metrics
from poc_lib.client import PreparedRequest, clear_cache, prepare_request
from poc_lib.client.stamp import draw_codes
from poc_lib.measure import plan
from poc_lib.measure.instrument import calibrate, paced_server
from poc_lib.measure.loop import Load, Progress, run_cell
from poc_lib.measure.session import Session, close_session, open_session
from poc_lib.measure.spread import open_workers, run_spread
from poc_lib.params import Params
from poc_lib.records import Cell, Reply, Server, SetupProblem
from poc_lib.runs import Run, append_event, read_events, read_requests, sync_run
from poc_lib.telemetry import snapshot_counters

MORE_PROOFS = 6  # proof cells at most beyond those that follow the confirmation blocks
PROCESSES = min(4, os.cpu_count() or 1)


class Stopped(KeyboardInterrupt):
    """The measurement was interrupted; what was answered is on file."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


async def run_all(params: Params) -> Run:
    """The whole measurement of a run; the same call continues one that was cut."""
    session = await open_session(params)
    finished = False
    try:
        await run_pilot(session)
        await run_confirmation(session)
        await run_open_loop(session)
        finished = True
    finally:
        close_session(session, finished)
    return session.run


def plan_frame(session: Session) -> pd.DataFrame:
    """What this run will send, before it is known how many blocks decide; columns as plan.plan_rows."""
    return pd.DataFrame(plan.plan_rows(session.servers, session.params))


async def run_pilot(session: Session) -> pd.DataFrame:
    """Calibrate the tool, warm up, measure every server and level once a pilot block, and choose the levels;
    with ``level`` given that one is confirmed without a pilot. Returns the levels frame."""
    params, servers = session.params, session.servers
    _expect(session)
    with _stoppable(session):
        events = read_events(session.run)
        if not any(e["event"] == "instrument" and e["sitting"] == session.sitting for e in events):
            await _calibrate(session, sorted({level for server in servers for level in server.concurrency}))
        if params.level:
            for server in servers:
                level = params.level if server.role == "candidate" else min(server.concurrency)
                _choose(session, server.name, level, ["the level was given: no pilot"])
            return pd.DataFrame()
        units = waiting_units(session, plan.pilot_units(servers, session.frames, params))
        await _warm_up(session, units)
        for unit in units:
            await measure_unit(session, unit)
        answers = _answers(session)
        levels = metrics.summarize_levels(answers, {})
        for server in servers:
            _choose(session, server.name, *metrics.choose_level(levels, server.name))
    return _levels(session, answers)


def _answers(session: Session) -> pd.DataFrame:
    return metrics.judge_answers(read_requests(session.run), session.frames, read_events(session.run))


def _levels(session: Session, answers: pd.DataFrame) -> pd.DataFrame:
    chosen = {name: level for name, level in session.levels.items() if level}
    return metrics.summarize_levels(answers, chosen, read_events(session.run))


def _choose(session: Session, server: str, level: int | None, set_aside: list[str]) -> None:
    if server not in session.levels:
        session.levels[server] = level
        append_event(session.run, "chosen", server=server, level=level, set_aside=set_aside)


def confirmed_servers(session: Session) -> list[Server]:
    """The servers whose chosen levels are confirmed: the baseline (the first, where there are several) and
    every candidate for which the pilot found a level; none without such a candidate."""
    chosen = [server for server in session.servers if session.levels.get(server.name)]
    candidates = [server for server in chosen if server.role == "candidate"]
    return [server for server in chosen if server.role == "baseline"][:1] + candidates if candidates else []


async def run_confirmation(session: Session) -> pd.DataFrame:
    """Blocks of baseline and chosen levels until every candidate's interval lies between two steps; returns
    the blocks frame."""
    params, servers = session.params, confirmed_servers(session)
    if not metrics.look_blocks(params.max_blocks) or not servers:
        return pd.DataFrame()
    candidates = [server for server in servers if server.role == "candidate"]
    with _stoppable(session):
        is_warm, block, decided = False, 0, False
        while block < params.max_blocks and not decided:
            unit = plan.confirm_unit(servers, session.levels, session.frames, params, block)
            proofs = list(plan.confirm_proofs(unit, session.frames, params, block))
            waiting = waiting_units(session, [unit, *proofs])
            if waiting and not is_warm:
                await _warm_up(session, [unit])
                await _spread_if_late(session, candidates)
                is_warm = True
            for each in waiting:
                await measure_unit(session, each)
            block += 1
            decided = _look(session, servers, block, fresh=bool(waiting))
        for server in candidates:
            await _prove(session, server, block)
    return pd.concat(_blocks(session, servers).values(), ignore_index=True)


async def _prove(session: Session, server: Server, block: int) -> None:
    """Further proof cells at the chosen level, until enough codes came back to exclude mix-ups of 2 %; none
    for a candidate whose answers were mixed up, or that does not read its codes."""
    cell = Cell(server.name, server.role, session.levels[server.name], 0, "proof")
    for extra in range(MORE_PROOFS if session.params.proof_frames else 0):
        levels = _levels(session, _answers(session))
        row = levels.set_index(["server", "concurrency"]).loc[server.name, cell.concurrency]
        reads = row["n_code_own"] >= metrics.READS_ENOUGH * row["n_proof"]
        if not reads or row["n_code_other"] or row["mixup_upper"] <= metrics.MIXED_UP_CHOSEN:
            return
        number = session.params.pilot_blocks + block + extra
        for unit in waiting_units(session, plan.proof_units(cell, session.frames, session.params, number)):
            session.standing.most = max(session.standing.most, session.standing.done + unit.n_requests)
            await measure_unit(session, unit)


def _look(session: Session, servers: list[Server], n_blocks: int, fresh: bool) -> bool:
    """Estimate every candidate's speed-up so far; True at a look when none is open."""
    is_look = n_blocks in metrics.look_blocks(session.params.max_blocks)
    decided, words = [], []
    for candidate, blocks in _blocks(session, servers).items():
        seen = metrics.estimate(blocks["log_ratio"], session.params.max_blocks)
        decided.append(seen.decided)
        speedup = metrics.interval(seen.speedup, seen.low, seen.high)
        words.append(f"{candidate} {speedup}, {'decided' if seen.decided else 'open'}")
        if is_look and fresh:
            append_event(session.run, "look", candidate=candidate, **asdict(seen))
    session.standing.estimate = f"after {metrics.count(n_blocks, 'block')}: {'; '.join(words)}"
    _expect(session, all(decided) and is_look)
    session.show(session.standing, force=True)
    return all(decided) and is_look


def _blocks(session: Session, servers: list[Server]) -> dict[str, pd.DataFrame]:
    """Each candidate's confirmation blocks so far."""
    answers = metrics.mark_complete(read_requests(session.run), read_events(session.run))
    baseline = next((server.name for server in servers if server.role == "baseline"), "recorded")
    recorded = session.params.recorded_s_per_frame if baseline == "recorded" else None
    against = (baseline, session.levels.get(baseline) or 1, recorded)
    return {
        server.name: metrics.summarize_blocks(answers, server.name, session.levels[server.name], *against)
        for server in servers
        if server.role == "candidate"
    }


async def run_open_loop(session: Session) -> None:
    """Arrivals at shares of the rate that each candidate reached in the confirmation."""
    if not session.params.open_loop_rates:
        return
    levels = _levels(session, _answers(session))
    confirmed = levels[(levels["role"] == "candidate") & (levels["source"] == "confirm")]
    rates = confirmed.set_index("server")["frames_per_s"].dropna().to_dict()
    with _stoppable(session):
        for unit in waiting_units(session, plan.open_loop_units(rates, session.frames, session.params)):
            await measure_unit(session, unit)


def waiting_units(session: Session, units: Iterable[plan.Unit]) -> list[plan.Unit]:
    """The units whose cells did not all end in one sitting yet."""
    events = [event for event in read_events(session.run) if event["event"] == "cell_ended"]
    ended = {Cell(*(event[field.name] for field in fields(Cell))): event["sitting"] for event in events}
    waiting = []
    for unit in units:
        sittings = {ended.get(cell) for cell in unit.cells}
        waiting += [unit] if None in sittings or len(sittings) > 1 else []
    return waiting


async def measure_unit(session: Session, unit: plan.Unit) -> None:
    """Every cell of a unit, one after the other; its first and last event say whether it is whole."""
    run, api_key, n = session.run, session.settings.api_key, len(unit.frames)
    for cell in unit.cells:
        server = next(server for server in session.servers if server.name == cell.server)
        await _warm(session, server, cell.concurrency if cell.arrivals == "closed" else 1, 1)
        facts = {**asdict(cell), "sitting": session.sitting}
        cleared = await clear_cache(server, api_key)
        counters = await snapshot_counters(server, api_key)
        append_event(run, "cell_started", **facts, requests=n, cache_cleared=cleared, counters=counters)
        session.standing.doing = plan.describe_cell(cell)
        load, make = _load(session, server, counted=True), _maker(session, server, cell, unit)
        if cell.phase == "proof_abort":
            requests = read_requests(run).query("server == @cell.server and concurrency == @cell.concurrency")
            usual_s = requests["total_s"].median() if len(requests) else 1.0
            aborts = plan.draw_aborts(n, usual_s, f"{session.params.seed}/aborts {cell.concurrency}")
            load = replace(load, abort_after_s=aborts.__getitem__)
        drive = session.spread if session.spread and cell.phase == "confirm" else run_cell
        state = await drive(load, cell, n, make, session.params.seed)
        facts |= {"failed": state.n_failed, "not_sent": n - state.n_sent}
        facts |= {"stopped_because": state.stopped_because}
        append_event(run, "cell_ended", **facts, counters=await snapshot_counters(server, api_key))
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
        elapsed_s = (time.perf_counter_ns() - session.start_ns) / 1e9
        standing.left_s = elapsed_s / standing.done * max(0, standing.fewest - standing.done)
        session.show(standing)

    simulated = session.simulated[server.name]
    return Load(session.settings, session.sitting, simulated, session.start_ns, keep)


def _maker(session: Session, server: Server, cell: Cell, unit: plan.Unit) -> Callable[[int], PreparedRequest]:
    """A function that encodes the request at a position of a cell; stamped, where the cell is a proof."""
    settings, codes, width = session.settings, None, session.params.image_width
    if cell.phase.startswith("proof"):
        codes = draw_codes(len(unit.frames), f"{session.params.seed}/{session.sitting}/{cell}", session.codes)
        session.codes += codes
    place = f"{cell.server}/{cell.phase}/c{cell.concurrency}/b{cell.block}/s{session.sitting}"

    def make(position: int) -> PreparedRequest:
        frame, code = unit.frames[position], codes and codes[position]
        request_id = f"{place}/{position:03d}"
        return prepare_request(server, frame, settings, request_id, image_width=width, code=code)

    return make


def _expect(session: Session, decided: bool = False) -> None:
    """How many requests this sitting will have sent, at least and at most."""
    params, standing = session.params, session.standing
    units = [] if params.level else plan.pilot_units(session.servers, session.frames, params)
    n_pilot = sum(unit.n_requests for unit in waiting_units(session, units))
    looks = metrics.look_blocks(params.max_blocks)
    standing.fewest = standing.most = standing.done + n_pilot
    if looks and not decided:
        rows = plan.plan_rows(confirmed_servers(session) or session.servers, params)
        per_block = next(row["most"] for row in rows if row["stage"] == "confirmation") / looks[-1]
        ended = [event for event in read_events(session.run) if event["event"] == "cell_ended"]
        n_blocks = len({event["block"] for event in ended if event["phase"] == "confirm"})
        next_look = next((look for look in looks if look > n_blocks), n_blocks)
        standing.fewest += round(per_block * (next_look - n_blocks))
        standing.most += round(per_block * (looks[-1] - n_blocks))


async def _warm_up(session: Session, units: list[plan.Unit]) -> None:
    """Untimed requests, one a slot of every level to come: a server compiles for every batch size anew."""
    levels = {(cell.server, cell.concurrency) for unit in units for cell in unit.cells}
    for server in session.servers:
        for level in sorted(level for name, level in levels if name == server.name):
            session.standing.doing = f"warm-up: {server.name}, {level} in flight"
            session.show(session.standing, force=True)
            await _warm(session, server, level, max(2, level))


async def _warm(session: Session, server: Server, level: int, n: int) -> None:
    cell = Cell(server.name, server.role, level, session.sitting, "warmup")
    drawn = plan.draw_frames(session.frames, n, session.params.seed + 2, level)
    await run_cell(_load(session, server), cell, n, _maker(session, server, cell, plan.Unit((cell,), drawn)))


async def _calibrate(session: Session, levels: list[int], drive: Callable = run_cell) -> list[dict]:
    """What this tool adds on this machine at the levels to be used; noted where one loop drives."""
    server, settings, width = session.servers[-1], session.settings, session.params.image_width
    body = prepare_request(server, session.frames[0], settings, "", image_width=width).body
    session.standing.doing = "calibration: what this tool itself adds"
    session.show(session.standing, force=True)
    load = Load(settings, session.sitting, True, session.start_ns, lambda reply, state: session.write(reply))
    with paced_server() as url:
        rows = await calibrate(load, url, levels, body, drive)
    for row in rows if drive is run_cell else ():
        append_event(session.run, "instrument", sitting=session.sitting, **row)
    return rows


async def _spread_if_late(session: Session, candidates: list[Server]) -> None:
    """Send confirmation cells from several processes where one loop does not keep up at a chosen level (adds
    over 2 % to a first token, and twice what it adds at its lowest level), if they are seen to add less."""
    events = [event for event in read_events(session.run) if event["event"] == "instrument"]
    events = [event for event in events if event["sitting"] == session.sitting]
    added_s = {event["concurrency"]: event["added_ttft_p50_s"] for event in events}
    chosen = {(server.name, session.levels[server.name]) for server in candidates}
    chosen = {(name, level) for name, level in chosen if added_s[level] > 2 * added_s[min(added_s)]}
    if not chosen or PROCESSES < 2:
        return
    shares = _levels(session, _answers(session)).set_index(["server", "concurrency"])["added_ttft_share"]
    late = [level for _, level in chosen & set(shares.index[shares > metrics.ADDED_SHARE])]
    if not late:
        return
    with suppress(SetupProblem), ExitStack() as stack:  # without Dask the report says how much is added
        spread = partial(run_spread, stack.enter_context(open_workers(PROCESSES)))
        [row] = await _calibrate(session, [max(late)], spread)
        if row["added_ttft_p50_s"] < added_s[max(late)]:
            append_event(session.run, "instrument", sitting=session.sitting, processes=PROCESSES, **row)
            session.spread = spread
            session.stack.enter_context(stack.pop_all())


@contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Close the session where its stage is interrupted (Stopped) or meets a problem (SetupProblem, not in a
    group), and say how to go on."""
    because = ""
    try:
        yield
        return
    except* SetupProblem as group:
        problem: BaseException = group
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        because = str(problem)
    except* (asyncio.CancelledError, KeyboardInterrupt):
        because = "interrupted"
    with suppress(SetupProblem):
        append_event(session.run, "sitting_stopped", sitting=session.sitting, because=because)
    close_session(session)
    if because != "interrupted":
        raise SetupProblem(because)
    raise Stopped(
        f"stopped after {session.standing.done} requests of this sitting; they are on file, and the same "
        f"cells (or `python -m poc_lib run --output {session.run.folder}`) go on"
    )

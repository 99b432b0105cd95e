"""The experiment: calibrate, pilot, confirm, open loop. Every reply is on disk as it comes."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import pandas as pd

from poc_lib import metrics
from poc_lib.client import prepare_request
from poc_lib.measure import plan
from poc_lib.measure.instrument import calibrate, paced_server
from poc_lib.measure.session import Session, close_session, open_session
from poc_lib.measure.units import measure_unit, waiting_units, warm
from poc_lib.params import Params
from poc_lib.records import Cell, Server, SetupProblem
from poc_lib.runs import Run, append_event, read_events, read_requests

MORE_PROOFS = 6  # proof cells at most beyond those that follow the confirmation blocks


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
    """Calibrate the tool, warm up, measure every server and level once a pilot block, and choose the levels.

    With ``level`` given there is no pilot: that level is confirmed. Returns the levels frame.
    """
    params, servers = session.params, session.servers
    _expect(session)
    with _stoppable(session):
        await _calibrate(session)
        if params.level:
            for server in servers:
                level = params.level if server.role == "candidate" else min(server.concurrency)
                _choose(session, server.name, level, ["the level was given: no pilot"])
            return pd.DataFrame()
        units = waiting_units(session, plan.pilot_units(servers, session.frames, params))
        await _warm_up(session, {(cell.server, cell.concurrency) for unit in units for cell in unit.cells})
        for unit in units:
            await measure_unit(session, unit)
        levels = metrics.summarize_levels(_answers(session), {})
        for server in servers:
            choice = metrics.choose_level(levels, server.name)
            _choose(session, server.name, choice.level, choice.set_aside)
    return metrics.summarize_levels(_answers(session), {k: v for k, v in session.levels.items() if v})


def _answers(session: Session) -> pd.DataFrame:
    return metrics.judge_answers(read_requests(session.run), session.frames, read_events(session.run))


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
    """Blocks of baseline and chosen levels until every candidate's interval lies between two steps.

    Returns the blocks frame.
    """
    params, servers = session.params, confirmed_servers(session)
    if not metrics.look_blocks(params.max_blocks) or not servers:
        return pd.DataFrame()
    with _stoppable(session):
        warm, block, decided = False, 0, False
        while block < params.max_blocks and not decided:
            unit = plan.confirm_unit(servers, session.levels, session.frames, params, block)
            proofs = list(plan.confirm_proofs(unit, session.frames, params, block))
            waiting = waiting_units(session, [unit, *proofs])
            if waiting and not warm:
                await _warm_up(session, {(cell.server, cell.concurrency) for cell in unit.cells})
                warm = True
            for each in waiting:
                await measure_unit(session, each)
            block += 1
            decided = _look(session, servers, block, fresh=bool(waiting))
        for server in (server for server in servers if server.role == "candidate"):
            await _prove(session, server, block)
    return pd.concat(_blocks(session, servers).values(), ignore_index=True)


async def _prove(session: Session, server: Server, block: int) -> None:
    """Further proof cells at the chosen level, until enough codes came back to exclude mix-ups of 2 %.

    None for a candidate whose answers were mixed up, or that does not read its codes.
    """
    cell = Cell(server.name, server.role, session.levels[server.name], 0, "proof")
    for extra in range(MORE_PROOFS if session.params.proof_frames else 0):
        levels = metrics.summarize_levels(_answers(session), session.levels)
        row = levels[(levels["server"] == server.name) & (levels["concurrency"] == cell.concurrency)].iloc[0]
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
        low_high = f" ({seen.low:.2f} to {seen.high:.2f})" if seen.n_blocks > 1 else ""
        words.append(f"{candidate} {seen.speedup:.2f} ×{low_high}, {'decided' if seen.decided else 'open'}")
        if is_look and fresh:
            append_event(session.run, "look", candidate=candidate, **asdict(seen))
    session.standing.estimate = f"after {n_blocks} block{'s' * (n_blocks > 1)}: {'; '.join(words)}"
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
    levels = metrics.summarize_levels(_answers(session), session.levels)
    confirmed = levels[(levels["role"] == "candidate") & (levels["source"] == "confirm")]
    rates = confirmed.set_index("server")["frames_per_s"].dropna().to_dict()
    with _stoppable(session):
        for unit in waiting_units(session, plan.open_loop_units(rates, session.frames, session.params)):
            await measure_unit(session, unit)


def _expect(session: Session, decided: bool = False) -> None:
    """How many requests this sitting will have sent, at least and at most."""
    params, standing = session.params, session.standing
    units = [] if params.level else plan.pilot_units(session.servers, session.frames, params)
    n_pilot = sum(unit.n_requests for unit in waiting_units(session, units))
    looks = metrics.look_blocks(params.max_blocks)
    standing.fewest = standing.most = standing.done + n_pilot
    if looks and not decided:
        servers = confirmed_servers(session) or session.servers
        rows = plan.plan_rows(servers, params)
        per_block = next(row["most"] for row in rows if row["stage"] == "confirmation") / looks[-1]
        n_blocks = len({e["block"] for e in read_events(session.run)
                        if e["event"] == "cell_ended" and e["phase"] == "confirm"})  # fmt: skip
        next_look = next((look for look in looks if look > n_blocks), n_blocks)
        standing.fewest += round(per_block * (next_look - n_blocks))
        standing.most += round(per_block * (looks[-1] - n_blocks))


async def _warm_up(session: Session, waiting: set[tuple[str, int]]) -> None:
    """Untimed requests, one a slot of every level: a server compiles for every batch size anew."""
    for server in session.servers:
        for level in server.concurrency if session.params.level == 0 else [session.levels[server.name]]:
            if (server.name, level) in waiting:
                session.standing.doing = f"warm-up: {server.name}, {level} in flight"
                session.show(session.standing, force=True)
                await warm(session, server, level, max(2, level))


async def _calibrate(session: Session) -> None:
    """Once a sitting: what this tool adds on this machine at the levels to be used."""
    if any(e["event"] == "instrument" and e["sitting"] == session.sitting for e in read_events(session.run)):
        return
    server, frame = session.servers[-1], session.frames[0]
    body = prepare_request(server, frame, session.settings, "", image_width=session.params.image_width).body
    levels = sorted({level for each in session.servers for level in each.concurrency})
    session.standing.doing = "calibration: what this tool itself adds"
    session.show(session.standing, force=True)
    with paced_server() as url:
        rows = await calibrate(
            url, levels, body, session.settings, session.sitting, session.start_ns, session.write
        )
    for row in rows:
        append_event(session.run, "instrument", sitting=session.sitting, **row)


@contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Close the session where its stage is interrupted or meets a problem, and say how to go on.

    Raises:
        Stopped: it was interrupted.
        SetupProblem: as itself, not in a group.
    """
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

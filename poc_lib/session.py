"""One sitting of a run: frames, servers and the run folder put together, then warm-up and measurement."""

import atexit
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd

from poc_lib.benchmark import (
    CellOutcome,
    Load,
    Progress,
    describe_cell,
    plan_cells,
    remaining_requests,
    run_cell,
    warmup_cell,
)
from poc_lib.demo import DemoData, prepare_demo
from poc_lib.errors import SetupProblem
from poc_lib.escribano import count_frames, read_frames, recover_images, sample_frames
from poc_lib.images import scale_image
from poc_lib.params import DEMO, Params, new_run_id
from poc_lib.progress import notebook_progress
from poc_lib.records import Cell, Frame, Reply, ServerIdentity, ServerSpec
from poc_lib.run_facts import read_run_facts
from poc_lib.runs import Run, append_event, open_run, read_events, read_replies, reply_writer
from poc_lib.servers import ChatSettings, check_server, clear_cache, prepare_requests
from poc_lib.simulator.process import SimulatorProcess, start_simulator, stop_simulator
from poc_lib.telemetry import sampling, snapshot_counters


@dataclass(slots=True)
class Session:
    """Everything that one sitting of a run needs; close it with close_session."""

    params: Params
    frames: list[Frame]  # the sample that is sent
    counts: dict[str, int]  # what the recording holds and why some of it is not usable
    servers: list[ServerSpec]  # with real URLs, also where the parameters say "demo"
    identities: list[ServerIdentity]
    run: Run
    settings: ChatSettings
    cells: list[Cell]
    sitting: int
    simulators: list[SimulatorProcess] = field(default_factory=list)


def database_of(params: Params) -> Path:
    """The database file that the parameters name; the demo's is made when it is missing."""
    return demo_data(params).database if params.uses_demo_data else Path(params.database).expanduser()


def demo_data(params: Params) -> DemoData:
    """The embedded demo's database and answers, below the outputs folder."""
    return prepare_demo(params.outputs_path / "demo-data")


def start_servers(params: Params) -> tuple[list[ServerSpec], list[SimulatorProcess]]:
    """The run's servers, with a simulator started for each that the parameters call "demo"."""
    specs, simulators = [], []
    for spec in params.servers():
        if spec.url == DEMO:
            faults = params.demo_faults if spec.role == "candidate" else []
            simulator = start_simulator(
                spec.api,
                spec.model,
                demo_data(params).answers,
                speed=params.demo_speed,
                seed=params.seed,
                faults=faults,
            )
            atexit.register(stop_simulator, simulator)
            simulators.append(simulator)
            spec = replace(spec, url=simulator.url)
        specs.append(spec)
    return specs, simulators


def select_frames(params: Params, folder: Path) -> tuple[list[Frame], list[Frame]]:
    """All frames of the chosen recording, and the sample of it that is sent.

    Missing images are cut from the video, and images scaled down, into ``folder``.
    """
    database = database_of(params)
    every = read_frames(database, params.recording)
    if params.recover_missing:
        every = recover_images(every, database, folder / "recovered", params.recovery_width)
    sample = sample_frames(every, params.n_frames, params.sample, params.seed)
    if params.image_width:
        sample = [scale_image(frame, params.image_width, folder / "scaled") for frame in sample]
    return every, sample


async def open_session(params: Params) -> Session:
    """Choose the frames, start or find the servers, and start or continue the run.

    Raises:
        SetupProblem: the database, a server or the run folder is not fit to measure; nothing is sent then.
    """
    folder = params.outputs_path / (params.run_id or new_run_id(params))
    every, frames = select_frames(params, folder)
    servers, simulators = start_servers(params)
    identities = [await check_server(spec, params.api_key()) for spec in servers]
    problems = [identity.problem for identity in identities if identity.problem]
    if problems:
        raise SetupProblem("; ".join(problems))
    run = open_run(folder, read_run_facts(params, every, frames, identities), frames)
    return Session(
        params=params,
        frames=frames,
        counts=count_frames(every),
        servers=servers,
        identities=identities,
        run=run,
        settings=chat_settings(params),
        cells=plan_cells(servers, params.repeats),
        sitting=_next_sitting(run),
        simulators=simulators,
    )


def close_session(session: Session) -> None:
    """Stop the simulators that this session started; servers of the user's go on running."""
    for simulator in session.simulators:
        stop_simulator(simulator)


def chat_settings(params: Params) -> ChatSettings:
    """What every request of a run has in common."""
    return ChatSettings(
        prompt=params.prompt_text(),
        temperature=params.temperature,
        max_tokens=params.max_tokens,
        timeout_s=params.timeout_s,
        connect_timeout_s=params.connect_timeout_s,
        api_key=params.api_key(),
    )


async def warm_up(session: Session) -> pd.DataFrame:
    """Send the untimed requests: models are loaded and kernels compiled before anything is timed.

    Every level is warmed with at least one request per slot, since a server compiles for each batch size
    anew. One row a request: server, concurrency, frame_id, ttft_s, total_s, server_load_s, error_class,
    error_message. Cells that are all on file are not warmed again.
    """
    rows: list[Reply] = []
    if session.params.warmup_requests and (todo := remaining_cells(session)):
        waiting = {(cell.server, cell.concurrency) for cell in todo}
        with reply_writer(session.run) as write:
            load = _load(session, lambda reply: (write(reply), rows.append(reply)))
            for spec in session.servers:
                for level in (level for level in spec.concurrency if (spec.name, level) in waiting):
                    await _warm_level(session, load, spec, level)
    columns = ["server", "concurrency", "frame_id", "ttft_s", "total_s", "server_load_s"]
    columns += ["error_class", "error_message"]
    return pd.DataFrame([asdict(row) for row in rows], columns=columns)


async def _warm_level(session: Session, load: Load, spec: ServerSpec, level: int) -> None:
    n_requests = max(session.params.warmup_requests, level)
    frame_ids = [frame.frame_id for frame in session.frames[-n_requests:]]
    counted = Progress("", 0, len(frame_ids), 0, 0.0, 0.0, None)
    await run_cell(load, warmup_cell(spec, level, session.sitting), frame_ids, counted)


async def measure(session: Session) -> list[CellOutcome]:
    """Measure every cell that is not yet on file; each reply is on disk before the next is counted.

    A sitting that is stopped continues where it was when the same run is opened again, or this is called
    again; servers and machine are sampled meanwhile (telemetry).
    """
    session.sitting = _next_sitting(session.run)  # its times count from its own start
    todo = remaining_cells(session)
    total = sum(map(len, todo.values()))
    outcomes: list[CellOutcome] = []
    if not total:
        return outcomes
    with reply_writer(session.run) as write:
        load = _load(session, write, shown=True)
        append_event(session.run, "sitting_started", sitting=session.sitting, requests=total)
        with _telemetry(session, load):
            for cell, frame_ids in todo.items():
                outcomes.append(await _measure_cell(session, load, cell, frame_ids, outcomes, total))
        append_event(session.run, "sitting_ended", sitting=session.sitting)
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


async def _measure_cell(
    session: Session, load: Load, cell: Cell, frame_ids: list[str], before: list[CellOutcome], total: int
) -> CellOutcome:
    spec = next(spec for spec in session.servers if spec.name == cell.server)
    cleared = await clear_cache(spec, session.settings.api_key)
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
    outcome = await run_cell(load, cell, frame_ids, counted)
    append_event(
        session.run,
        "cell_ended",
        **facts,
        failed=outcome.n_failed,
        not_sent=outcome.n_not_sent,
        stopped_because=outcome.stopped_because,
        counters=await _counters(session, spec),
    )
    return outcome


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


def _next_sitting(run: Run) -> int:
    return sum(event["event"] == "sitting_started" for event in read_events(run))


def remaining_cells(session: Session) -> dict[Cell, list[str]]:
    """The cells that are not all on file, each with the frames still to send."""
    done = {reply.request_id for reply in read_replies(session.run)}
    frame_ids = [frame.frame_id for frame in session.frames]
    left = {cell: remaining_requests(cell, frame_ids, done) for cell in session.cells}
    return {cell: frame_ids for cell, frame_ids in left.items() if frame_ids}


def _load(session: Session, on_reply, shown: bool = False) -> Load:
    requests = {
        spec.name: prepare_requests(spec, session.frames, session.settings) for spec in session.servers
    }
    progress = {"on_progress": notebook_progress(session.run.folder)} if shown else {}
    return Load(
        requests=requests,
        settings=session.settings,
        simulated={identity.name: identity.simulated for identity in session.identities},
        sitting=session.sitting,
        stop_after_failures=session.params.stop_after_failures,
        on_reply=on_reply,
        **progress,
    )

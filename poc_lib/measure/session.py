"""What one sitting of a run needs, opened and closed: frames, servers, the run folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from poc_lib.client import ChatSettings, check_server
from poc_lib.client.stamp import proof_prompt
from poc_lib.database import select_frames
from poc_lib.host import read_git_commit, read_host, read_versions
from poc_lib.measure.progress import Standing, show_progress, tell
from poc_lib.params import DEMO, PROJECT_ROOT, Params
from poc_lib.records import Frame, Identity, Reply, Server, SetupProblem
from poc_lib.runs import (
    Run,
    append_event,
    check_folder,
    hash_text,
    name_run,
    next_sitting,
    open_run,
    read_events,
    read_frames,
    read_requests,
    record_servers,
    reply_writer,
)
from poc_lib.runs.folder import read_facts
from poc_lib.telemetry import sampling

_OPEN: dict[Path, "Session"] = {}  # of this process: an interrupted cell leaves its session open


@dataclass(slots=True)
class Session:
    """What one sitting needs; made by open_session, ended by close_session."""

    params: Params
    run: Run
    frames: list[Frame]  # the sample, in time order
    servers: list[Server]  # with real URLs, also where the parameters say "demo"
    identities: dict[str, Identity]
    settings: ChatSettings
    sitting: int
    write: Callable[[Reply], None]
    stack: ExitStack
    start_ns: int
    show: Callable[..., None]
    codes: list[str]  # every code of the run so far, so that a new one is unlike them all
    levels: dict[str, int] = field(default_factory=dict)  # server -> the level that is confirmed
    standing: Standing = field(default_factory=lambda: Standing("starting", 0, 0, 0, 0, 0.0, 0.0, None))


@contextmanager
def demo_servers(params: Params) -> Iterator[list[Server]]:
    """The run's servers with real addresses; one that the parameters call "demo" is simulated meanwhile."""
    servers, running = params.server_list(), []
    try:
        if any(server.url == DEMO for server in servers):
            from demo.server import start, stop

            for place, server in enumerate(servers):
                if server.url == DEMO:
                    faults = params.demo_faults if server.role == "candidate" else ()
                    answers = demo_data(params).answers
                    running.append(start(server.api, server.model, answers, faults=faults, seed=params.seed))
                    servers[place] = replace(server, url=running[-1].url)
        yield servers
    finally:
        for process in running:
            stop(process)


def check_faults(params: Params) -> None:
    """Raise SetupProblem where a fault that shall be planted in a simulated server is not understood."""
    if params.demo_faults:
        from demo.faults import parse_faults

        parse_faults(params.demo_faults)


def demo_data(params: Params):
    """The embedded demo's database and what its servers know, below the outputs folder."""
    from demo.data import prepare_demo

    return prepare_demo(params.outputs_path / "demo-data")


def database_of(params: Params) -> Path:
    """The database file that the parameters name; the demo's is made when it is missing."""
    return demo_data(params).database if params.database == DEMO else Path(params.database).expanduser()


def chat_settings(params: Params) -> ChatSettings:
    """What every request of a run has in common."""
    return ChatSettings(
        prompt=params.prompt_text(),
        temperature=params.temperature,
        max_tokens=params.max_tokens,
        timeout_s=params.timeout_s,
        answer_timeout_s=params.answer_timeout_s,
        api_key=params.api_key(),
        transport=params.transport,
    )


async def open_session(params: Params) -> Session:
    """Open a run, new or to be continued, and everything a sitting needs; nothing is measured yet.

    Without a run_id, the newest unfinished run of the same parameters is continued, and a line says so.

    Raises:
        SetupProblem: the folder holds another experiment or is in use, a server is not as it should be, no
            frame is usable, the disk takes nothing.
    """
    params, line = name_run(params)
    folder = params.outputs_path / params.run_id
    check_folder(folder, params)
    if folder in _OPEN:
        close_session(_OPEN[folder])
    settings = chat_settings(params)
    tell(line)
    with ExitStack() as stack:
        write = stack.enter_context(reply_writer(Run(folder, {})))  # nothing is written before it is held
        frames, facts = _choose_frames(params, folder, settings)
        run = open_run(folder, facts, frames)
        servers = stack.enter_context(demo_servers(params))
        identities = [await check_server(server, settings.api_key) for server in servers]
        problems = [identity.problem for identity in identities if identity.problem]
        if problems:
            raise SetupProblem("; ".join(problems))
        run = record_servers(run, identities)
        sitting, start_ns = next_sitting(run), time.perf_counter_ns()
        session = Session(
            params, run, frames, servers, {i.name: i for i in identities}, settings, sitting, write,
            stack, start_ns, show_progress(folder), list(read_requests(run)["code"].dropna()),
        )  # fmt: skip
        append_event(run, "sitting_started", sitting=sitting, servers=[asdict(i) for i in identities])
        stack.enter_context(
            sampling(run, servers, sitting=sitting, start_ns=start_ns, api_key=settings.api_key)
        )
        session.stack = stack.pop_all()
    _OPEN[folder] = session
    session.levels = {
        event["server"]: event["level"] for event in read_events(run) if event["event"] == "chosen"
    }
    return session


def _choose_frames(params: Params, folder: Path, settings: ChatSettings) -> tuple[list[Frame], dict]:
    """The run's frames and facts: those on file where it is continued, else chosen from the database."""
    stored = read_facts(folder)
    if stored is not None:
        with suppress(SetupProblem):  # frames.jsonl was lost: choose again, and compare
            frames = read_frames(Run(folder, stored))
            gone = [frame for frame in frames if not frame.image_path.is_file()]
            if gone:
                raise SetupProblem(f"{len(gone)} of the run's images are gone, e.g. {gone[0].image_path}")
            return frames, {
                **stored,
                "params": params.model_dump(),
                "prompt_sha256": hash_text(settings.prompt),
            }
    chosen = select_frames(database_of(params), params.recording, params.n_frames, folder / "images")
    if not chosen.frames:
        found = ", ".join(f"{n} {what}" for what, n in chosen.counts.items())
        raise SetupProblem(
            f"no usable frame in recording {chosen.recording}: {found}; choose another recording"
        )
    facts = {
        "params": params.model_dump(),
        "prompt": settings.prompt,
        "prompt_sha256": hash_text(settings.prompt),
        "proof_prompt_sha256": hash_text(proof_prompt(settings.prompt)),
        "recording": chosen.recording,
        "whole_recording": chosen.whole,
        "counts": chosen.counts,
        "frames": [{"frame_id": frame.frame_id, "sha256": frame.sha256} for frame in chosen.frames],
        "host": read_host(),
        "versions": read_versions(),
        "git_commit": read_git_commit(PROJECT_ROOT),
    }
    return chosen.frames, facts


def close_session(session: Session, finished: bool = False) -> None:
    """End the sitting: telemetry, locks, simulated servers; the user's servers go on running."""
    if _OPEN.pop(session.run.folder, None) is None:
        return
    with suppress(SetupProblem):  # a full disk takes no event either
        append_event(session.run, "finished" if finished else "sitting_ended", sitting=session.sitting)
    session.stack.close()

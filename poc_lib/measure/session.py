"""What one sitting of a run needs, opened and closed: frames, servers, the run folder."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from poc_lib import runs
from poc_lib.client import ChatSettings, check_server
from poc_lib.client.stamp import proof_prompt
from poc_lib.database import select_frames
from poc_lib.host import read_git_commit, read_host, read_versions
from poc_lib.measure.progress import Standing, show_progress, tell
from poc_lib.params import DEMO, PROJECT_ROOT, Params
from poc_lib.records import Frame, Reply, Server, SetupProblem
from poc_lib.telemetry import sampling

_OPEN: dict[Path, "Session"] = {}  # of this process: an interrupted cell leaves its session open


@dataclass(slots=True)
class Session:
    """What one sitting needs; made by open_session, ended by close_session."""

    params: Params
    run: runs.Run
    frames: list[Frame]  # the sample, in time order
    servers: list[Server]  # with real URLs, also where the parameters say "demo"
    simulated: dict[str, bool]  # by server
    settings: ChatSettings
    sitting: int
    start_ns: int
    write: Callable[[Reply], None]
    show: Callable[..., None]
    codes: list[str]  # every code of the run so far, so that a new one is unlike them all
    levels: dict[str, int | None]  # server -> the level that is confirmed; None: none can be
    stack: ExitStack
    spread: Callable | None = None  # sends a confirmation cell from several processes; None: one loop does
    standing: Standing = field(default_factory=Standing)


@contextmanager
def demo_servers(params: Params) -> Iterator[list[Server]]:
    """The run's servers with real addresses; one that the parameters call "demo" is simulated meanwhile."""
    servers = params.server_list()
    with ExitStack() as stack:
        for place, server in enumerate(servers):
            if server.url == DEMO:
                from demo.server import start, stop

                faults = params.demo_faults if server.role == "candidate" else ()
                answers = demo_data(params).answers
                process = start(server.api, server.model, answers, faults=faults, seed=params.seed)
                stack.callback(stop, process)
                servers[place] = replace(server, url=process.url)
        yield servers


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
    named = ("temperature", "max_tokens", "timeout_s", "answer_timeout_s", "transport")
    values = {name: getattr(params, name) for name in named}
    return ChatSettings(prompt=params.prompt_text(), api_key=params.api_key(), **values)


async def open_session(params: Params) -> Session:
    """Open a run, new or to be continued, and everything a sitting needs; nothing is measured yet.

    Without a run_id, the newest unfinished run of the same parameters is continued, and a line says so.
    SetupProblem: the folder holds another experiment or is in use, a server is not as it should be, no frame
    is usable, the disk takes nothing.
    """
    params, line = runs.name_run(params)
    folder = params.outputs_path / params.run_id
    runs.check_folder(folder, params)
    if folder in _OPEN:
        close_session(_OPEN[folder])
    settings = chat_settings(params)
    tell(line)
    with ExitStack() as stack:
        # Nothing else is written before the replies' file is held.
        write = stack.enter_context(runs.reply_writer(runs.Run(folder, {})))
        frames, facts = _choose_frames(params, folder, settings)
        run = runs.open_run(folder, facts, frames)
        servers = stack.enter_context(demo_servers(params))
        identities = [await check_server(server, settings.api_key) for server in servers]
        if problems := [identity.problem for identity in identities if identity.problem]:
            raise SetupProblem("; ".join(problems))
        run = runs.record_servers(run, identities)
        sitting, start_ns = runs.next_sitting(run), time.perf_counter_ns()
        chosen = [event for event in runs.read_events(run) if event["event"] == "chosen"]
        runs.append_event(run, "sitting_started", sitting=sitting, servers=[asdict(i) for i in identities])
        stack.enter_context(
            sampling(run, servers, sitting=sitting, start_ns=start_ns, api_key=settings.api_key)
        )
        session = _OPEN[folder] = Session(
            params=params,
            run=run,
            frames=frames,
            servers=servers,
            simulated={identity.name: identity.simulated for identity in identities},
            settings=settings,
            sitting=sitting,
            start_ns=start_ns,
            write=write,
            show=show_progress(folder),
            codes=list(runs.read_requests(run)["code"].dropna()),
            levels={event["server"]: event["level"] for event in chosen},
            stack=stack.pop_all(),
        )
    return session


def _choose_frames(params: Params, folder: Path, settings: ChatSettings) -> tuple[list[Frame], dict]:
    """The run's frames and facts: those on file where they are whole, else chosen from the database."""
    asked = {"params": params.model_dump(), "prompt_sha256": runs.hash_text(settings.prompt)}
    if stored := runs.read_facts(folder):
        with suppress(SetupProblem):  # frames.jsonl was lost
            frames = runs.read_frames(runs.Run(folder, stored))
            if all(frame.image_path.is_file() for frame in frames):
                return frames, stored | asked
    chosen = select_frames(database_of(params), params.recording, params.n_frames, folder / "images")
    facts = {
        "prompt": settings.prompt,
        "proof_prompt_sha256": runs.hash_text(proof_prompt(settings.prompt)),
        "recording": chosen.recording,
        "whole_recording": chosen.whole,
        "counts": chosen.counts,
        "frames": [{"frame_id": frame.frame_id, "sha256": frame.sha256} for frame in chosen.frames],
        "host": read_host(),
        "versions": read_versions(),
        "git_commit": read_git_commit(PROJECT_ROOT),
    }
    return chosen.frames, asked | facts


def close_session(session: Session, finished: bool = False) -> None:
    """End the sitting: telemetry, locks, simulated servers; the user's servers go on running."""
    if _OPEN.pop(session.run.folder, None) is None:
        return
    with suppress(SetupProblem):  # a full disk takes no event either
        event = "finished" if finished else "sitting_ended"
        runs.append_event(session.run, event, sitting=session.sitting)
    session.stack.close()

"""Everything that one sitting of a run needs, opened and closed: frames, servers, the run folder."""

import atexit
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from poc_lib.canary import canary_size, prepare_canaries
from poc_lib.demo import DemoData, prepare_demo
from poc_lib.errors import SetupProblem
from poc_lib.escribano import count_frames, read_frames, recover_images, sample_frames
from poc_lib.images import scale_image
from poc_lib.params import DEMO, Params, canary_prompt
from poc_lib.params_reading import new_run_id
from poc_lib.plan import plan_cells
from poc_lib.records import FAILURE_CLASSES, Cell, Frame, ServerIdentity, ServerSpec
from poc_lib.run_facts import read_run_facts
from poc_lib.runs import Run, next_sitting, open_run, take_back_failures
from poc_lib.servers import ChatSettings, PreparedRequest, check_server, prepare_requests
from poc_lib.simulator.canaries import add_canary_answers
from poc_lib.simulator.process import SimulatorProcess, start_simulator, stop_simulator

SAME_SERVER = ("software", "version", "model", "simulated")  # what must not change within a run


@dataclass(slots=True)
class Session:
    """One sitting of a run; close it with close_session."""

    params: Params
    frames: list[Frame]  # the sample that is sent
    counts: dict[str, int]  # what the recording holds and why some of it is not usable
    servers: list[ServerSpec]  # with real URLs, also where the parameters say "demo"
    identities: list[ServerIdentity]
    run: Run
    settings: ChatSettings
    cells: list[Cell]
    sitting: int
    requests: dict[str, dict[str, PreparedRequest]]  # server -> frame_id -> its encoded request
    canaries: list[Frame] = field(default_factory=list)
    canary_requests: dict[str, dict[str, PreparedRequest]] = field(default_factory=dict)  # with their prompt
    simulators: list[SimulatorProcess] = field(default_factory=list)


def database_of(params: Params) -> Path:
    """The database file that the parameters name; the demo's is made when it is missing."""
    return demo_data(params).database if params.uses_demo_data else Path(params.database).expanduser()


def demo_data(params: Params) -> DemoData:
    """The embedded demo's database and answers, below the outputs folder."""
    return prepare_demo(params.outputs_path / "demo-data")


def start_servers(
    params: Params, answers: Path | None = None
) -> tuple[list[ServerSpec], list[SimulatorProcess]]:
    """The run's servers, with a simulator started for each that the parameters call "demo".

    Args:
        answers: what the simulated model sees in each image; None: in the demo's screenshots.
    """
    specs, simulators = [], []
    for spec in params.server_specs():
        if spec.url == DEMO:
            faults = params.demo_faults if spec.role == "candidate" else []
            simulator = start_simulator(
                spec.api,
                spec.model,
                answers or demo_data(params).answers,
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
    canaries = draw_canaries(params, frames, folder)
    servers, simulators = start_servers(params, _demo_answers(params, canaries, folder))
    identities = [await check_server(spec, params.api_key()) for spec in servers]
    problems = [identity.problem for identity in identities if identity.problem]
    if problems:
        raise SetupProblem("; ".join(problems))
    run = open_run(folder, read_run_facts(params, every, frames, identities), frames)
    refuse_changed_servers(run.facts["servers"], identities)
    if params.retry_failed:
        take_back_failures(run, set(FAILURE_CLASSES) - {"aborted"})
    settings = chat_settings(params)
    return Session(
        params=params,
        frames=frames,
        counts=count_frames(every),
        servers=servers,
        identities=identities,
        run=run,
        settings=settings,
        cells=plan_cells(servers, params),
        sitting=next_sitting(run),
        requests={spec.name: prepare_requests(spec, frames, settings) for spec in servers},
        canaries=canaries,
        canary_requests=_prepare_canary_requests(servers, [*canaries, *frames], settings, bool(canaries)),
        simulators=simulators,
    )


def draw_canaries(params: Params, frames: list[Frame], folder: Path) -> list[Frame]:
    """The run's canaries, of the size of its frames, drawn into its folder."""
    if not params.canaries:
        return []
    return prepare_canaries(folder / "canaries", params.canaries, params.seed, *canary_size(frames))


def _demo_answers(params: Params, canaries: list[Frame], folder: Path) -> Path | None:
    """What simulated servers see, canaries included; None where no server is simulated by the demo."""
    if not any(spec.url == DEMO for spec in params.server_specs()):
        return None
    return add_canary_answers(demo_data(params).answers, canaries, folder / "canaries" / "answers.json")


def _prepare_canary_requests(
    servers: list[ServerSpec], frames: list[Frame], settings: ChatSettings, wanted: bool
) -> dict[str, dict[str, PreparedRequest]]:
    """Canaries and frames under one prompt: a cache that is keyed by the prompt then shows itself."""
    candidates = [spec for spec in servers if wanted and spec.role == "candidate"]
    asking = replace(settings, prompt=canary_prompt())
    return {spec.name: prepare_requests(spec, frames, asking) for spec in candidates}


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


def refuse_changed_servers(on_file: list[Mapping], now: list[ServerIdentity]) -> None:
    """A run is of one version of each server.

    Raises:
        SetupProblem: a server that the run was begun with is another one now.
    """
    before = {server["name"]: server for server in on_file}
    for identity in now:
        stored = before.get(identity.name, {})
        for key in SAME_SERVER:
            if key in stored and stored[key] != getattr(identity, key):
                raise SetupProblem(
                    f"{identity.name} has {key} {getattr(identity, key)}, but this run was begun with "
                    f"{stored[key]}: choose another run_id, and compare the two runs with compare_with"
                )

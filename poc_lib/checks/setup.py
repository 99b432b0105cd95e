"""Look at everything a run needs, without starting one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import psutil

from poc_lib.checks.check import Check, problem, setup_problem
from poc_lib.checks.data import check_frames, check_past_speed, count_in_videos
from poc_lib.checks.facts import GB, Asking, ServerFacts, ask_facts, ask_memory
from poc_lib.checks.host import check_host, is_loaded, is_low_power, read_busiest
from poc_lib.checks.memory import check_memory
from poc_lib.checks.replies import check_replies, check_thinking
from poc_lib.checks.servers import check_baseline, check_probe, check_server_facts
from poc_lib.errors import SetupProblem
from poc_lib.escribano import PastSpeed, count_frames, read_past_speed, read_recordings
from poc_lib.host import read_host, read_versions
from poc_lib.params import Params
from poc_lib.records import Frame, Reply, ServerIdentity, ServerSpec
from poc_lib.runs import write_json
from poc_lib.session import chat_settings, database_of, select_frames, start_servers
from poc_lib.simulator.process import stop_simulator
from poc_lib.sync import run_now

READY = {"ok": "READY", "warning": "READY WITH WARNINGS", "problem": "NOT READY"}


@dataclass(slots=True)
class SetupCheck:
    """What was found on this machine, before a run."""

    host: dict
    versions: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    past_speed: list[PastSpeed] = field(default_factory=list)  # newest first
    frames: list[Frame] = field(default_factory=list)
    identities: list[ServerIdentity] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)


def check_setup(params: Params) -> SetupCheck:
    """Check host, database, frames and servers, and send each server that answers a handful of requests.

    Whatever is wrong becomes a line of the checklist. The result is also written to
    <outputs>/<run_id or 'setup-check'>/setup_check.json.
    """
    folder = params.outputs_path / (params.run_id or "setup-check")
    setup = SetupCheck(host=read_host(), versions=read_versions())
    busiest = read_busiest() if is_loaded(setup.host) else []
    setup.checks += check_host(setup.host, is_low_power(), busiest)
    _check_data(setup, params, folder)
    asking = _plan_asking(setup, params)
    try:
        specs, simulators = start_servers(params)
    except SetupProblem as error:
        setup.checks.append(setup_problem("simulated servers", error))
        specs, simulators = [], []
    try:
        run_now(_check_servers(setup, params, specs, asking))
    finally:
        for simulator in simulators:
            stop_simulator(simulator)
    _write(setup, folder)
    return setup


def read_state(setup: SetupCheck) -> str:
    """READY, READY WITH WARNINGS or NOT READY."""
    states = {check.state for check in setup.checks}
    worst = next((state for state in ("problem", "warning") if state in states), "ok")
    return READY[worst]


def checks_table(setup: SetupCheck) -> pd.DataFrame:
    """The checklist as a table: about, state, found, to_do."""
    return pd.DataFrame([asdict(check) for check in setup.checks])


def _check_data(setup: SetupCheck, params: Params, folder: Path) -> None:
    try:
        every, setup.frames = select_frames(params, folder)
        setup.past_speed = read_past_speed(database_of(params))
        n_in_videos = 0 if params.recover_missing else _count_in_videos(params, every)
    except SetupProblem as error:
        setup.checks.append(setup_problem("frames", error))
        return
    except OSError as error:
        found = f"a file cannot be read or written ({error})"
        setup.checks.append(problem("frames", found, "see that it is there and that you may use it"))
        return
    setup.counts = count_frames(every)
    setup.checks += check_frames(setup.frames, every, params.n_frames, n_in_videos)
    setup.checks += check_past_speed(setup.past_speed)


def _count_in_videos(params: Params, every: Sequence[Frame]) -> int:
    return count_in_videos(every, read_recordings(database_of(params)))


def _plan_asking(setup: SetupCheck, params: Params) -> Asking:
    """What is sent; a prompt that cannot be read, or a key that cannot be sent, is a line of its own."""
    frame = setup.frames[0] if setup.frames else None
    try:
        settings = chat_settings(params)
    except SetupProblem as error:
        setup.checks.append(setup_problem("prompt and key", error))
        return Asking(None, frame)
    except (OSError, UnicodeDecodeError) as error:
        to_do = "set prompt to a text file in UTF-8"
        setup.checks.append(problem("prompt and key", f"the prompt cannot be read ({error})", to_do))
        return Asking(None, frame)
    return Asking(settings, frame, settings.api_key)


async def _check_servers(
    setup: SetupCheck, params: Params, specs: Sequence[ServerSpec], asking: Asking
) -> None:
    facts: list[ServerFacts] = [await ask_facts(spec, asking) for spec in specs]
    await ask_memory(facts, asking.api_key)
    for server in facts:
        setup.identities.append(server.identity)
        setup.replies += [server.reply] if server.reply else []
        setup.checks += check_server_facts(server)
        setup.checks += check_replies(server, params.max_tokens)
        setup.checks += check_probe(server)
    setup.checks += check_thinking(facts)
    setup.checks += check_baseline(params.server_specs())
    memory = psutil.virtual_memory()
    setup.checks += check_memory(facts, memory.total / GB, memory.available / GB)


def _write(setup: SetupCheck, folder: Path) -> None:
    path = folder / "setup_check.json"
    summary = {"state": read_state(setup), "checks": [asdict(check) for check in setup.checks]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, summary | {"host": setup.host, "servers": setup.identities})
    except OSError as error:
        to_do = "set outputs_dir to a folder that you may write to"
        setup.checks.append(problem("outputs", f"{path} cannot be written ({error.strerror})", to_do))

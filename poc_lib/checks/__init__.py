"""Can we measure here? Every line says what was found, what was expected, and what to do about it."""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from poc_lib.checks.servers import NARROWEST, ask_server, expect, judge_server, server_problems, told
from poc_lib.client import check_server
from poc_lib.database import Selection, read_past_speed, select_frames
from poc_lib.database.frames import read_rows
from poc_lib.database.opening import read_database
from poc_lib.host import read_host, read_versions
from poc_lib.measure.session import chat_settings, check_faults, database_of, demo_servers
from poc_lib.params import DEMO, Params
from poc_lib.records import Finding, Identity, Reply, Server, SetupProblem
from poc_lib.telemetry import snapshot_counters
from poc_lib.text import split_credentials

__all__ = ["Setup", "check_setup", "read_state", "refuse_at_once", "server_problems"]
LOW_MEMORY, BUSY_SHARE = (
    0.1,
    0.5,
)  # share of the memory left: a system swaps; load a core: something else runs
WITHIN_S = 1.5  # for all servers together, so that a wrong address is answered in under 3 s


@dataclass(slots=True)
class Setup:
    """What was found here before a run."""

    host: dict
    versions: dict[str, str]
    findings: list[Finding] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    selection: Selection | None = None  # None: no frame can be sent
    counts: dict[str, int] = field(default_factory=dict)
    past_speed: list[dict] = field(default_factory=list)  # newest first
    replies: list[Reply] = field(default_factory=list)  # to one frame of the recording, one a server
    scratch: tempfile.TemporaryDirectory | None = None  # holds what was cut again from a video


def read_state(setup: Setup) -> str:
    """READY, READY, with warnings, or NOT READY."""
    states = {finding.state for finding in setup.findings}
    return "NOT READY" if "problem" in states else f"READY{', with warnings' * ('warning' in states)}"


async def refuse_at_once(params: Params, found: Iterable[str] = ()) -> None:
    """Look, within 3 s and before anything is started, for whatever would keep this run from measuring.

    Planted faults, prompt, key, database and recording (no image is opened), and every server that is not
    the demo's; ``found`` is known already. Raises SetupProblem: all that was found, joined by "; ".
    """
    problems, key = list(found), None

    def why_no_frames() -> str | None:
        path = Path(os.path.expanduser(params.database)).absolute()  # an unknown ~user stays as it is
        try:
            _, named, to_do, rows = read_database(
                Path(params.database), lambda c: read_rows(c, path.parent, params.recording), WITHIN_S
            )
        except SetupProblem as problem:
            return str(problem)
        return None if rows else f"{named} holds no frame: {to_do}"

    async def why_not(server: Server) -> str | None:
        to_do = f"start it, wait until its model is loaded, or set {server.role}_url to where it runs"
        try:
            async with asyncio.timeout(WITHIN_S):
                return (await check_server(server, key)).problem
        except TimeoutError:
            where = split_credentials(server.url)[0]
            return f"{server.name} did not answer at {where} within {WITHIN_S:g} s: {to_do}"

    for read in (lambda: check_faults(params), params.prompt_text, params.api_key):
        try:
            key = read()  # what stays is the last one's
        except SetupProblem as problem:
            problems.append(str(problem))
            key = None
    if params.proof_frames and 0 < params.image_width < NARROWEST:
        line = f"image_width is {params.image_width}, a code needs {NARROWEST} px"
        problems.append(f"{line}: widen it, or set proof_frames to 0")
    asked = [why_not(server) for server in params.server_list() if server.url != DEMO]
    asked += [asyncio.to_thread(why_no_frames)] if params.database != DEMO else []
    problems += [problem for problem in await asyncio.gather(*asked) if problem]
    if problems:
        raise SetupProblem("; ".join(problems))


async def check_setup(params: Params) -> Setup:
    """Look at machine, database and servers, and send each server that is fit four requests.

    Whatever is wrong becomes a finding (about "host", "database", "servers", "requests" or "proof"). Nothing
    is written but a temporary folder. Takes seconds, and what the servers need to load their models.
    """
    setup = Setup(await asyncio.to_thread(read_host), read_versions())
    setup.findings += await asyncio.to_thread(lambda: list(look_at_database(setup, params)))
    try:
        settings = chat_settings(params)
        with demo_servers(params) as servers:
            for server in servers:
                identity = await check_server(server, settings.api_key)
                setup.identities.append(identity)
                counters = await snapshot_counters(server, settings.api_key) if identity.reachable else {}
                setup.findings += judge_server(server, identity, counters)
            for server, identity in zip(servers, setup.identities, strict=True):
                if identity.problem is None and setup.selection:
                    frames = setup.selection.frames
                    reply, findings = await ask_server(server, identity, frames, params, settings)
                    setup.replies.append(reply)
                    setup.findings += findings
    except SetupProblem as problem:
        setup.findings.append(told("servers", str(problem)))
    setup.findings += compare_servers(setup, params)
    left_gb = psutil.virtual_memory().available / 2**30  # with all models loaded
    setup.findings[:0] = judge_host(setup.host, left_gb)
    return setup


def judge_host(host: dict, left_gb: float) -> Iterator[Finding]:
    """Power, other load, and the memory that the loaded models leave."""
    least_gb, most_load = LOW_MEMORY * host["memory_gb"], BUSY_SHARE * host["cores"]
    power = {True: "on battery", False: "on mains", None: "no battery"}[host["on_battery"]]
    left = f"{left_gb:.1f} of {host['memory_gb']:.1f} GB of memory left beside the models"
    for is_bad, found, expected, to_do in (
        (host["on_battery"], power, "mains", "Plug the machine in: on battery a chip may be slower."),
        (host["load_1min"] > most_load, f"a load of {host['load_1min']}",
         f"{most_load:g} at most on {host['cores']} cores", "Quit what else is running, and wait a minute."),
        (left_gb < least_gb, left, f"at least {least_gb:.1f} GB",
         "Quit other programs, or take smaller models: a machine that swaps measures its disk."),
    ):  # fmt: skip
        yield expect("host", "warning" if is_bad else "ok", found, expected, to_do)


def look_at_database(setup: Setup, params: Params) -> Iterator[Finding]:
    """The frames that would be sent, into the setup, and what is to be said of them."""
    setup.scratch = tempfile.TemporaryDirectory(prefix="escribano-check-")
    try:
        path = database_of(params)
        chosen = select_frames(path, params.recording, params.n_frames, Path(setup.scratch.name))
        setup.past_speed = read_past_speed(path)
    except SetupProblem as problem:
        yield told("database", str(problem))
        return
    setup.selection, setup.counts, least = chosen, chosen.counts, params.frames_per_block
    state = "ok" if len(chosen.frames) >= least else "warning"
    found = f"{len(chosen.frames)} of {chosen.counts['frames']} frames usable in {chosen.recording}"
    to_do = "Choose a longer recording: frames that come again make the interval too narrow."
    yield expect("database", state, found, f"at least the {least} of a block", to_do)
    if not any(frame.reference for frame in chosen.frames):
        to_do = "Let Escribano process a recording; until then answers are held against the baseline's only."
        yield expect("database", "warning", "no stored description", "one a frame", to_do)
    narrowest = min([params.image_width or NARROWEST, *(frame.width for frame in chosen.frames)])
    if params.proof_frames and narrowest < NARROWEST:
        to_do = "Set image_width higher, or proof_frames to 0."
        yield expect("proof", "problem", f"frames {narrowest} px wide", f"{NARROWEST} px for a code", to_do)


def compare_servers(setup: Setup, params: Params) -> Iterator[Finding]:
    """Whether there is a baseline, and whether thinking is on both sides or on none."""
    if all(server.role == "candidate" for server in params.server_list()):
        past_s = [f", the app itself noted {speed['s_per_frame']:.1f} s" for speed in setup.past_speed[:1]]
        found = f"no baseline server ({params.recorded_s_per_frame:g} s a frame is recorded{''.join(past_s)})"
        to_do = "Set baseline_url; until then set recorded_s_per_frame to what the app noted."
        yield expect("servers", "warning", found, "one beside the candidate", to_do)
    able = [identity for identity in setup.identities if not identity.problem]
    thinks = {one.name: "thinking" in (one.details.get("capabilities") or []) for one in able}
    for reply in setup.replies:
        thinks[reply.server] |= bool(reply.reasoning_chars or "</think>" in reply.text)
    if any(thinks.values()):
        names = " and ".join(name for name in thinks if thinks[name])
        found = f"thinking before the answer at {names}{'' if all(thinks.values()) else ' alone'}"
        to_do = "Use instruct models, or compare frames/s: thinking takes time and tokens."
        yield expect("requests", "warning", found, "none", to_do)

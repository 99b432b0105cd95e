"""Can we measure here? Every line says what was found, what was expected, and what to do about it."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from poc_lib.client import check_server, replay_risk
from poc_lib.client.stamp import LENGTH, unit_of
from poc_lib.database.frames import read_rows
from poc_lib.database.opening import read_database
from poc_lib.params import DEMO, Params
from poc_lib.records import Finding, Identity, Server, SetupProblem, State
from poc_lib.text import split_credentials

REFUSE_WITHIN_S = 2.0  # for all servers together, so that a wrong address is answered at once


def server_problems(identities: Iterable[Identity]) -> list[Finding]:
    """What a server's own words and process tell against it; its problems belong into the verdict."""
    findings = []
    for identity in identities:
        details, found = identity.details, [identity.problem, replay_risk(identity)]
        if (details.get("health") or {}).get("model_type") == "llm":
            found.append(
                f"{identity.name} has loaded {identity.model} as a text-only model, which drops every image: "
                "start it with `--mllm` and a vision-language model"
            )
        if (can := details.get("capabilities")) and "vision" not in can:
            found.append(
                f"{identity.name}'s model {identity.model} has no vision ({', '.join(map(str, can))}): "
                "use a vision model, e.g. qwen3-vl:4b-instruct"
            )
        findings += [_finding("servers", "problem", line, identity.name) for line in found if line]
    return findings


async def refuse_at_once(params: Params) -> None:
    """Look, within 3 s and before anything is started, for whatever would keep this run from measuring.

    Prompt, key, database and recording (no image is opened), and every server that is not the demo's.

    Raises:
        SetupProblem: all that was found, joined by "; ".
    """
    problems = []
    for read in (params.prompt_text, params.api_key):
        try:
            read()
        except SetupProblem as problem:
            problems.append(str(problem))
    narrowest = LENGTH * unit_of(0)
    if params.proof_frames and 0 < params.image_width < narrowest:
        problems.append(
            f"image_width is {params.image_width}, but a code needs {narrowest} px: widen it, or set "
            "proof_frames to 0"
        )
    asked = [_why_not(server) for server in params.server_list() if server.url != DEMO]
    said = await asyncio.gather(asyncio.to_thread(_why_no_frames, params), *asked)
    problems += [problem for problem in said if problem]
    if problems:
        raise SetupProblem("; ".join(problems))


def _why_no_frames(params: Params) -> str | None:
    if params.database == DEMO:
        return None
    path = Path(params.database).expanduser() if "\0" not in params.database else Path("?")
    try:
        _, named, to_do, rows = read_database(
            path, lambda c: read_rows(c, path.absolute().parent, params.recording), REFUSE_WITHIN_S
        )
    except SetupProblem as problem:
        return str(problem)
    return None if rows else f"{named} holds no frame: {to_do}"


async def _why_not(server: Server) -> str | None:
    try:
        async with asyncio.timeout(REFUSE_WITHIN_S):
            return (await check_server(server, None)).problem
    except TimeoutError:
        where = split_credentials(server.url)[0]
        return (
            f"{server.name} did not answer at {where} within {REFUSE_WITHIN_S:g} s: start it, wait until its "
            f"model is loaded, or set {server.role}_url to where it runs"
        )


def _finding(about: str, state: State, line: str, server: str = "") -> Finding:
    """Of a line "what was found: what to do"."""
    found, _, to_do = line.rpartition(": ")
    return Finding(about, state, found or to_do, to_do if found else "", server)

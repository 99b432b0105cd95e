"""What can be refused before anything is started, all of it at once."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from poc_lib.client import check_server
from poc_lib.client.stamp import LENGTH, unit_of
from poc_lib.database.frames import read_rows
from poc_lib.database.opening import read_database
from poc_lib.measure.session import check_faults
from poc_lib.params import DEMO, Params
from poc_lib.records import Server, SetupProblem
from poc_lib.text import split_credentials

WITHIN_S = 1.5  # for all servers together, so that a wrong address is answered in under 3 s


async def refuse_at_once(params: Params, found: Iterable[str] = ()) -> None:
    """Look, within 3 s and before anything is started, for whatever would keep this run from measuring.

    Planted faults, prompt, key, database and recording (no image is opened), and every server
    that is not the demo's.

    Args:
        found: problems that are known already, told with the others.

    Raises:
        SetupProblem: all that was found, joined by "; ".
    """
    problems, key = list(found), None
    for read in (lambda: check_faults(params), params.prompt_text, params.api_key):
        try:
            key = read()  # what stays is the last one's
        except SetupProblem as problem:
            key = None
            problems.append(str(problem))
    narrowest = LENGTH * unit_of(0)
    if params.proof_frames and 0 < params.image_width < narrowest:
        line = f"image_width is {params.image_width}, a code needs {narrowest} px"
        problems.append(f"{line}: widen it, or set proof_frames to 0")
    asked = [_why_not(server, key) for server in params.server_list() if server.url != DEMO]
    said = await asyncio.gather(asyncio.to_thread(_why_no_frames, params), *asked)
    problems += [problem for problem in said if problem]
    if problems:
        raise SetupProblem("; ".join(problems))


def _why_no_frames(params: Params) -> str | None:
    if params.database == DEMO:
        return None
    folder = Path(os.path.expanduser(params.database)).absolute().parent
    try:
        _, named, to_do, rows = read_database(
            Path(params.database), lambda c: read_rows(c, folder, params.recording), WITHIN_S
        )
    except SetupProblem as problem:
        return str(problem)
    return None if rows else f"{named} holds no frame: {to_do}"


async def _why_not(server: Server, key: str | None) -> str | None:
    try:
        async with asyncio.timeout(WITHIN_S):
            return (await check_server(server, key)).problem
    except TimeoutError:
        return (
            f"{server.name} did not answer at {split_credentials(server.url)[0]} within {WITHIN_S:g} s: "
            f"start it, wait until its model is loaded, or set {server.role}_url to where it runs"
        )

"""A whole run through real simulated servers, with the server's own record of what was planted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd

from poc_lib.analysis import frames_table
from poc_lib.params_reading import validate_params
from poc_lib.runs import requests_table
from poc_lib.session import close_session, open_session
from poc_lib.sweep import measure, warm_up

LEVELS = (1, 2, 4, 8)
SPEED = 20.0


@dataclass(frozen=True, slots=True)
class Served:
    """One run's tables."""

    requests: pd.DataFrame
    frames: pd.DataFrame
    planted: list[dict]  # the candidate's GET /simulator/planted: a row a request, warm-up included


def serve_run(folder: Path, run_id: str, fault: str, n_frames: int) -> Served:
    """Measure the demo once on simulated servers, with a fault (NAME:SHARE@LEVEL) or '' for none."""
    return asyncio.run(_serve(folder, run_id, fault, n_frames))


async def _serve(folder: Path, run_id: str, fault: str, n_frames: int) -> Served:
    values = {"outputs_dir": str(folder), "run_id": run_id, "n_frames": n_frames, "blocks": 1}
    values |= {"concurrency": list(LEVELS), "demo_speed": SPEED, "telemetry_every_s": 0.0}
    values |= {"warmup_requests": 1, "canaries": 0, "repeat_image_frames": 0}
    session = await open_session(validate_params(values | {"demo_faults": [fault] if fault else []}))
    try:
        await warm_up(session)
        await measure(session)
        url = next(spec.url for spec in session.servers if spec.role == "candidate")
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(url.removesuffix("/v1") + "/simulator/planted")
    finally:
        close_session(session)
    return Served(requests_table(session.run), frames_table(session.run), answer.json())

"""A few requests to one server, one after the other, within a time that a person will wait."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from poc_lib.benchmark import Load, Progress, run_cell
from poc_lib.records import Cell, Reply, ServerSpec
from poc_lib.servers import ChatSettings, PreparedRequest

CHECK_LIMIT_S = 300.0  # for loading a model and one answer; a server may send heartbeats for ever


async def send_one_by_one(
    spec: ServerSpec, requests: Sequence[PreparedRequest], settings: ChatSettings, simulated: bool
) -> list[Reply]:
    """The replies in order, up to the first failure; those that have come when CHECK_LIMIT_S is over."""
    replies: list[Reply] = []
    limited = replace(settings, timeout_s=min(settings.timeout_s, CHECK_LIMIT_S))
    load = Load(
        requests={spec.name: {prepared.frame_id: prepared for prepared in requests}},
        settings=limited,
        simulated={spec.name: simulated},
        sitting=0,
        stop_after_failures=1,
        on_reply=replies.append,
    )
    cell = Cell(spec.name, spec.role, concurrency=1, block=0, phase="warmup")
    counted = Progress("", 0, len(requests), 0, 0.0, 0.0, None)
    with suppress(TimeoutError):
        async with asyncio.timeout(CHECK_LIMIT_S):
            await run_cell(load, cell, [prepared.frame_id for prepared in requests], counted)
    return replies

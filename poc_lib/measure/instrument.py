"""What the tool itself adds: a calibration against a server whose answers are due at exact moments."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from poc_lib.client import PreparedRequest
from poc_lib.measure.loop import Load, Progress, run_cell
from poc_lib.params import PROJECT_ROOT
from poc_lib.records import Cell, Reply, SetupProblem

TTFT_MS, CHUNKS, GAP_MS = 120, 24, 5  # an answer of the paced server
WAVES = 4


@contextmanager
def paced_server() -> Iterator[str]:
    """The URL of a paced server in a process of its own, which ends with the block."""
    words = f"-m demo.paced --ttft_ms {TTFT_MS} --chunks {CHUNKS} --gap_ms {GAP_MS}".split()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, *words], cwd=PROJECT_ROOT, text=True, **pipes)
    try:
        line = process.stdout.readline()
        if not line:
            raise SetupProblem("the calibration server did not start: is the folder demo/ beside poc_lib/?")
        yield json.loads(line)["url"]
    finally:
        process.stdin.close()
        process.terminate()
        process.wait()
        process.stdout.close()


async def calibrate(
    load: Load, url: str, levels: Sequence[int], body: bytes, drive: Callable = run_cell
) -> list[dict]:
    """Drive a paced server at each level with a body of the run's size; one row a level.

    Columns: concurrency, n, added_ttft_p50_s, added_ttft_p99_s, added_total_p50_s, added_total_p99_s,
    lag_p99_s. "Added" is measured − due, in seconds; of fewer than 100 answers the p99 is near the slowest.
    ``drive`` sends a cell: run_cell, or one that is called like it.
    """
    headers = {"content-type": "application/json"}
    request = PreparedRequest("", "", "openai", f"{url}/chat/completions", body, headers)
    due_ttft_s, due_total_s = TTFT_MS / 1e3, (TTFT_MS + (CHUNKS - 1) * GAP_MS) / 1e3
    rows, block = [], int(drive is not run_cell)
    for level in levels:
        replies: list[Reply] = []

        def make(position: int, level: int = level) -> PreparedRequest:
            place = f"instrument/instrument/c{level}/b{block}/s{load.sitting}"
            return replace(request, request_id=f"{place}/{position:03d}")

        def keep(reply: Reply, state: Progress, replies: list[Reply] = replies) -> None:
            load.on_reply(reply, state)
            replies.append(reply)

        cell = Cell("instrument", "baseline", level, block, "instrument")
        await drive(replace(load, on_reply=keep), cell, max(WAVES * level, 16), make)
        timed = [
            reply for reply in replies[level:] or replies if reply.error_class is None
        ]  # 1st wave: connects
        times_s = {
            "added_ttft": [reply.ttft_s - due_ttft_s for reply in timed],
            "added_total": [reply.arrivals_s[-1] - due_total_s for reply in timed],
            "lag": [reply.lag_s or 0.0 for reply in timed],
        }
        points = [
            ("added_ttft", 50),
            ("added_ttft", 99),
            ("added_total", 50),
            ("added_total", 99),
            ("lag", 99),
        ]
        found = {f"{name}_p{q}_s": np.percentile(times_s[name] or [np.nan], q) for name, q in points}
        row = {"concurrency": level, "n": len(timed)}
        rows.append(row | {name: round(float(value), 6) for name, value in found.items()})
    return rows

"""What the tool itself adds: a calibration against a server whose answers are due at exact moments."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from poc_lib.client import ChatSettings, PreparedRequest
from poc_lib.measure.loop import Load, Progress, run_cell
from poc_lib.params import PROJECT_ROOT
from poc_lib.records import Cell, Reply, SetupProblem

TTFT_MS, CHUNKS, GAP_MS = 120, 24, 5  # an answer of the paced server, due at exact moments
WAVES = 4
TRUE_TTFT_S = TTFT_MS / 1000
TRUE_TOTAL_S = (TTFT_MS + (CHUNKS - 1) * GAP_MS) / 1000
PACED = Cell("instrument", "baseline", 1, 0, "instrument")


@contextmanager
def paced_server() -> Iterator[str]:
    """The URL of a paced server in a process of its own, which ends with the block.

    Raises:
        SetupProblem: it did not start.
    """
    command = [sys.executable, "-m", "demo.paced", "--ttft_ms", str(TTFT_MS), "--chunks", str(CHUNKS)]
    command += ["--gap_ms", str(GAP_MS)]
    process = subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
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
    url: str,
    levels: Sequence[int],
    body: bytes,
    settings: ChatSettings,
    sitting: int,
    start_ns: int,
    note: Callable[[Reply], None],
) -> list[dict]:
    """Drive a paced server at each level with a body of the run's size; one row a level.

    Columns: concurrency, n, added_ttft_p50_s, added_ttft_p99_s, added_total_p50_s, added_total_p99_s,
    lag_p99_s. "Added" is measured − due, in seconds; of fewer than 100 answers the p99 is near the slowest.

    Args:
        body: an encoded request of the run, whose size is what counts.
        note: takes every reply.
    """
    prepared = PreparedRequest(
        "", "", "openai", f"{url}/chat/completions", body, {"content-type": "application/json"}
    )
    rows = []
    for level in levels:
        replies: list[Reply] = []

        def keep(reply: Reply, state: Progress, replies: list[Reply] = replies) -> None:
            note(reply)
            replies.append(reply)

        def make(position: int, level: int = level) -> PreparedRequest:
            request_id = f"instrument/instrument/c{level}/b0/s{sitting}/{position:03d}"
            return PreparedRequest(request_id, "", "openai", prepared.url, prepared.body, prepared.headers)

        cell = Cell(PACED.server, PACED.role, level, 0, "instrument")
        n = max(WAVES * level, 16)
        load = Load(settings, sitting, True, start_ns, keep)
        await run_cell(load, cell, n, make)
        rows.append(summarize_calibration(level, replies[level:] or replies))  # the first wave connects
    return rows


def summarize_calibration(level: int, replies: Sequence[Reply]) -> dict:
    """What a level's replies came later than they were due."""
    answered = [reply for reply in replies if reply.error_class is None]
    ttft = np.array([reply.ttft_s - TRUE_TTFT_S for reply in answered] or [np.nan])
    last = np.array([reply.arrivals_s[-1] - TRUE_TOTAL_S for reply in answered] or [np.nan])
    lag = np.array([reply.lag_s or 0.0 for reply in answered] or [np.nan])
    added = {f"added_{name}_p{q}_s": round(float(np.percentile(values, q)), 6)
             for name, values in (("ttft", ttft), ("total", last)) for q in (50, 99)}  # fmt: skip
    return {
        "concurrency": level,
        "n": len(answered),
        **added,
        "lag_p99_s": round(float(np.percentile(lag, 99)), 6),
    }

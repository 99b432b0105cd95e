"""Many requests with a known share of failures: what was planted, and what the run's file says of it."""

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd

from poc_lib.demo import prepare_demo
from poc_lib.metrics import summarize_failures
from poc_lib.runs import Run, requests_table
from poc_lib.simulator.process import simulated_server
from tests.survival.children import LEAN
from tests.sweeps import quick_params, run_sweep

SEEN_AS = {
    "busy": "busy",
    "http_500": "http_status",
    "stall": "timeout",
    "cut_stream": "truncated",
    "malformed_chunk": "malformed",
    "stream_error": "server_error",
    "empty": "empty",
}
ANSWERED = ("truncated", "loop", "duplicate", "wrong_image", "replay_first")  # planted in the text alone
LEVELS = (16, 64)
FRAMES = 50


@dataclass(frozen=True)
class Planted:
    """A finished run beside what its server planted; one row a request."""

    run: Run
    rows: pd.DataFrame  # request_id, error_class, fault (as planted; None: none)
    wall_s: float


def measure_planted(outputs: Path, n_requests: int, share: float = 0.05) -> Planted:
    """Send requests to a simulated candidate that spoils a share of them, all kinds alike."""
    each = share / len(SEEN_AS | dict.fromkeys(ANSWERED))
    faults = [f"{name}:{each:.6f}" for name in (*SEEN_AS, *ANSWERED)]
    answers = prepare_demo(outputs / "demo-data").answers
    with simulated_server("openai", "demo-vlm", answers, speed=1000, faults=faults, max_batch=64) as server:
        params = quick_params(
            outputs,
            f"planted-{n_requests}",
            **LEAN,
            n_frames=FRAMES,
            concurrency=list(LEVELS),
            blocks=n_requests // (FRAMES * len(LEVELS)),
            candidate_url=server.url,
            image_width=64,
            max_tokens=12,
            timeout_s=1.5,
            stop_after_failures=1000,
        )
        started_s = time.monotonic()
        run = run_sweep(params).run
        wall_s = time.monotonic() - started_s
        root = server.url.removesuffix("/v1")
        planted = httpx.get(f"{root}/simulator/planted", trust_env=False, timeout=60).json()
    return Planted(run, _beside(run, pd.DataFrame(planted)), wall_s)


def _beside(run: Run, planted: pd.DataFrame) -> pd.DataFrame:
    """An image is asked about once a cell, one cell after the other: the n-th time is the same in both."""
    sha256 = {frame["frame_id"]: frame["sha256"] for frame in run.facts["frames"]}
    requests = requests_table(run).sort_values("start_s", kind="stable")
    requests = requests.assign(sha256=requests["frame_id"].map(sha256))
    requests["nth"] = requests.groupby("sha256").cumcount()
    planted = planted.assign(nth=planted.groupby("sha256").cumcount())
    both = requests.merge(planted[["sha256", "nth", "fault"]], on=["sha256", "nth"], how="outer")
    return both[["request_id", "error_class", "fault"]]


def failure_counts(run: Run) -> Counter:
    """The failure table's counts by class, over all levels."""
    failures = summarize_failures(requests_table(run))
    return Counter(failures.groupby("error_class")["n"].sum().to_dict())


def expected_failures(rows: pd.DataFrame) -> Counter:
    """What the failure table must count, from what was planted."""
    return Counter(SEEN_AS[fault] for fault in rows["fault"].dropna() if fault in SEEN_AS)

"""Two small runs to hold together, made of tables alone, for the tests of comparison."""

import copy
import math
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from poc_lib.accuracy import score_answers, summarize_agreement
from poc_lib.analysis import frames_table, recorded_baseline
from poc_lib.confusion import summarize_confusion
from poc_lib.metrics import add_speedup, pick_baseline, summarize_speed
from poc_lib.params import Params
from poc_lib.runs import Run, requests_table
from tests.report_example import example_params, write_run

DIGEST = "sha256:0123456789abcdef"


def small_run(folder: Path, **changes: Any) -> tuple[Run, Params]:
    """A complete run of twelve frames in three blocks: a baseline, and a candidate at 1 and 4 in flight."""
    params = example_params(folder, concurrency=[1, 4], blocks=3)
    return write_run(folder, params, simulated=False, faults=False, **changes), params


def twin(run: Run, run_id: str, **facts: Any) -> Run:
    """The same run under another id, with other facts where given; the folder is the first's."""
    return Run(run.folder.parent / run_id, copy.deepcopy(run.facts) | facts)


def with_server(run: Run, run_id: str, called: str, **changes: Any) -> Run:
    """A twin in which one server is another."""
    servers = [s | changes if s["name"] == called else s for s in copy.deepcopy(run.facts["servers"])]
    return twin(run, run_id, servers=servers)


def with_params(run: Run, run_id: str, **changes: Any) -> Run:
    """A twin that was measured with other parameters."""
    return twin(run, run_id, params={**run.facts["params"], **changes})


def small_analysis(folder: Path, **changes: Any) -> SimpleNamespace:
    """What compare_runs reads of the Analysis of ``small_run``."""
    run, params = small_run(folder, **changes)
    requests, frames = requests_table(run), frames_table(run)
    scores = score_answers(requests, frames, params.match_threshold)
    confusion = summarize_confusion(requests, frames)
    whole = SimpleNamespace(params=params, frames=frames, scores=scores, confusion=confusion)
    return analysed(run, requests, whole)


def analysed(run: Run, requests: pd.DataFrame, like: SimpleNamespace, **tables: Any) -> SimpleNamespace:
    """The speed of these requests; what was said in them is taken from a like analysis, or given."""
    speed = summarize_speed(requests, len(like.frames), run.facts["recording_frames"])
    baseline = pick_baseline(speed, recorded_baseline(like.params))
    values = {
        "run": run,
        "params": like.params,
        "requests": requests,
        "frames": like.frames,
        "speed": add_speedup(speed, baseline),
        "scores": like.scores,
        "agreement": summarize_agreement(like.scores),
        "confusion": like.confusion,
        "baseline": baseline,
    }
    return SimpleNamespace(**(values | tables))


def measured_again(
    analysis: SimpleNamespace, run: Run, slower: dict[str, float] | None = None, seed: int = 1
) -> SimpleNamespace:
    """The analysis under another run, each server's times multiplied, and each cell's by chance."""
    rng = random.Random(seed)
    requests = analysis.requests.copy()
    factors = {
        key: (slower or {}).get(key[0], 1.0) * math.exp(rng.gauss(0, 0.02))
        for key in sorted(
            set(zip(requests["server"], requests["concurrency"], requests["block"], strict=True))
        )
    }
    keys = zip(requests["server"], requests["concurrency"], requests["block"], strict=True)
    factor = pd.Series([factors[key] for key in keys], index=requests.index)
    for name in ("start_s", "total_s", "ttft_s"):
        requests[name] = requests[name] * factor
    return analysed(run, requests, analysis)

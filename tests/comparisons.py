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
    params = example_params(folder, concurrency=[1, 4])
    return write_run(folder, params, simulated=False, faults=False, **changes), params


def twin(run: Run, run_id: str, **facts: Any) -> Run:
    """The same run under another id, with other facts where given; the folder is the first's."""
    return Run(run.folder.parent / run_id, copy.deepcopy(run.facts) | facts)


def with_server(run: Run, run_id: str, name: str, **changes: Any) -> Run:
    """A twin in which one server is another."""
    servers = [s | changes if s["name"] == name else s for s in copy.deepcopy(run.facts["servers"])]
    return twin(run, run_id, servers=servers)


def with_params(run: Run, run_id: str, **changes: Any) -> Run:
    """A twin that was measured with other parameters."""
    return twin(run, run_id, params={**run.facts["params"], **changes})


def analysed(run: Run, requests: pd.DataFrame, frames: pd.DataFrame, params: Params) -> SimpleNamespace:
    """What compare_runs reads of an Analysis."""
    speed = summarize_speed(requests, len(frames), run.facts["recording_frames"])
    baseline = pick_baseline(speed, recorded_baseline(params))
    scores = score_answers(requests, frames, params.match_threshold)
    return SimpleNamespace(
        run=run,
        requests=requests,
        frames=frames,
        speed=add_speedup(speed, baseline),
        scores=scores,
        agreement=summarize_agreement(scores),
        confusion=summarize_confusion(requests, frames),
        baseline=baseline,
    )


def small_analysis(folder: Path, **changes: Any) -> SimpleNamespace:
    """The tables of ``small_run``."""
    run, params = small_run(folder, **changes)
    return analysed(run, requests_table(run), frames_table(run), params)


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
    return analysed(run, requests, analysis.frames, Params(**analysis.run.facts["params"]))

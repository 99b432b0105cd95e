"""Whole sweeps on the embedded demo, without notebooks, for tests."""

import asyncio
from pathlib import Path
from typing import Any

from poc_lib.analysis import Analysis, analyse_run
from poc_lib.params import Params
from poc_lib.params_reading import validate_params
from poc_lib.session import Session
from poc_lib.sweep import run_sitting

QUICK = {
    "demo_speed": 20.0,
    "n_frames": 8,
    "concurrency": [1, 4],
    "baseline_url": "",
    "blocks": 1,
    "warmup_requests": 0,
    "warmup_per_cell": 0,
    "repeat_image_frames": 0,
    "canaries": 0,
}


def quick_params(outputs: Path, run_id: str, **changes: Any) -> Params:
    """A small, fast demo run without a baseline server, with the given changes."""
    return validate_params({**QUICK, "outputs_dir": str(outputs), "run_id": run_id, **changes})


def run_sweep(params: Params) -> Session:
    """Open, warm up, measure and close; the session is returned for its run and its simulators' facts."""
    return asyncio.run(run_sitting(params))


def sweep_and_analyse(outputs: Path, run_id: str, **changes: Any) -> Analysis:
    """A quick sweep and its tables."""
    params = quick_params(outputs, run_id, **changes)
    return analyse_run(run_sweep(params).run, params)

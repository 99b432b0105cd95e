"""Many runs from one params file, over Dask's scheduler, and one page that compares them.

The key ``matrix`` holds what varies: a parameter with a list of values, or a name of yours whose values are
sets of parameters (params/matrix_demo.yaml). Every combination is a run, which goes on when it was cut.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from poc_lib import metrics
from poc_lib.analysis import analyse
from poc_lib.measure.spread import open_workers
from poc_lib.params import Params, validate_params
from poc_lib.records import Finding, SetupProblem
from poc_lib.show import write_tables
from poc_lib.show.pages import write_comparison
from poc_lib.text import safe_name

MAX_RUNS = 200
WORKERS = 3  # processes on this machine; runs against servers of one machine take turns all the same
LOOPBACK = ("demo", "localhost", "127.0.0.1", "::1", "")


def expand_matrix(values: Mapping[str, Any]) -> dict[str, Params]:
    """Every combination of a matrix as checked parameters, by a name that says what varies; SetupProblem:
    there is no matrix, an axis without values, too many runs, or a wrong parameter."""
    fixed = {key: value for key, value in values.items() if key != "matrix"}
    axes = values.get("matrix")
    if not isinstance(axes, Mapping) or not axes:
        raise SetupProblem(
            "no 'matrix' in the params file: expected lines like `matrix: {image_width: [0, 768]}`"
        )
    choices = []
    for axis, options in axes.items():
        if isinstance(options, list):
            options = {f"{axis}-{option}": {axis: option} for option in options}
        is_named = isinstance(options, Mapping) and all(isinstance(one, Mapping) for one in options.values())
        if not options or not is_named:
            raise SetupProblem(
                f"matrix axis '{axis}' is {axes[axis]!r}: expected a list, or names with parameters"
            )
        choices.append(options.items())
    combinations = list(itertools.product(*choices))
    if len(combinations) > MAX_RUNS:
        raise SetupProblem(f"this matrix has {len(combinations)} runs: expected at most {MAX_RUNS}")
    root = Path(fixed.pop("outputs_dir", "outputs")) / (fixed.pop("run_id", "") or "matrix")
    runs = {}
    for combination in combinations:
        name = safe_name("_".join(str(part) for part, _ in combination))
        settings = {key: value for _, option in combination for key, value in option.items()}
        runs[name] = validate_params({**fixed, **settings, "outputs_dir": str(root), "run_id": name})
    return runs


def measure_run(values: dict[str, Any]) -> str:
    """One run, in a worker, measured or continued while it holds every machine that it loads, so that no two
    runs disturb each other; returns what went wrong, '' where nothing did."""
    from distributed import Lock

    from poc_lib.measure.experiment import run_all
    from poc_lib.runs import check_folder, lock_folder

    params = validate_params(values)
    folder = params.outputs_path / params.run_id
    hosts = {urlsplit(server.url).hostname or server.url for server in params.server_list()}
    machines = {socket.gethostname() if host in LOOPBACK else host for host in hosts}
    try:
        with ExitStack() as stack:
            for machine in sorted(machines):
                stack.enter_context(Lock(f"poc {machine}"))
            check_folder(folder, params)
            stack.enter_context(lock_folder(folder))
            write_tables(analyse(asyncio.run(run_all(params))))
    except SetupProblem as problem:
        return str(problem)
    return ""


def run_matrix(values: Mapping[str, Any], scheduler: str, tell: Callable[[str], object]) -> int:
    """Measure every combination, then write the comparing page; 0 where every run ended.

    The page has a row a run (speed-up with interval, quality, mix-ups); unlike runs are refused with the
    reason. It lies beside the runs as matrix.html, matrix.md and matrix.csv. ``scheduler`` is the address of
    Dask's, whose workers have this project; '': workers on this machine. SetupProblem: a wrong matrix, or no
    Dask.
    """
    runs, failed, ended = expand_matrix(values), [], []
    with open_workers(min(len(runs), WORKERS), scheduler) as client:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        futures = {
            client.submit(measure_run, params.model_dump(), key=f"run {name}", pure=False, retries=0): name
            for name, params in runs.items()
        }
        for future in as_completed(futures, loop=client.loop):
            name = futures[future]
            try:
                problem = future.result()
            except KilledWorker:
                problem = "its worker was lost"
            tell(f"{name}: {problem or 'measured'}")
            if problem:
                failed.append(Finding("matrix", "problem", f"{name}: {problem}"))
            else:
                ended.append(name)
    folder = next(iter(runs.values())).outputs_path
    analyses = [analyse(folder / name) for name in runs if name in ended]
    compared = [(each.run.run_id, each.run.facts, each.levels, each.verdicts) for each in analyses]
    rows, judged = metrics.compare_runs(compared) if compared else (pd.DataFrame(), [])
    tell(f"comparison: {write_comparison(folder, 'matrix', rows, failed + judged)}")
    if failed:
        tell("the same command goes on with the runs that did not end")
    return int(bool(failed))

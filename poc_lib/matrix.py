"""Many runs from one params file, over Dask's scheduler, and one page that compares them.

The key ``matrix`` holds what varies: a parameter with a list of values, or a name of yours whose values are
sets of parameters. Every combination is a run of its own below one folder, continued when it was cut:

    matrix:
      image_width: [0, 768]
      server:
        batching: {candidate_name: vllm-mlx, candidate_url: "http://localhost:8000/v1"}
        mlx-vlm: {candidate_name: mlx-vlm, candidate_url: "http://localhost:8001/v1"}
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from poc_lib.params import Params
from poc_lib.reading import validate_params
from poc_lib.records import SetupProblem
from poc_lib.text import safe_name

MAX_RUNS = 200
LOOPBACK = ("demo", "localhost", "127.0.0.1", "::1", "")


def expand_matrix(values: Mapping[str, Any]) -> dict[str, Params]:
    """Every combination of a matrix as checked parameters, by a name that says what varies.

    Raises:
        SetupProblem: no matrix, an axis without values, too many runs, or wrong parameters.
    """
    fixed = {key: value for key, value in values.items() if key != "matrix"}
    axes = values.get("matrix")
    if not isinstance(axes, Mapping) or not axes:
        raise SetupProblem(
            "no 'matrix' in the params file: expected lines like `matrix: {image_width: [0, 768]}`"
        )
    choices = []
    for axis, options in axes.items():
        named = isinstance(options, Mapping) and all(
            isinstance(option, Mapping) for option in options.values()
        )
        if not options or not (named or isinstance(options, list)):
            raise SetupProblem(
                f"matrix axis '{axis}' is {options!r}: expected a list, or names with parameters"
            )
        if named:
            choices.append([(str(name), dict(option)) for name, option in options.items()])
        else:
            choices.append([(f"{axis}={option}", {axis: option}) for option in options])
    combinations = list(itertools.product(*choices))
    if len(combinations) > MAX_RUNS:
        raise SetupProblem(f"this matrix has {len(combinations)} runs: expected at most {MAX_RUNS}")
    root = Path(fixed.pop("outputs_dir", "outputs")) / (fixed.pop("run_id", "") or "matrix")
    runs = {}
    for combination in combinations:
        name = safe_name("_".join(part for part, _ in combination))
        settings = {key: value for _, option in combination for key, value in option.items()}
        runs[name] = validate_params({**fixed, **settings, "outputs_dir": str(root), "run_id": name})
    return runs


@contextmanager
def _held(params: Params) -> Iterator[None]:
    """Hold every machine that a run loads, so that no two runs of a matrix disturb each other."""
    from distributed import Lock

    hosts = {urlsplit(server.url).hostname or server.url for server in params.server_list()}
    names = sorted({socket.gethostname() if host in LOOPBACK else host for host in hosts})
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(Lock(f"poc {name}"))
        yield


def _measure(values: dict[str, Any]) -> str:
    """One run, in a worker: measured or continued; returns what went wrong, '' where nothing did."""
    from poc_lib.analysis import analyse
    from poc_lib.measure.experiment import run_all
    from poc_lib.runs import check_folder, lock_folder
    from poc_lib.show import write_tables

    params = validate_params(values)
    folder = params.outputs_path / params.run_id
    try:
        with _held(params):
            check_folder(folder, params)
            with lock_folder(folder):
                run = asyncio.run(run_all(params))
                write_tables(analyse(run))
    except SetupProblem as problem:
        return str(problem)
    return ""


def run_matrix(values: Mapping[str, Any], scheduler: str, tell: Callable[[str], object]) -> int:
    """Measure every combination, then write the comparing page; 0 where every run ended.

    Args:
        scheduler: address of a Dask scheduler whose workers have this project; '': workers on this machine.
        tell: takes a line for the terminal.

    Raises:
        SetupProblem: a wrong matrix, or Dask is not installed or not reached.
    """
    runs = expand_matrix(values)
    try:
        import dask
        from distributed import Client, LocalCluster, as_completed
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise SetupProblem("a matrix needs Dask: pip install 'distributed'") from None
    # a run whose worker was lost has failed: the same command resumes it, not another worker
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        if not scheduler:
            workers = min(len(runs), 2)
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
            )
            stack.enter_context(cluster)
        try:
            client = stack.enter_context(Client(scheduler or cluster, timeout=10))
        except OSError as error:
            raise SetupProblem(
                f"no Dask scheduler at {scheduler} ({error}): start `dask scheduler`"
            ) from None
        futures = {
            client.submit(_measure, params.model_dump(), key=f"run {name}", pure=False, retries=0): name
            for name, params in runs.items()
        }
        for future in as_completed(futures):
            name = futures[future]
            try:
                problem = future.result()
            except KilledWorker:
                problem = "its worker was lost"
            if problem:
                failed[name] = problem
            tell(f"{name}: {problem or 'measured'}")
    page = write_matrix_page(runs, failed)
    tell(f"comparison: {page}")
    if failed:
        tell("the same command goes on with the runs that did not end")
    return int(bool(failed))


def write_matrix_page(runs: Mapping[str, Params], failed: Mapping[str, str]) -> Path:
    """One row a run: speed-up with interval, quality, mix-ups; unlike runs are refused with the reason.

    Writes matrix.html, matrix.md and matrix.csv beside the runs; returns the page.
    """
    from poc_lib import metrics, show
    from poc_lib.analysis import analyse
    from poc_lib.records import Finding

    findings = [Finding("matrix", "problem", f"{name}: {why}") for name, why in failed.items()]
    analyses = {}
    for name, params in runs.items():
        if name not in failed:
            analyses[name] = analyse(params.outputs_path / name)
    rows, judged = metrics.compare_runs(
        [(name, each.run.facts, each.levels, each.verdicts) for name, each in analyses.items()]
    )
    folder = next(iter(runs.values())).outputs_path
    return show.write_comparison(folder, "matrix", rows, findings + judged)

"""The command line: the four notebooks one after the other, with every parameter as a flag."""

import argparse
import json
import sys
import threading
import time
import types
import typing
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import papermill
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from poc_lib.benchmark import Progress
from poc_lib.errors import SetupProblem
from poc_lib.params import PROJECT_ROOT, Params
from poc_lib.params_reading import new_run_id, read_params, validate_params
from poc_lib.progress import describe_progress
from poc_lib.report.export import export_notebook
from poc_lib.stopping import exit_status, note_stop, reason_of, stopping_program

NOTEBOOKS = ("setup_check", "benchmark", "accuracy", "report")
SHORT_FLAGS = {
    "n_frames": "--frames",
    "concurrency": "--concurrent",
    "candidate_url": "--server",
}
EXIT_PROBLEM = 2
LOG_EVERY_S = 10.0
LABELLED = 15  # frames in a template for human labels
MARKS = {"ok": "✓", "warning": "!", "problem": "✗"}


def build_parser() -> argparse.ArgumentParser:
    """The parser: one flag a parameter, by the parameter's own name, beside a few short ones."""
    parser = argparse.ArgumentParser(
        prog="python -m poc_lib",
        description="Measure a batching vision-language server against Ollama on your own screenshots.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    about = {
        "run": "setup_check, benchmark, accuracy and report, into outputs/<run_id>/",
        "check": "only look whether everything is ready; exit status 0 if it is",
        "report": "accuracy and report again, from a run on file; nothing is sent",
        "labels": "write labels.csv into a run's folder: frames to be labelled by a person",
    }
    for name, text in about.items():
        command = commands.add_parser(
            name, help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )
        command.add_argument("--params", type=Path, default=argparse.SUPPRESS, help="YAML file under params/")
        command.add_argument(
            "--output",
            type=Path,
            default=argparse.SUPPRESS,
            help="the run folder: sets outputs_dir and run_id",
        )
        for field in Params.model_fields:
            _add_flag(command, field)
    return parser


def _add_flag(parser: argparse.ArgumentParser, name: str) -> None:
    info = Params.model_fields[name]
    flags = [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])]
    flags += [SHORT_FLAGS[name]] if name in SHORT_FLAGS else []
    text = f"{info.description} (default: {_shown(info.default)})"
    options: dict[str, Any] = {"help": text.replace("%", "%%"), "dest": name}
    if info.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif typing.get_origin(info.annotation) is list:
        options |= {"nargs": "*", "type": _item_type(info.annotation), "metavar": "X"}
    else:
        options |= {"type": _plain_type(info.annotation), "metavar": "X"}
    parser.add_argument(*flags, **options, default=argparse.SUPPRESS)


def _plain_type(annotation: Any) -> type:
    return (
        annotation if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) else str
    )


def _item_type(annotation: Any) -> Callable[[str], Any]:
    """How one item of a list parameter is read: a number, a text, or a server as JSON."""
    item = typing.get_args(annotation)[0]
    kind = typing.get_args(item)[0] if typing.get_origin(item) is typing.Annotated else item
    if typing.get_origin(kind) is dict:
        return json.loads
    return kind if isinstance(kind, type) else str


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "empty" if value == "" else str(value)


def read_arguments(arguments: Sequence[str]) -> tuple[str, Params]:
    """The command and its validated parameters; a flag wins over the params file, the file over the defaults.

    Raises:
        SetupProblem: an unknown key in the file or a value out of range.
    """
    given = vars(build_parser().parse_args(arguments))
    command = given.pop("command")
    params_file = given.pop("params", None)
    output = given.pop("output", None)
    values = read_params(params_file) if params_file else {}
    if output is not None:
        folder = output.expanduser().resolve()
        values |= {"outputs_dir": str(folder.parent), "run_id": folder.name}
    return command, validate_params(values | given)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: done, 1: a notebook failed or the machine is not ready, 2: a wrong set-up."""
    try:
        command, params = read_arguments(sys.argv[1:] if arguments is None else arguments)
        with stopping_program():
            return COMMANDS[command](params)
    except SetupProblem as problem:
        print(f"problem: {problem}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt as stop:
        with suppress(OSError):  # the terminal is gone
            print("stopped; what was answered is on file, and the same run_id continues it", file=sys.stderr)
        return exit_status(stop)


def run_all(params: Params) -> int:
    """All four notebooks, then their HTML pages; the run continues when it lies there unfinished."""
    run_id = params.run_id or new_run_id(params)
    return _run_notebooks(NOTEBOOKS, params.model_copy(update={"run_id": run_id}))


def run_report(params: Params) -> int:
    """Accuracy and report of a run on file."""
    from poc_lib.analysis import find_run

    run = find_run(params)
    return _run_notebooks(NOTEBOOKS[2:], params.model_copy(update={"run_id": run.run_id}))


def run_labels(params: Params) -> int:
    """A template for human labels of some frames of a run; one that lies there is kept."""
    from poc_lib.analysis import find_run, frames_table
    from poc_lib.labels import write_label_template

    run = find_run(params)
    path = run.folder / "labels.csv"
    written = write_label_template(path, frames_table(run), LABELLED)
    print(f"{len(written)} frames to label: {path}")
    print(f"then: python -m poc_lib report --output {run.folder} --labels {path}")
    return 0


def run_check(params: Params) -> int:
    """Print the checklist; 0 when it ends on READY, with warnings or without."""
    from poc_lib.checks import check_setup, read_state

    setup = check_setup(params)
    for check in setup.checks:
        print(f"{MARKS[check.state]} {check.about}: {check.found}")
        if check.to_do:
            print(f"    → {check.to_do}")
    print(read_state(setup))
    return int(read_state(setup) == "NOT READY")


COMMANDS = {"run": run_all, "check": run_check, "report": run_report, "labels": run_labels}


def _run_notebooks(names: Sequence[str], params: Params) -> int:
    folder = params.outputs_path / params.run_id
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(max_workers=1) as exporter:  # pages are made while the next notebook runs
        exports = []
        for name in names:
            print(f"{name}.ipynb …", flush=True)
            started_s = time.monotonic()
            problem = _run_notebook(name, params, folder)
            page = folder / "pages" / f"{name}.html"
            exports.append(exporter.submit(export_notebook, folder / f"{name}.ipynb", page))
            if problem:
                print(f"problem in {name}: {problem}", file=sys.stderr)
                print(f"see {page}; the same command continues the run", file=sys.stderr)
                return 1
            print(f"{name}.ipynb done in {time.monotonic() - started_s:.0f} s", flush=True)
        for export in exports:
            export.result()
    if "report" in names:
        print((folder / "verdict.txt").read_text(encoding="utf-8").strip())
        print(f"report: {folder / 'report.html'}")
    return 0


def _run_notebook(name: str, params: Params, folder: Path) -> str | None:
    stop = threading.Event()
    watcher = threading.Thread(target=_show_progress, args=(folder / "progress.json", stop), daemon=True)
    watcher.start()
    try:
        papermill.execute_notebook(
            PROJECT_ROOT / "notebooks" / f"{name}.ipynb",
            folder / f"{name}.ipynb",
            parameters=_set_parameters(params),
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # hides a warning of every kernel start
            cwd=PROJECT_ROOT,
        )
    except KeyboardInterrupt as stop:
        note_stop(folder, reason_of(stop))  # the kernel is gone already, in the middle of its work
        raise
    except PapermillExecutionError as error:
        return f"{error.evalue}" if error.ename == "SetupProblem" else f"{error.ename}: {error.evalue}"
    finally:
        stop.set()
        watcher.join()
    return None


def _set_parameters(params: Params) -> dict[str, Any]:
    """What differs from the defaults; the notebook's own parameters cell holds the rest."""
    return params.model_dump(exclude_defaults=True)


def _show_progress(path: Path, stop: threading.Event) -> None:
    """Follow a sweep's progress.json: a bar in a terminal, a line every ten seconds elsewhere."""
    path.unlink(missing_ok=True)
    if not sys.stderr.isatty():
        _log_progress(path, stop)
        return
    bar = None
    while not stop.wait(0.5):
        if not path.is_file():
            continue
        progress = json.loads(path.read_text(encoding="utf-8"))
        bar = bar or tqdm(total=progress["total"], unit="req", dynamic_ncols=True)
        bar.set_description_str(progress["doing"])
        bar.set_postfix_str(f"{progress['failed']} failed" if progress["failed"] else "")
        bar.update(progress["done"] - bar.n)
    if bar is not None:
        bar.close()


def _log_progress(path: Path, stop: threading.Event) -> None:
    while not stop.wait(LOG_EVERY_S):
        if path.is_file():
            progress = Progress(**json.loads(path.read_text(encoding="utf-8")))
            print(describe_progress(progress), file=sys.stderr, flush=True)

"""The command line: the four notebooks one after the other, with every parameter as a flag."""

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
import threading
import time
import typing
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from poc_lib.params import PROJECT_ROOT, Params
from poc_lib.reading import read_params_file, sift_params, unknown_name
from poc_lib.records import SetupProblem

NOTEBOOKS = ("setup_check", "benchmark", "accuracy", "report")
SHORT_FLAGS = {"n_frames": "--frames", "concurrency": "--concurrent", "candidate_url": "--server"}
GROUPS = ("server", "frames", "experiment", "report", "advanced")
QUICK = {"n_frames": 12, "max_blocks": 4, "concurrency": [1, 4, 8], "proof_frames": 12, "block_frames": 24}
EXIT_PROBLEM = 2
LOG_EVERY_S = 10.0
COMMANDS = {
    "run": "all four notebooks, into outputs/<run_id>/; continues a run that was cut",
    "check": "only look whether everything is ready; exit status 0 if it is",
    "report": "accuracy and report again, from a run on file; nothing is sent",
    "pages": "write the HTML pages of the executed notebooks in a run's folder",
    "runs": "list the runs on file with their state and verdict",
    "labels": "write labels.csv into a run's folder: frames for a person to label",
    "matrix": "many runs from one params file whose values are lists, and one page that compares them",
}


class _Parser(argparse.ArgumentParser):
    """A parser that names the nearest right flag."""

    def error(self, message: str) -> typing.NoReturn:
        raise SetupProblem(f"{message}: see `{self.prog} --help`")


def build_parser() -> argparse.ArgumentParser:
    """The parser: one flag a parameter, by the parameter's own name, beside a few short ones."""
    about = "Measure a batching vision-language server against Ollama on your own screenshots."
    parser = _Parser(prog="python -m poc_lib", description=about, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        command.add_argument("--params", type=Path, help="YAML file under params/")
        command.add_argument("--output", type=Path, help="the run folder: sets outputs_dir and run_id")
        if name == "run":
            command.add_argument("--yes", action="store_true", help="start a plan of over a million requests")
        if name in ("run", "check"):
            quick = (
                "a first look: 12 frames, 4 blocks, levels 1 4 8; about 20 minutes where a frame takes 8 s"
            )
            command.add_argument("--quick", action="store_true", help=quick)
        if name == "matrix":
            command.add_argument(
                "--scheduler", default="", help="address of a Dask scheduler; empty: this machine"
            )
        groups = {group: command.add_argument_group(group) for group in GROUPS}
        for field, info in Params.model_fields.items():
            _add_flag(groups[info.json_schema_extra["group"]], field)
    return parser


def _add_flag(group: Any, name: str) -> None:
    info = Params.model_fields[name]
    flags = [SHORT_FLAGS[name]] if name in SHORT_FLAGS else []
    flags += [f"--{name}", *([f"--{name.replace('_', '-')}"] if "_" in name else [])]
    shown = " ".join(map(str, info.default)) if isinstance(info.default, list) else info.default
    text = f"{info.description} (default: {'empty' if shown == '' else shown})"
    options: dict[str, Any] = {"help": text.replace("%", "%%"), "dest": name}
    if info.annotation is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif typing.get_origin(info.annotation) is list:
        is_json = typing.get_origin(typing.get_args(info.annotation)[0]) is dict
        options |= {"nargs": "*", "type": _read_json if is_json else str, "metavar": "X"}
    else:
        options["metavar"] = "X"  # a text, which Params reads: so all that is wrong is told at once
    group.add_argument(*flags, **options, default=argparse.SUPPRESS)


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any], list[str]]:
    """The command's own flags; its parameters, of which a flag wins over the params file; what is wrong.

    Raises:
        SetupProblem: an unknown command, or a flag without its value.
    """
    given, unknown = build_parser().parse_known_args(arguments)
    flags = [part.partition("=")[0] for part in unknown if part.startswith("--")]
    known = [f"--{name}" for name in (*Params.model_fields, "params", "output", "quick", "yes")]
    known += SHORT_FLAGS.values()
    problems = [unknown_name(flag, known, "flag") for flag in flags or unknown]
    values: dict[str, Any] = {}
    try:
        values = read_params_file(given.params) if given.params else {}
    except SetupProblem as problem:
        problems.append(str(problem))
    values |= {k: v for k, v in QUICK.items() if getattr(given, "quick", False)}
    if given.output is not None:
        folder = given.output.expanduser().absolute()
        values |= {"outputs_dir": str(folder.parent), "run_id": folder.name or "/"}
    values |= {name: getattr(given, name) for name in Params.model_fields if name in given}
    for name in ("database", "labels"):  # a relative path counts from here; the notebooks run in the project
        if name in given and values[name] and Path(values[name]).is_file():
            values[name] = str(Path(values[name]).absolute())
    return given, values, problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0: done, 1: a notebook failed or the machine is not ready, 2: a wrong set-up."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        given, values, problems = read_arguments(arguments)
        with _signals():
            if given.command == "matrix" and not problems:
                from poc_lib.matrix import run_matrix

                return run_matrix(values, given.scheduler, print)
            params, wrong = sift_params(values)
            if given.command == "run":
                return run_run(params, given, problems + wrong)
            if problems + wrong:
                raise SetupProblem("; ".join(problems + wrong))
            return _ACTIONS[given.command](params, given)
    except SetupProblem as problem:
        print(f"problem: {problem}", file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt as stop:
        name = str(stop) if str(stop).startswith("SIG") else "SIGINT"
        with suppress(OSError):  # the terminal is gone
            print(f"\nstopped by {name}; what was answered is on file. Go on with:", file=sys.stderr)
            print(f"  python -m poc_lib {shlex.join(arguments)}", file=sys.stderr)
        return 128 + signal.Signals[name]


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, with their name."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_run(params: Params, given: argparse.Namespace, problems: list[str]) -> int:
    """All four notebooks, then their HTML pages; a run that was cut is continued.

    Whatever can be refused is refused before, all at once; ``problems``: what is wrong in the parameters.
    """
    from poc_lib.checks import refuse_at_once
    from poc_lib.measure.plan import MAX_REQUESTS, plan_rows
    from poc_lib.runs import check_folder, lock_folder, name_run

    params, line = name_run(params)
    folder = params.outputs_path / params.run_id
    most = sum(row["most"] for row in plan_rows(params.server_list(), params))
    if most > MAX_REQUESTS and not given.yes:
        problems.append(f"this plan may send {most:,} requests: ask for fewer, or start it with --yes")
    if params.labels and not os.path.isfile(os.path.expanduser(params.labels)):
        problems.append(f"no labels file {params.labels}: `python -m poc_lib labels` writes a template")
    with ExitStack() as stack:
        if is_there := os.path.isdir(folder):  # who measures into it is not disturbed by our questions
            stack.enter_context(lock_folder(folder))
        if not problems:
            try:
                check_folder(folder, params)
            except SetupProblem as problem:
                problems.append(str(problem))
        asyncio.run(refuse_at_once(params, problems))
        if line:
            print(line)
        if not is_there:
            stack.enter_context(lock_folder(folder))
        return _run_notebooks(NOTEBOOKS, params, folder)


def run_report(params: Params, given: argparse.Namespace) -> int:
    """Accuracy and report of a run on file."""
    from poc_lib.analysis import find_run
    from poc_lib.runs import lock_folder

    run = find_run(params)
    params = params.model_copy(update={"run_id": run.run_id})
    with lock_folder(run.folder):
        return _run_notebooks(NOTEBOOKS[2:], params, run.folder)


def run_check(params: Params, given: argparse.Namespace) -> int:
    """Print the checklist; 0 when it ends on READY, with warnings or without."""
    from poc_lib.checks import check_setup, read_state

    setup = asyncio.run(check_setup(params))
    marks = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}
    for finding in setup.findings:
        print(f"{marks[finding.state]} {finding.about}: {finding.text}")
        if finding.to_do:
            print(f"    → {finding.to_do}")
    print(read_state(setup))
    return int(read_state(setup) == "NOT READY")


def run_pages(params: Params, given: argparse.Namespace) -> int:
    """Export the executed notebooks of a run's folder, and of notebooks/ when they hold outputs."""
    from poc_lib.analysis import find_run
    from poc_lib.show import export_pages

    for path in export_pages(find_run(params).folder):
        print(path)
    return 0


def run_runs(params: Params, given: argparse.Namespace) -> int:
    """A line a run, newest first."""
    from poc_lib.show import runs_table

    print(runs_table(params.outputs_path))
    return 0


def run_labels(params: Params, given: argparse.Namespace) -> int:
    """A template for human labels of some frames of a run; one that lies there is kept."""
    from poc_lib.analysis import find_run
    from poc_lib.labels import write_label_template

    run = find_run(params)
    path, n = write_label_template(run)
    print(f"{n} frames to label: {path}")
    print(f"then: python -m poc_lib report --output {run.folder} --labels {path}")
    return 0


_ACTIONS = {
    "check": run_check,
    "report": run_report,
    "pages": run_pages,
    "runs": run_runs,
    "labels": run_labels,
}


def _run_notebooks(names: Sequence[str], params: Params, folder: Path) -> int:
    from poc_lib.show import export_pages, verdict_text

    for name in names:
        print(f"{name}.ipynb …", flush=True)
        started_s = time.monotonic()
        problem = _run_notebook(name, params, folder)
        if problem:
            print(f"problem in {name}: {problem}", file=sys.stderr)
            print("the same command continues the run; nothing that was answered is lost", file=sys.stderr)
            return 1
        print(f"{name}.ipynb done in {time.monotonic() - started_s:.0f} s", flush=True)
    pages = export_pages(folder)
    print(verdict_text(folder))
    print(f"report: {next(page for page in pages if page.name == 'report.html')}")
    return 0


def _run_notebook(name: str, params: Params, folder: Path) -> str | None:
    """Execute one notebook into the run folder; returns what went wrong, in one line."""
    import logging

    import papermill
    from papermill.exceptions import PapermillExecutionError

    from poc_lib.runs.files import FULL

    for logger in ("papermill", "asyncio"):  # what went wrong is told in our own line
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    done = threading.Event()
    watcher = threading.Thread(target=_show_progress, args=(folder / "progress.json", done), daemon=True)
    watcher.start()
    try:
        papermill.execute_notebook(
            PROJECT_ROOT / "notebooks" / f"{name}.ipynb",
            folder / f"{name}.ipynb",
            parameters=params.model_dump(exclude_defaults=True),
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # hides a warning of every kernel start
            cwd=PROJECT_ROOT,
        )
    except PapermillExecutionError as error:
        return str(error.evalue) if error.ename == "SetupProblem" else f"{error.ename}: {error.evalue}"
    except RuntimeError as error:  # nbclient's DeadKernelError; jupyter_client's, while a kernel starts
        return f"the notebook's kernel was killed, by hand or for want of memory ({error})"
    except OSError as error:
        is_full = error.errno in FULL
        return f"cannot write into {folder}: {error.strerror}; free some space" if is_full else str(error)
    finally:
        done.set()
        watcher.join()
    return None


def _show_progress(path: Path, done: threading.Event) -> None:
    """Follow a run's progress.json: one line that renews itself in a terminal, else one every ten seconds."""
    from poc_lib.measure.progress import Standing, describe_standing

    terminal, last = sys.stderr.isatty(), ""
    path.unlink(missing_ok=True)
    while not done.wait(0.5 if terminal else LOG_EVERY_S):
        with suppress(OSError, ValueError, TypeError):
            line = describe_standing(Standing(**json.loads(path.read_text(encoding="utf-8"))))
            if line != last:
                start, end = ("\r\x1b[K", "") if terminal else ("", "\n")
                print(f"{start}{line}", end=end, file=sys.stderr, flush=True)
                last = line
    if terminal and last:
        print(file=sys.stderr)

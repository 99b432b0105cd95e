"""The command line: the four notebooks one after the other, with every parameter as a flag."""

import argparse
import asyncio
import json
import logging
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import poc_lib as poc
from poc_lib.params import PROJECT_ROOT, Params, read_params_file, sift_params, unknown_name
from poc_lib.records import SetupProblem

COMMANDS = {
    "run": "All four notebooks, into outputs/<run_id>/; continues a run that was cut.",
    "check": "Only look whether everything is ready; exit status 0 if it is.",
    "report": "Accuracy and report again, from a run on file; nothing is sent.",
    "pages": "Write the HTML pages of the executed notebooks in a run's folder.",
    "runs": "List the runs on file with their state and verdict.",
    "labels": "Write labels.csv into a run's folder: frames for a person to label.",
    "matrix": "Many runs from one params file whose values are lists, and one page that compares them.",
}
NOTEBOOKS = ("setup_check", "benchmark", "accuracy", "report")
SHORT_FLAGS = {"n_frames": "--frames", "concurrency": "--concurrent", "candidate_url": "--server"}
GROUPS = ("server", "frames", "experiment", "report", "advanced")
QUICK = {"n_frames": 12, "max_blocks": 4, "concurrency": [1, 4, 8], "proof_frames": 12, "block_frames": 24}
QUICK_HELP = "a first look: 12 frames, 4 blocks, levels 1 4 8; about 20 minutes where a frame takes 8 s"
LOG_EVERY_S = 10.0
MARKS = {"ok": "✓", "note": "·", "warning": "!", "problem": "✗"}


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are SetupProblems."""

    def error(self, message: str) -> NoReturn:
        raise SetupProblem(f"{message}: see `{self.prog} --help`")


def build_parser() -> argparse.ArgumentParser:
    """The parser: one flag a parameter, by the parameter's own name, beside a few short ones."""
    flags = argparse.ArgumentParser(add_help=False)
    flags.add_argument("--params", type=Path, help="YAML file under params/")
    flags.add_argument("--output", type=Path, help="the run folder: sets outputs_dir and run_id")
    groups = {group: flags.add_argument_group(group) for group in GROUPS}
    for name, info in Params.model_fields.items():
        default, options = info.default, {"metavar": "X"}  # a text: Params reads it and tells what is wrong
        if isinstance(default, bool):
            options = {"action": argparse.BooleanOptionalAction}
        elif isinstance(default, list):
            default = " ".join(map(str, default))
            options |= {"nargs": "*"}
        text = f"{info.description} (default: {'empty' if default == '' else default})".replace("%", "%%")
        names = [SHORT_FLAGS.get(name), f"--{name}", f"--{name.replace('_', '-')}" if "_" in name else None]
        groups[info.json_schema_extra["group"]].add_argument(
            *filter(None, names), dest=name, help=text, default=argparse.SUPPRESS, **options
        )
    about = "Measure a batching vision-language server against Ollama on your own screenshots."
    parser = _Parser(prog="python -m poc_lib", description=about)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, does in COMMANDS.items():
        command = commands.add_parser(name, help=does, description=does, allow_abbrev=False, parents=[flags])
        if name == "run":
            command.add_argument("--yes", action="store_true", help="start a plan of over a million requests")
        if name in ("run", "check"):
            command.add_argument("--quick", action="store_true", help=QUICK_HELP)
        if name == "matrix":
            command.add_argument("--scheduler", default="", help="address of Dask's; empty: this machine")
    return parser


def read_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any], list[str]]:
    """The command's own flags; its parameters, of which a flag wins over the params file; what is wrong."""
    given, unknown = build_parser().parse_known_args(arguments)
    flags = [part.partition("=")[0] for part in unknown if part.startswith("--")]
    known = [f"--{name}" for name in (*Params.model_fields, *vars(given))] + [*SHORT_FLAGS.values()]
    problems = [unknown_name(flag, known, "flag") for flag in flags or unknown]
    values: dict[str, Any] = {}
    try:
        values = read_params_file(given.params) if given.params else {}
    except SetupProblem as problem:
        problems.append(str(problem))
    values |= QUICK if getattr(given, "quick", False) else {}
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

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    try:
        for number in (signal.SIGTERM, signal.SIGHUP):  # they end a command as Ctrl-C does
            signal.signal(number, stop)
        return run_command(*read_arguments(arguments))
    except SetupProblem as problem:
        print(f"problem: {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        name = str(stopped) or "SIGINT"
        with suppress(OSError):  # the terminal is gone
            print(f"\nstopped by {name}; what was answered is on file. Go on with:", file=sys.stderr)
            print(f"  python -m poc_lib {shlex.join(arguments)}", file=sys.stderr)
        return 128 + signal.Signals[name]


def run_command(given: argparse.Namespace, values: dict[str, Any], problems: list[str]) -> int:
    """Do what a command says; its exit status."""
    params, wrong = (Params(), []) if given.command == "matrix" else sift_params(values)
    problems += wrong
    if given.command == "run":
        return run_all(params, problems, given.yes)
    if problems:
        raise SetupProblem("; ".join(problems))
    if given.command == "matrix":
        from poc_lib.matrix import run_matrix

        return run_matrix(values, given.scheduler, print)
    if given.command == "check":
        setup = asyncio.run(poc.check_setup(params))
        for finding in setup.findings:
            to_do = f"\n    → {finding.to_do}" if finding.to_do else ""
            print(f"{MARKS[finding.state]} {finding.about}: {finding.text}{to_do}")
        print(state := poc.read_state(setup))
        return int(state == "NOT READY")
    if given.command == "runs":
        print(poc.runs_table(params.outputs_path))
        return 0
    from poc_lib.labels import write_label_template
    from poc_lib.runs import lock_folder
    from poc_lib.show.pages import export_pages

    run = poc.find_run(params)
    if given.command == "report":
        with lock_folder(run.folder):
            return run_notebooks(NOTEBOOKS[2:], params.model_copy(update={"run_id": run.run_id}), run.folder)
    if given.command == "pages":
        print(*export_pages(run.folder), sep="\n")
    else:
        path, n = write_label_template(run)
        print(f"{n} frames to label: {path}")
        print(f"then: python -m poc_lib report --output {run.folder} --labels {path}")
    return 0


def run_all(params: Params, problems: list[str], is_large_meant: bool) -> int:
    """Measure and report, unless something is wrong with the parameters, the machine or the folder."""
    from poc_lib.checks import refuse_at_once
    from poc_lib.measure.plan import MAX_REQUESTS, plan_rows
    from poc_lib.runs import check_folder, lock_folder, name_run

    params, line = name_run(params)
    most = sum(row["most"] for row in plan_rows(params.server_list(), params))
    if most > MAX_REQUESTS and not is_large_meant:
        problems.append(f"this plan may send {most:,} requests: ask for fewer, or start it with --yes")
    if params.labels and not os.path.isfile(os.path.expanduser(params.labels)):
        problems.append(f"no labels file {params.labels}: `python -m poc_lib labels` writes a template")
    folder = params.outputs_path / params.run_id
    with ExitStack() as stack:
        if is_there := os.path.isdir(folder):  # who measures into it is not disturbed by our questions
            stack.enter_context(lock_folder(folder))
        try:
            check_folder(folder, params)
        except SetupProblem as problem:
            problems.append(str(problem))
        asyncio.run(refuse_at_once(params, problems))
        if line:
            print(line)
        if not is_there:
            stack.enter_context(lock_folder(folder))
        return run_notebooks(NOTEBOOKS, params, folder)


def run_notebooks(names: Sequence[str], params: Params, folder: Path) -> int:
    """Execute notebooks into a run's folder, then write their pages."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from poc_lib.runs import explained
    from poc_lib.show import verdict_text
    from poc_lib.show.pages import export_pages

    for logger in ("papermill", "asyncio"):  # what went wrong is told in our own line
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    for name in names:
        print(f"{name}.ipynb …", flush=True)
        started_s, problem, done, target = time.monotonic(), "", threading.Event(), folder / f"{name}.ipynb"
        watcher = threading.Thread(target=show_progress, args=(folder / "progress.json", done), daemon=True)
        watcher.start()
        try:
            with explained(target):
                papermill.execute_notebook(
                    PROJECT_ROOT / "notebooks" / target.name,
                    target,
                    parameters=params.model_dump(exclude_defaults=True),
                    progress_bar=False,
                    extra_arguments=["--IPKernelApp.log_level=50"],  # hides a warning of every kernel start
                    cwd=PROJECT_ROOT,
                )
        except SetupProblem as error:  # a full disk
            problem = str(error)
        except PapermillExecutionError as error:
            problem = f"{error.ename}: {error.evalue}".removeprefix("SetupProblem: ")
        except RuntimeError as error:  # nbclient's DeadKernelError; jupyter_client's, while a kernel starts
            problem = f"the notebook's kernel was killed, by hand or for want of memory ({error})"
        finally:
            done.set()
            watcher.join()
        if problem:
            print(f"problem in {name}: {problem}", file=sys.stderr)
            print("the same command continues the run; nothing that was answered is lost", file=sys.stderr)
            return 1
        print(f"{name}.ipynb done in {time.monotonic() - started_s:.0f} s", flush=True)
    export_pages(folder)
    print(verdict_text(folder), f"report: {folder / 'report.html'}", sep="\n")
    return 0


def show_progress(path: Path, done: threading.Event) -> None:
    """Follow a run's progress.json: one line that renews itself in a terminal, else one every ten seconds."""
    from poc_lib.measure.progress import Standing, describe_standing

    terminal, last = sys.stderr.isatty(), ""
    start, end = ("\r\x1b[K", "") if terminal else ("", "\n")
    path.unlink(missing_ok=True)
    while not done.wait(0.5 if terminal else LOG_EVERY_S):
        with suppress(OSError, ValueError, TypeError):
            line = describe_standing(Standing(**json.loads(path.read_text(encoding="utf-8"))))
            if line != last:
                print(f"{start}{line}", end=end, file=sys.stderr, flush=True)
                last = line
    if terminal and last:
        print(file=sys.stderr)

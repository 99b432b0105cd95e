"""How a sitting is stopped from outside: Ctrl-C, a closed terminal, a shutdown, a disk that takes no more."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from poc_lib.errors import SetupProblem
from poc_lib.runs import append_event, read_events, read_run

STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # a shutdown, a closed terminal
CTRL_C = "Ctrl-C"


@contextmanager
def stopping_task() -> Iterator[None]:
    """Inside a coroutine: SIGTERM and SIGHUP cancel its task, so that it ends as by Ctrl-C.

    Raises:
        KeyboardInterrupt: such a signal came; its argument is the signal's name.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    for number in STOPPING_SIGNALS:
        loop.add_signal_handler(number, task.cancel, number.name)
    try:
        yield
    except asyncio.CancelledError as stop:
        if stop.args:
            raise KeyboardInterrupt(*stop.args) from None
        raise
    finally:
        for number in STOPPING_SIGNALS:
            loop.remove_signal_handler(number)


@contextmanager
def stopping_program() -> Iterator[None]:
    """Outside coroutines: SIGTERM and SIGHUP raise KeyboardInterrupt, as Ctrl-C does, with their name."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in STOPPING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_status(stop: KeyboardInterrupt) -> int:
    """What a shell expects of a program that was stopped: 128 + the signal's number; Ctrl-C: 130."""
    name = str(stop) or "SIGINT"
    return 128 + signal.Signals[name]


def reason_of(stop: BaseException) -> str:
    """Why a sitting was stopped, as its event says it."""
    return str(stop) or CTRL_C


def note_stop(folder: Path, because: str) -> None:
    """Write the event of a stop where the process that measured was ended before it could."""
    with suppress(SetupProblem):  # no run yet, or a full disk
        run = read_run(folder)
        ours = [event for event in read_events(run) if event["event"].startswith("sitting_")]
        if ours and ours[-1]["event"] == "sitting_started":
            append_event(run, "sitting_stopped", sitting=ours[-1]["sitting"], because=because)


@contextmanager
def bare_problems() -> Iterator[None]:
    """A problem that one of several tasks found is raised as itself, not in a group.

    Raises:
        SetupProblem: the group's first.
    """
    try:
        yield
    except ExceptionGroup as group:
        problem = _first_problem(group)
        if problem is None:
            raise
        raise problem from None


def _first_problem(group: ExceptionGroup) -> BaseException | None:
    found: BaseException | None = group.subgroup(SetupProblem)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found

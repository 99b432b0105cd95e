"""One line of the checklist."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    about: str
    state: State
    found: str
    to_do: str = ""


def ok(about: str, found: str) -> Check:
    """Nothing to do."""
    return Check(about, "ok", found)


def warning(about: str, found: str, to_do: str) -> Check:
    """It can be measured, but this spoils or limits it."""
    return Check(about, "warning", found, to_do)


def problem(about: str, found: str, to_do: str) -> Check:
    """It cannot be measured like this."""
    return Check(about, "problem", found, to_do)


def setup_problem(about: str, error: Exception) -> Check:
    """The line of an exception; a SetupProblem says what to do after its last colon."""
    found, _, to_do = str(error).rpartition(": ")
    if not found:
        return problem(about, to_do or type(error).__name__, "mend this and check again")
    return problem(about, found, to_do)

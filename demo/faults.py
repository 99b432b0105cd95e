"""Faults planted in a simulated server on purpose, so that a run can prove that it notices them."""

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from demo.model import draw
from poc_lib.records import SetupProblem

# Written NAME, NAME:SHARE or NAME:SHARE@N: that share of the requests (all when left out), drawn by the seed,
# while at least N requests are in flight at the server, waiting ones included. An answer suffers one fault at
# most: the first one given that was drawn for it. The number of slow and crash_after is no share.
FAULTS = {
    "swap": "the whole answer, its code too, of another request that is decoded with it",
    "replay": "the answer to the first image asked about under the same prompt, until DELETE /v1/cache",
    "duplicate": "one fixed answer without a code, whatever the image",
    "stale": "after a client went away in mid-answer: its answer, to the next request",
    "empty": "an answer without text",
    "truncate": "half an answer, finish reason length",
    "garbage": "half an answer, then bytes that are no JSON, then the usual end",
    "cut": "half an answer, then the connection breaks",
    "hang": "half an answer, then nothing, while the connection stays open",
    "error": "HTTP 500 at once",
    "busy": "HTTP 503 at once: another request is served",
    "blind": "the right answer, but its code is not read",
    "slow": "everything takes this many times longer",
    "crash_after": "the process ends when one more than this many requests have come",
}
COUNTED = {"slow": "slow:2", "crash_after": "crash_after:30"}  # the number is no share


class Fault(NamedTuple):
    """One planted fault."""

    name: str  # a key of FAULTS
    amount: float = 1.0  # share of the requests, or the number of slow and crash_after
    at: int = 1  # only while at least so many requests are in flight


def planted(faults: Iterable[Fault], names: str, in_flight: int, *keys: object) -> str | None:
    """Return the first fault among ``names`` that hits the request with these keys."""
    for fault in faults:
        if fault.name in names.split() and in_flight >= fault.at and draw(fault.name, *keys) < fault.amount:
            return fault.name
    return None


def parse_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """Read faults as they are written; SetupProblem for an unknown name or a number out of range."""
    faults = []
    for text in texts:
        written, _, at = text.strip().partition("@")
        name, colon, amount = written.partition(":")
        if name not in FAULTS:
            near = difflib.get_close_matches(name, FAULTS, n=1, cutoff=0.4)
            known = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(FAULTS)}"
            raise SetupProblem(f"demo_faults: '{text}' is unknown: {known}")
        try:
            fault = Fault(name, float(amount) if colon else 1.0, int(at) if "@" in text else 1)
            fits = 0 < fault.amount <= (1e6 if name in COUNTED else 1) and fault.at >= 1
        except ValueError:
            fits = False
        if not fits or (name in COUNTED and not colon):
            form = COUNTED.get(name, f"{name}:0.1@4, a share up to 1 and requests in flight")
            raise SetupProblem(f"demo_faults: '{text}' is not understood: expected e.g. {form}")
        faults.append(fault)
    return tuple(faults)

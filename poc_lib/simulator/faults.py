"""Faults planted on purpose, so that a run can prove that it notices them.

Written ``NAME:SHARE`` (``wrong_image:0.1``: one request in ten, drawn by seed, image and how often that image
was asked about), ``NAME:SHARE@LEVEL`` (only while at least LEVEL requests are in flight: running and waiting
ones, itself included), or ``crash_after:N``; ``blind`` alone is ``blind:1``. A refusal looks at the requests
in flight when it arrives, a leak when the other client goes away, every other fault when the request's wave
starts. At most one fault hits a request: the first in the order given.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from poc_lib.errors import SetupProblem
from poc_lib.simulator.timing import draw

CRASH = "crash_after"
REFUSALS = ("busy", "http_500")
BROKEN_STREAMS = ("stall", "cut_stream", "malformed_chunk", "stream_error")
WRONG_TEXTS = ("wrong_image", "replay_first", "duplicate", "empty", "truncated", "loop")
WEAK_READING = ("misread", "blind")  # only answers that name a code
LEAKS = ("leak_on_abort",)
BLIND = "blind"

FAULT_MEANINGS = {
    "wrong_image": "answers with the text of another request in flight, or else of an image sent before",
    "replay_first": "answers with the prompt's first image's text, and soon: a cache keyed without the image",
    "duplicate": "answers with one fixed text, the same for every image",
    "busy": "refuses at once: 503 text_generation_busy, every other time 429 with Retry-After; Ollama: 503",
    "http_500": "answers HTTP 500 at once",
    "stall": "sends half of the answer and then nothing, until the client goes away or an hour has passed",
    "cut_stream": "sends half of the answer and closes the connection",
    "malformed_chunk": "sends half of the answer, a chunk that is not JSON, and then the usual ending",
    "stream_error": "sends half of the answer and then an error object inside the 200 stream",
    "empty": "finishes without any text",
    "truncated": "ends in mid-sentence with finish reason length",
    "loop": "repeats a few words until max_tokens",
    "misread": "gets one character of the image's code wrong: a weak reader",
    BLIND: "reads no code at all",
    "leak_on_abort": "goes on with the answer of another request in flight whose client has just gone away",
    CRASH: "the process ends without a word when request N + 1 arrives",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault."""

    name: str  # a key of FAULT_MEANINGS
    share: float = 1.0  # of the requests, 0 to 1
    min_in_flight: int = 1  # only while this many requests are in flight
    after_requests: int | None = None  # crash_after only


def parse_fault(text: str) -> Fault:
    """Read ``NAME:SHARE``, ``NAME:SHARE@LEVEL``, ``blind`` or ``crash_after:N``.

    Raises:
        SetupProblem: an unknown name (the nearest right one is named) or a value out of range.
    """
    name, _, value = text.partition(":")
    if name not in FAULT_MEANINGS:
        raise SetupProblem(_unknown_name_line(name))
    share, at, level = ("1" if text == BLIND else value).partition("@")
    try:
        if name == CRASH:
            fault = Fault(name, after_requests=int(value))
        else:
            fault = Fault(name, share=float(share), min_in_flight=int(level) if at else 1)
    except ValueError:
        raise SetupProblem(_bad_value_line(text, name)) from None
    in_range = 0 <= fault.share <= 1 and fault.min_in_flight >= 1 and (fault.after_requests or 0) >= 0
    if not in_range:
        raise SetupProblem(_bad_value_line(text, name))
    return fault


def draw_faults(faults: Iterable[Fault], seed: int, sha256: str, count: int) -> tuple[Fault, ...]:
    """The faults drawn for the ``count``-th request about an image, whatever the number in flight."""
    return tuple(
        fault
        for fault in faults
        if fault.name != CRASH and draw("fault", seed, fault.name, sha256, count) < fault.share
    )


def active_fault(drawn: Iterable[Fault], names: tuple[str, ...], in_flight: int) -> str | None:
    """The first drawn fault among ``names`` that applies with ``in_flight`` requests in flight."""
    return next((f.name for f in drawn if f.name in names and in_flight >= f.min_in_flight), None)


def crash_is_due(faults: Iterable[Fault], request_number: int) -> bool:
    """Whether the process ends on arrival of this request; requests count from 1."""
    return any(fault.name == CRASH and request_number > fault.after_requests for fault in faults)


def _unknown_name_line(name: str) -> str:
    nearest = difflib.get_close_matches(name, FAULT_MEANINGS, n=1)
    hint = f"did you mean '{nearest[0]}'?" if nearest else f"the known ones are {', '.join(FAULT_MEANINGS)}"
    return f"unknown fault '{name}': {hint}"


def _bad_value_line(text: str, name: str) -> str:
    if name == CRASH:
        return f"fault '{text}': expected {CRASH}:N with a number of requests N >= 0, e.g. {CRASH}:20"
    return f"fault '{text}': expected {name}:SHARE or {name}:SHARE@LEVEL, share 0 to 1, e.g. {name}:0.1@4"

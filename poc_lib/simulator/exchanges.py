"""One chat request inside a simulated server: its prompt, its job, and the row of what was planted."""

import hashlib
from dataclasses import dataclass

from poc_lib.simulator.answers import Answer
from poc_lib.simulator.engine import Job
from poc_lib.simulator.faults import Fault


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a chat request asks, whichever API it came through."""

    text: str
    images: tuple[bytes, ...]
    sizes_px: tuple[tuple[int, int], ...]  # width, height of each image
    temperature: float
    max_tokens: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(b"".join(self.images)).hexdigest()


@dataclass(slots=True)
class Planted:
    """One chat request as the server saw it: a row of GET /simulator/planted."""

    request: int  # from 1, in order of arrival
    sha256: str  # of the image's bytes
    frame_id: str  # of the image asked about
    fault: str | None = None
    answered: str | None = None  # frame_id of the image whose text was sent; None: refused, empty or fixed
    in_flight: int = 0  # when its wave started, or at arrival for a refusal
    wave: int = 0  # from 1; 0: never started
    arrived: int = 0  # places in the one sequence of all arrivals, starts and ends
    started: int = 0
    ended: int = 0


@dataclass(slots=True)
class Exchange:
    """A request between admission and its end."""

    prompt: Prompt
    answer: Answer
    sha256: str
    count: int  # how often this image has been asked about, from 0
    drawn: tuple[Fault, ...]
    row: Planted
    job: Job
    leaked_from: "Exchange | None" = None  # given up before this one's wave started: its answer is given here

    @property
    def asked(self) -> tuple[str, str]:
        return self.sha256, self.prompt.text

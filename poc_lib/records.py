"""The vocabulary: what a frame, a server, a cell, a reply and a finding are. No behaviour lives here.

Times are seconds and names carry their unit. A field that ends in ``_s`` counts from the request's own
sending unless it says otherwise; ``None`` means "not known", never zero.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Api = Literal["openai", "ollama"]
Role = Literal["candidate", "baseline"]
Phase = Literal[
    "warmup",  # untimed: loads the model, compiles for a batch size
    "instrument",  # against the embedded paced server: what the client itself adds
    "pilot",  # one block of every server and level: chooses the level, never enters the verdict
    "confirm",  # blocks of baseline and chosen level: what the verdict rests on
    "proof",  # stamped frames, the code asked for: whose image is the answer about?
    "proof_abort",  # as proof, while a third of the requests are given up in mid-stream
    "open_loop",  # arrivals at a rate, whatever the server does
    "measure",  # first edition only: blocks of every server and level
]
Arrivals = Literal["closed", "poisson"]
State = Literal["ok", "note", "warning", "problem"]

ErrorClass = Literal[
    "connect",  # no connection, or it broke before the response began
    "timeout",  # no byte for timeout_s, or no end within answer_timeout_s
    "http_status",  # an HTTP status other than 200 that is not "busy"
    "busy",  # the server refused because it serves another request (503, 429, text_generation_busy)
    "malformed",  # bytes that are not the API's, or more of them than an answer may have
    "server_error",  # an error object inside a 200 answer
    "truncated",  # the answer ended before the server said it was finished
    "empty",  # a finished answer without any text
    "aborted",  # given up by this client on purpose (phase proof_abort)
]


class SetupProblem(Exception):
    """A wrong set-up, in one line: what was found, what was expected, what to do."""

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows of it: the line, and no stack."""
        return [str(self)]


@dataclass(frozen=True, slots=True)
class Reference:
    """What the app stored about a frame when an earlier model described it: a comparison, not the truth."""

    description: str  # the stored one-line description
    activity: str | None  # one word of the app's closed list; None: the app stored none
    apps: tuple[str, ...] | None  # names of visible apps; None: no reference, () means "none visible"
    topics: tuple[str, ...] | None  # as apps
    model: str | None  # the model that wrote it, where the app recorded it


@dataclass(frozen=True, slots=True)
class Frame:
    """One screenshot of the recording, its file and its stored reference."""

    frame_id: str  # the observation's id, or the recorder frame's id where no observation exists
    timestamp_s: float  # seconds from the recording's start, or Unix seconds for recorder rows
    image_path: Path  # where the image lies now; may not exist (see image_problem)
    recording_id: str | None = None  # None for rows of the always-on recorder
    width: int | None = None  # pixels of the file itself; None when it cannot be read
    height: int | None = None
    image_problem: str | None = None  # why the image cannot be sent ("missing", "not an image"); None: usable
    recovered: bool = False  # True: cut again from the recording's video
    reference: Reference | None = None  # None: see reference_problem
    reference_problem: str | None = None  # why the stored text is not usable; None: usable
    look: str | None = None  # 64-bit perceptual hash of the image, 16 hex digits
    sha256: str | None = None  # of the image file
    label: str = ""  # its one name for people, everywhere: "frame 3 · 09:14"


@dataclass(frozen=True, slots=True)
class Server:
    """A server as the parameters name it."""

    name: str  # the label in every table, e.g. "vllm-mlx"
    role: Role
    api: Api
    url: str  # OpenAI-compatible: ends in /v1; Ollama: the root; "demo" starts the embedded simulator
    model: str  # must equal the name under which the server serves it
    concurrency: tuple[int, ...]  # requests in flight, one cell per level


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server said about itself when it was asked, kept in run.json."""

    name: str
    role: Role
    url: str  # without user and password
    api: Api
    reachable: bool
    simulated: bool = False  # it said so itself, in its health answer
    software: str | None = None  # "vllm-mlx", "mlx-vlm", "ollama", ... as far as it can be told
    version: str | None = None  # told by the server, else read from its process; None: unknown
    model: str | None = None  # the model that the run asks for
    models: tuple[str, ...] = ()  # every model the server offers
    details: dict = field(default_factory=dict)  # health answer, digest, quantisation, flags, ...
    problem: str | None = None  # one line: what was found, expected, and what to do; None: fine


@dataclass(frozen=True, slots=True)
class Cell:
    """One measured combination: a server at a concurrency level, in one block."""

    server: str
    role: Role
    concurrency: int  # requests kept in flight (closed loop), or in flight at most (open loop)
    block: int  # 0, 1, ... within the phase
    phase: Phase
    arrivals: Arrivals = "closed"
    rate_per_s: float | None = None  # arrivals per second; None: closed loop


@dataclass(slots=True)
class Reply:
    """One request and what came back: a row of requests.jsonl. A failure is a row, too."""

    request_id: str  # "server/phase/c4/b0/s0/017": cell, sitting, position; unique in a run
    server: str
    role: Role
    concurrency: int  # the cell's level
    block: int
    phase: Phase
    frame_id: str
    sitting: int  # 0 for the first start of the run, +1 for every continuation
    slot: int  # which of the cell's slots sent it, 0 .. concurrency - 1
    simulated: bool  # the answering server is the embedded simulator
    sent_at: str  # ISO wall-clock time, for people; never used for a duration
    start_s: float  # monotonic seconds from the sitting's start to the moment of sending
    in_flight: int  # requests in flight right after this one was sent, itself included
    total_s: float  # sending to the last byte of the answer, or to the failure
    position: int = -1  # place in the cell's drawn order, 0, 1, ...; -1: first edition
    code: str | None = None  # the code stamped on this request's image; None: not stamped
    arrivals: Arrivals = "closed"
    rate_per_s: float | None = None  # arrivals per second in an open loop
    due_s: float | None = None  # open loop: the intended moment of sending, on the clock of start_s
    headers_s: float | None = None  # sending to response headers
    ttft_s: float | None = None  # sending to the first non-empty content or reasoning
    arrivals_s: list[float] = field(default_factory=list)  # each non-empty chunk's arrival, from sending
    prompt_tokens: int | None = None  # image tokens included where the server counts them
    output_tokens: int | None = None  # reasoning included; None: the server did not say
    reasoning_chars: int = 0  # length of the thinking text
    finish_reason: str | None = None  # "stop", "length" (cut at max_tokens), ...
    text: str = ""  # the answer, without its reasoning
    http_status: int | None = None
    error_class: ErrorClass | None = None  # None: answered
    error_message: str | None = None  # one line
    lag_s: float | None = None  # longest delay of our event loop while this request was in flight
    server_load_s: float | None = None  # Ollama's load_duration
    server_prefill_s: float | None = None  # Ollama's prompt_eval_duration
    server_decode_s: float | None = None  # Ollama's eval_duration


@dataclass(frozen=True, slots=True)
class Finding:
    """One judged sentence. Every check, criterion, fairness line, interruption and comparison is one."""

    about: str  # "servers", "criteria", "fairness", "failures", "proof", "instrument", "interruption", ...
    state: State
    text: str  # what was found, with its numbers
    to_do: str = ""  # what the reader can do about it; "": nothing
    server: str = ""  # the server it speaks of; "": the run
    level: int = 0  # the concurrency it speaks of; 0: all


@dataclass(frozen=True, slots=True)
class Estimate:
    """The speed-up after some blocks, with its interval; NaN, in a Verdict None: not known."""

    speedup: float | None  # geometric mean of the blocks' ratios of wall clocks
    low: float | None  # from two blocks on
    high: float | None
    confidence: float | None  # of this look's interval, 0 to 1
    n_blocks: int  # blocks with a ratio
    decided: bool  # the interval lies between two neighbouring thresholds
    label: str  # the highest step that the lower bound reaches, or why there is none
    open_above: bool  # the upper bound reaches a higher step
    more_blocks: int | None  # that would probably settle it, at most MANY_BLOCKS; None: decided


@dataclass(frozen=True, slots=True)
class Verdict(Estimate):
    """The decision about one candidate, with what it rests on. Written to verdict.json as it is."""

    candidate: str
    baseline: str
    headline: str  # the decision, its reason and its reservation in one sentence
    level: int | None  # the candidate's chosen requests in flight
    baseline_level: int | None
    n_frames: int  # distinct frames in the confirmation
    proof: Literal["met", "mixed up", "suspected", "cannot be proven", "not tested", "not yet"]
    reasons: tuple[str, ...] = ()  # sentences: set-aside levels, caps, reservations
    simulated: bool = False
    recorded_baseline: bool = False

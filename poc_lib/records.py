"""The vocabulary: what a frame, a server, a cell and a reply are. No behaviour lives here.

Times are seconds. A field that ends in ``_s`` counts from the request's own start unless it says otherwise;
``None`` means "not known", never zero.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Api = Literal["openai", "ollama"]
Role = Literal["candidate", "baseline"]
Phase = Literal[
    "warmup",  # untimed: loads the model, compiles for a batch size
    "measure",  # the closed-loop sweep that speed and quality are taken from
    "repeat_image",  # block 0: frames the server has not seen; block 1: the same ones again, caches kept
    "open_loop",  # arrivals at a rate, whatever the server does
    "canary",  # screenshots with a rendered code among real frames
    "canary_abort",  # as canary, and every third request is given up in mid-stream
]
Arrivals = Literal["closed", "constant", "poisson"]

ErrorClass = Literal[
    "connect",  # no connection, or it broke before the response began
    "timeout",  # nothing arrived for as long as the time-out allows
    "http_status",  # an HTTP status other than 200 that is not "busy"
    "busy",  # the server refused because it serves another request (503, 429, text_generation_busy)
    "malformed",  # bytes that are not the API's stream
    "server_error",  # an error object inside a 200 stream
    "truncated",  # the stream ended before the server said it was finished
    "empty",  # a finished answer without any text
    "aborted",  # given up by this client on purpose (phase canary_abort)
]

FAILURE_CLASSES: tuple[str, ...] = ErrorClass.__args__


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
    captured_at: str | None = None  # ISO time, where known
    width: int | None = None  # pixels of the file itself; None when it cannot be read
    height: int | None = None
    image_problem: str | None = None  # why the image cannot be sent ("missing", "not an image"); None: usable
    recovered: bool = False  # True: cut again from the recording's video
    reference: Reference | None = None  # None: see reference_problem
    reference_problem: str | None = None  # why the stored text is not usable; None: usable
    ocr_text: str | None = None  # text the app's OCR found, where stored


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording of the app, with what can be used of it."""

    recording_id: str
    captured_at: str | None  # ISO time
    duration_s: float | None
    status: str | None
    video_path: Path | None
    n_frames: int  # visual observations
    n_usable: int  # of these with a usable stored description


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server as the parameters name it."""

    name: str  # the label in every table, e.g. "vllm-mlx"
    role: Role
    api: Api
    url: str  # OpenAI-compatible: ends in /v1; Ollama: the root; "demo" starts the embedded simulator
    model: str  # must equal the name under which the server serves it
    concurrency: tuple[int, ...]  # requests in flight, one cell per level


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What a server said about itself when it was asked, kept in run.json."""

    name: str
    role: Role
    url: str
    api: Api
    reachable: bool
    simulated: bool = False  # it said so itself, in its health answer
    software: str | None = None  # "vllm-mlx", "mlx-vlm", "ollama", ... as far as it can be told
    version: str | None = None  # None: the server has no version endpoint
    model: str | None = None  # the model that the run asks for
    models: tuple[str, ...] = ()  # every model the server offers
    details: dict = field(default_factory=dict)  # health answer, digest, quantisation, capabilities, ...
    problem: str | None = None  # one line: what was found, expected, and what to do; None: fine


@dataclass(frozen=True, slots=True)
class Cell:
    """One measured combination: a server at a concurrency level, in one block, over all its frames."""

    server: str
    role: Role
    concurrency: int  # requests kept in flight (closed loop), or in flight at most (open loop)
    block: int  # 0, 1, ...; in a block every server and level is measured once
    phase: Phase = "measure"
    arrivals: Arrivals = "closed"
    rate_per_s: float | None = None  # arrivals per second; None: closed loop


@dataclass(slots=True)
class Reply:
    """One request and what came back: a row of requests.jsonl. A failure is a row, too."""

    request_id: str  # "server/phase/c4/b0/frame_id": unique in a run
    server: str
    role: Role
    concurrency: int  # the cell's level
    block: int
    phase: Phase
    frame_id: str  # a canary's id where the phase sends canaries
    sitting: int  # 0 for the first start of the run, +1 for every continuation
    slot: int  # which of the cell's slots sent it, 0 .. concurrency - 1
    simulated: bool  # the answering server is the embedded simulator
    sent_at: str  # ISO wall-clock time, for people; never used for a duration
    start_s: float  # monotonic seconds from the sitting's start to the moment of sending
    in_flight: int  # requests in flight right after this one was sent, itself included
    total_s: float  # sending to last byte, or to the failure
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
    server_load_s: float | None = None  # Ollama's load_duration
    server_prefill_s: float | None = None  # Ollama's prompt_eval_duration
    server_decode_s: float | None = None  # Ollama's eval_duration

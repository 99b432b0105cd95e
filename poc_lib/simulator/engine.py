"""The engine: waves of requests whose prefills run one by one and whose decode steps advance all together."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from poc_lib.simulator.timing import Timing, sleep_until, step_seconds


@dataclass(slots=True, eq=False)
class Job:
    """One chat request inside the engine."""

    number: int  # of all chat requests, from 1
    prefill_s: float
    max_tokens: int
    prompt_tokens: int
    pieces: list[str] = field(default_factory=list)  # one a token; set when its wave starts
    ending: str = "stop"  # stop, length, or the name of a fault that breaks the stream
    load_s: float = 0.0  # seconds spent loading the model before the prefill
    n_sent: int = 0  # pieces made so far
    output_tokens: int = 0  # as the server counts them: the stop token included
    finished: bool = False
    aborted: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    arrived: float = 0.0  # event-loop clock, seconds
    prefill_from: float = 0.0
    decode_from: float = 0.0
    ended: float = 0.0


@dataclass(slots=True)
class Totals:
    """What the engine has done since its start."""

    requests: int = 0  # ended by themselves
    prompt_tokens: int = 0  # counted when the prefill is over
    output_tokens: int = 0  # of requests that have ended or were given up
    decoded_tokens: int = 0  # counted at every step
    steps: int = 0
    waves: int = 0
    prompt_s: float = 0.0
    decode_s: float = 0.0


@dataclass(slots=True, eq=False)
class Engine:
    """The queue, the running wave and the counters of one simulated server."""

    timing: Timing
    max_batch: int
    blocks_while_prefilling: bool  # nothing at all is sent during prefills, as in vllm-mlx's batching mode
    on_start: Callable[[Job, int], None]  # told the job and the requests in flight, when its wave starts
    on_end: Callable[[Job], None]  # told the job when its last token is made
    jitter: random.Random
    waiting: deque[Job] = field(default_factory=deque)
    wave: list[Job] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    loaded: bool = False
    work: asyncio.Event = field(default_factory=asyncio.Event)
    responsive: asyncio.Event = field(default_factory=asyncio.Event)


def submit_job(engine: Engine, job: Job) -> None:
    """Queue a request for the next wave."""
    job.arrived = asyncio.get_running_loop().time()
    engine.waiting.append(job)
    engine.work.set()


def abort_job(engine: Engine, job: Job) -> None:
    """Forget a request whose client went away; the rest of its wave goes on."""
    if job.finished or job.aborted:
        return
    job.aborted = True
    engine.totals.output_tokens += job.output_tokens
    if job in engine.waiting:
        engine.waiting.remove(job)


def in_flight(engine: Engine) -> int:
    """Requests running and waiting."""
    return len(engine.wave) + len(engine.waiting)


async def run_engine(engine: Engine) -> None:
    """Serve waves for ever; a new one starts only when none is active."""
    engine.responsive.set()
    while True:
        await engine.work.wait()
        await asyncio.sleep(engine.timing.poll_s)
        while engine.waiting:
            await _run_wave(engine)
        engine.work.clear()


async def _run_wave(engine: Engine) -> None:
    count = in_flight(engine)
    engine.wave = [engine.waiting.popleft() for _ in range(min(engine.max_batch, len(engine.waiting)))]
    engine.totals.waves += 1
    for job in engine.wave:
        engine.on_start(job, count)
    if engine.blocks_while_prefilling:
        engine.responsive.clear()
    await _prefill(engine)
    _step(engine, asyncio.get_running_loop().time())  # a prefill gives the first token
    engine.responsive.set()
    await _decode(engine)


async def _prefill(engine: Engine) -> None:
    now = asyncio.get_running_loop().time()
    started = now
    for job in engine.wave:
        job.load_s = engine.timing.warm_load_s if engine.loaded else engine.timing.load_s
        engine.loaded = True
        job.prefill_from = now + job.load_s
        now = job.prefill_from + job.prefill_s
        await sleep_until(now)
        engine.totals.prompt_tokens += job.prompt_tokens
    for job in engine.wave:
        job.decode_from = now
    engine.totals.prompt_s += now - started


async def _decode(engine: Engine) -> None:
    deadline = asyncio.get_running_loop().time()
    spread = engine.timing.jitter
    while engine.wave:
        step_s = step_seconds(engine.timing, len(engine.wave)) * (1 + engine.jitter.uniform(-spread, spread))
        deadline += step_s
        await sleep_until(deadline)
        engine.totals.decode_s += step_s
        _step(engine, deadline)


def _step(engine: Engine, now: float) -> None:
    engine.totals.steps += 1
    for job in engine.wave:
        _advance(engine, job, now)
    engine.wave = [job for job in engine.wave if not (job.finished or job.aborted)]


def _advance(engine: Engine, job: Job, now: float) -> None:
    job.output_tokens += 1
    engine.totals.decoded_tokens += 1
    job.n_sent = min(job.output_tokens, len(job.pieces))
    # A stop token is a decode step that makes no text; at the length limit the last piece ends the answer.
    n_steps = len(job.pieces) + (job.ending != "length")
    if job.output_tokens >= n_steps:
        job.finished = True
        job.ended = now
        engine.totals.requests += 1
        engine.totals.output_tokens += job.output_tokens
        engine.on_end(job)
    job.wake.set()

"""The engine of a simulated server: waves of images prefilled one by one, whose answers are decoded together.

Time is planned, not spent: a wave's start, first token and end are deadlines on the event loop's clock, drawn
from the seed and the requests, and a wave that is asked for at once starts when the one before it was due to
end. So the delays of a busy machine do not add up: later answers make up for them.
"""

import asyncio
import re
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from demo.faults import Fault, planted
from demo.model import Knowledge, draw, say

BASELINE_S = 0.05  # one answer of the baseline
LEVELS = (1, 2, 4, 8, 32)  # requests in a wave of the candidate
SPEEDUPS = (0.95, 1.55, 2.2, 2.45, 2.6)  # its frames/s there, those of the baseline being 1
FIRST_PREFILL_S, PREFILL_S = 0.016, 0.007  # of a wave's first image, and of each further one
AT_ONCE_S = 0.1  # so soon after its last answer a client is expected to ask again
DEBT_S, LEAST_SHARE = 0.5, 0.4  # a delay that is made up for, by answers of at least this share of their time
GATHER_SHARE, QUIET_S, POLL_S = 0.9, 0.02, 0.002  # how long a wave waits for them: of its time; after a comer
MAX_WAVE = {"openai": 32, "ollama": 1}
TOKEN = re.compile(r"\s?\S{1,4}|\s+")
USUAL_TOKENS, MAX_CHUNKS = 50, 12  # of an answer
NOISE, DRIFT, DRIFT_REQUESTS = 0.04, 0.015, 24  # largest deviation of one request, and of so many in a row
TEXT_FAULTS, BROKEN = "swap replay duplicate stale", "empty truncate garbage cut hang"
NOTHING = {"description": "The user is looking at a desktop.", "activity": "other", "apps": [], "topics": []}


@dataclass(slots=True, eq=False)
class Job:
    """One chat request inside the engine; times are the event loop's."""

    prompt: str
    max_tokens: int
    prompt_tokens: int
    sight: asyncio.Task[tuple[dict, str | None]]  # the picture's entry and code
    arrived: float
    keys: tuple = ()  # what its draws depend on
    own: str = ""  # what it should be answered
    tokens: list[str] = field(default_factory=list)  # what it is answered
    ending: str = "stop"  # or "length", or the fault that breaks the answer
    start: float = 0.0
    first: float = 0.0  # the first token is due
    end: float = 0.0
    planned: asyncio.Event = field(default_factory=asyncio.Event)

    def chunks(self) -> list[tuple[float, str]]:
        """Cut the answer into a few pieces, each with the moment at which it is due."""
        pieces = np.array_split(self.tokens, min(MAX_CHUNKS, len(self.tokens)) or 1)
        due_s = np.linspace(self.first, self.end, len(pieces), endpoint=False)
        return list(zip(due_s, map("".join, pieces), strict=True))


@dataclass(slots=True, eq=False)
class Engine:
    """The queue, the running wave, the memory and the counts of one simulated server."""

    api: str
    seed: int
    faults: tuple[Fault, ...]
    knowledge: Knowledge
    queue: deque[Job] = field(default_factory=deque)
    wave: list[Job] = field(default_factory=list)
    work: asyncio.Event = field(default_factory=asyncio.Event)
    in_flight: int = 0
    free_since: dict[object, float] = field(default_factory=dict)  # clients that are likely to ask again
    asked: Counter = field(default_factory=Counter)  # how often about each frame
    first_said: dict[str, str] = field(default_factory=dict)  # the first answer to each prompt
    given_up: list[str] = field(default_factory=list)  # answers whose client went away
    n_chats: int = 0  # requests that have come
    n_begun: int = 0  # requests whose wave has begun
    n_answered: int = 0
    n_tokens: int = 0  # of all answers
    end: float = float("-inf")  # when the wave before was due to end; -inf: long ago


async def sleep_until(moment: float) -> None:
    """Sleep to a moment of the event loop's clock; one that has passed costs nothing."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


def usual_wave_s(engine: Engine, n: int) -> float:
    """Seconds that a wave of ``n`` requests takes in the mean."""
    return BASELINE_S * (n / np.interp(n, LEVELS, SPEEDUPS) if engine.api == "openai" else n)


async def run_engine(engine: Engine) -> None:
    """Serve waves for ever: a new one begins when the one before it has ended."""
    clock, most = asyncio.get_running_loop().time, MAX_WAVE[engine.api]
    while True:
        await engine.work.wait()
        arrived, n, closes = engine.queue[0].arrived, 0, float("inf")
        first = start = engine.end if arrived < engine.end + DEBT_S else arrived
        # Who comes during the prefills joins, and who is about to come is waited for while there is time.
        while (now := clock()) < first or n == 0 or (n < most and now < closes and engine.free_since):
            while engine.queue and n < most:
                engine.wave.append(engine.queue.popleft())
                first, n = first + (PREFILL_S if n else FIRST_PREFILL_S), n + 1
            closes = max(start + GATHER_SHARE * usual_wave_s(engine, n), engine.wave[-1].arrived + QUIET_S)
            free = engine.free_since.items()
            engine.free_since = {client: since for client, since in free if now - since < AT_ONCE_S}
            await asyncio.sleep(POLL_S)
        await asyncio.gather(*(job.sight for job in engine.wave))
        await sleep_until(plan_wave(engine, start, first))
        engine.wave = []
        if not engine.queue:
            engine.work.clear()


def plan_wave(engine: Engine, start: float, first: float) -> float:
    """Give every request of the wave its answer and its moments; returns when the last one ends."""
    wave, efforts = engine.wave, []
    for job in wave:
        entry, code = job.sight.result()
        job.keys = (engine.seed, engine.api, entry["frame_id"], engine.asked[entry["frame_id"]])
        engine.asked[entry["frame_id"]] += 1
        hidden = planted(engine.faults, "blind", engine.in_flight, *job.keys)
        job.own = say(entry, job.prompt, None if hidden else code, *job.keys)
        length = len(TOKEN.findall(job.own)) / USUAL_TOKENS
        efforts.append((0.6 + 0.4 * length) * (1 + NOISE * (2 * draw("effort", *job.keys) - 1)))
    wave_s = usual_wave_s(engine, len(wave)) * np.mean(efforts)
    wave_s *= 1 + DRIFT * (2 * draw(engine.seed, engine.api, engine.n_begun // DRIFT_REQUESTS) - 1)
    wave_s *= np.prod([f.amount for f in engine.faults if f.name == "slow" and engine.in_flight >= f.at])
    engine.n_begun += len(wave)
    engine.end = start + wave_s
    arrived, longest = max(job.arrived for job in wave), max(len(job.own) for job in wave)
    end = max(engine.end, arrived + LEAST_SHARE * wave_s)
    for job in wave:
        answer(engine, job)
        job.start, job.first = max(start, job.arrived), max(first, job.arrived)
        job.end = job.first + max(0.0, end - job.first) * len(job.own) / longest
        job.planned.set()
    return end


def answer(engine: Engine, job: Job) -> None:
    """Set the request's answer: its own, or what was planted in its place."""
    fault = planted(engine.faults, f"{TEXT_FAULTS} {BROKEN}", engine.in_flight, *job.keys)
    others = [other.own for other in engine.wave if other is not job]
    text, first_said = job.own, engine.first_said.setdefault(job.prompt, job.own)
    if fault == "swap" and others:
        text = others[int(draw("donor", *job.keys) * len(others))]
    elif fault == "stale" and engine.given_up:
        text = engine.given_up.pop(0)
    elif fault == "replay":
        text = first_said
    elif fault == "duplicate":
        text = say(NOTHING, job.prompt, None)
    job.tokens = TOKEN.findall(text)
    if fault in BROKEN.split():
        job.tokens = job.tokens[: 0 if fault == "empty" else len(job.tokens) // 2]
        job.ending = {"empty": "stop", "truncate": "length"}.get(fault, fault)
    if len(job.tokens) > job.max_tokens:
        job.tokens, job.ending = job.tokens[: job.max_tokens], "length"

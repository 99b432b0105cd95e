"""One simulated server's state: requests admitted, texts chosen, faults planted, all recorded."""

import asyncio
import io
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from PIL import Image, UnidentifiedImageError

from poc_lib.simulator.answers import Answer, made_up_answer
from poc_lib.simulator.engine import Engine, Job, abort_job, in_flight, submit_job
from poc_lib.simulator.exchanges import Exchange, Planted, Prompt
from poc_lib.simulator.faults import REFUSALS, Fault, active_fault, draw_faults
from poc_lib.simulator.texts import Surroundings, leak_into, write_text
from poc_lib.simulator.timing import Timing, image_tokens, jittered, prefill_seconds

CHARS_PER_TOKEN = 4
STALL_S = 3600.0
SIMPLE_EXTRA_TOKENS = 2  # simple mode counts its flush and its end among a stream's output tokens


@dataclass(slots=True, eq=False)
class Server:
    """Everything one simulated server holds."""

    api: str
    model: str
    answers: Mapping[str, Answer]
    seed: int
    faults: tuple[Fault, ...]
    simple: bool
    engine: Engine
    started_at: float  # Unix time
    counts: Counter = field(default_factory=Counter)
    rows: list[Planted] = field(default_factory=list)
    active: dict[int, Exchange] = field(default_factory=dict)  # by request number
    first_answers: dict[str, Answer] = field(default_factory=dict)  # by the prompt's text
    results: Counter = field(default_factory=Counter)  # requests by (result, streamed)
    answered_tokens: Counter = field(default_factory=Counter)  # by ("prompt" | "completion", streamed)
    seen_images: Counter = field(default_factory=Counter)  # by hash, since the caches were cleared
    asked_plainly: set[tuple[str, str]] = field(default_factory=set)  # simple mode: no stream can follow
    ttfts_s: list[float] = field(default_factory=list)  # of streamed answers, from arrival in the engine
    n_events: int = 0


def new_server(
    api: str,
    model: str,
    answers: Mapping[str, Answer],
    timing: Timing,
    *,
    seed: int,
    faults: tuple[Fault, ...],
    simple: bool,
    max_batch: int,
    started_at: float,
) -> Server:
    """A server that has answered nothing yet; must be called inside the event loop that will run it."""
    batched = api == "openai" and not simple
    server = Server(
        api=api,
        model=model,
        answers=answers,
        seed=seed,
        faults=faults,
        simple=simple,
        started_at=started_at,
        engine=Engine(
            timing=timing,
            max_batch=max_batch if batched else 1,
            blocks_while_prefilling=batched,
            on_start=lambda job, in_flight: _start(server, server.active[job.number], in_flight),
            on_end=lambda job: _note_end(server, server.active[job.number]),
            jitter=random.Random(seed),
        ),
    )
    return server


def image_size_px(data: bytes) -> tuple[int, int] | None:
    """Width and height of an encoded image; None where the bytes are no image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.size
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return None


def admit(server: Server, prompt: Prompt) -> Exchange:
    """Number a request, draw its faults and prepare its job; nothing is queued yet."""
    sha256 = prompt.sha256
    count = server.counts[sha256]
    server.counts[sha256] += 1
    answer = server.answers.get(sha256) or made_up_answer(sha256)
    timing = server.engine.timing
    row = Planted(request=len(server.rows) + 1, sha256=sha256, frame_id=answer.frame_id)
    row.arrived = next_event(server)
    server.rows.append(row)
    job = Job(
        number=row.request,
        prefill_s=jittered(
            prefill_seconds(timing, list(prompt.sizes_px)), timing, server.seed, sha256, count
        ),
        max_tokens=prompt.max_tokens,
        prompt_tokens=_prompt_tokens(prompt),
    )
    drawn = draw_faults(server.faults, server.seed, sha256, count)
    return Exchange(prompt, answer, sha256, count, drawn, row, job)


def planted_refusal(server: Server, exchange: Exchange, n_in_flight: int) -> str | None:
    """The refusal drawn for a request that has just arrived, written into its row."""
    fault = active_fault(exchange.drawn, REFUSALS, n_in_flight)
    if fault:
        exchange.row.fault, exchange.row.in_flight = fault, n_in_flight
        exchange.row.ended = next_event(server)
    return fault


def enter(server: Server, exchange: Exchange) -> None:
    """Hand a request to the engine."""
    server.active[exchange.job.number] = exchange
    submit_job(server.engine, exchange.job)


def leave(server: Server, exchange: Exchange) -> None:
    """Let go of a request: at once when it has ended, a little later when its client went away before."""
    if exchange.job.finished:
        _forget(server, exchange)
    else:
        n_in_flight = in_flight(server.engine)
        for other in list(server.active.values()):
            if other is not exchange and not other.job.aborted:
                leak_into(other, exchange, n_in_flight, Surroundings(server.api, server.seed))
        delay_s = server.engine.timing.abort_s
        asyncio.get_running_loop().call_later(delay_s, _forget, server, exchange)


def note_result(server: Server, exchange: Exchange, result: str, *, stream: bool) -> None:
    """Count how a request ended, and the tokens of those that ended well or were given up while answered."""
    server.results[result, stream] += 1
    job = exchange.job
    if result == "success" or (result == "cancelled" and job.output_tokens):
        server.answered_tokens["prompt", stream] += job.prompt_tokens
        server.answered_tokens["completion", stream] += counted_tokens(server, job, stream=stream)
    if server.simple and result == "success" and not stream and exchange.prompt.images:
        server.asked_plainly.add(exchange.asked)
    if stream and job.decode_from:
        server.ttfts_s.append(job.decode_from - job.arrived)


def counted_tokens(server: Server, job: Job, *, stream: bool) -> int:
    """The output tokens that usage and counters name for a request."""
    return job.output_tokens + SIMPLE_EXTRA_TOKENS * (server.simple and stream and job.finished)


def next_event(server: Server) -> int:
    """The next place in the sequence of arrivals, starts and ends."""
    server.n_events += 1
    return server.n_events


def planted_rows(server: Server) -> list[dict]:
    """All chat requests so far, in order of arrival."""
    return [asdict(row) for row in server.rows]


def _forget(server: Server, exchange: Exchange) -> None:
    abort_job(server.engine, exchange.job)
    if server.active.pop(exchange.job.number, None):
        _note_end(server, exchange)


def _note_end(server: Server, exchange: Exchange) -> None:
    exchange.row.ended = exchange.row.ended or next_event(server)


def _start(server: Server, exchange: Exchange, n_in_flight: int) -> None:
    row = exchange.row
    server.seen_images[exchange.sha256] += bool(exchange.prompt.images)
    row.started, row.wave, row.in_flight = next_event(server), server.engine.totals.waves, n_in_flight
    first = server.first_answers.setdefault(exchange.prompt.text, exchange.answer)
    others = [other.answer for other in server.active.values()]
    # A server can only confuse images that it was sent.
    sent = [server.answers[sha256] for sha256 in server.counts if sha256 in server.answers]
    write_text(exchange, Surroundings(server.api, server.seed, first, others, sent), n_in_flight)


def _prompt_tokens(prompt: Prompt) -> int:
    text_tokens = -(-len(prompt.text) // CHARS_PER_TOKEN)
    return text_tokens + sum(image_tokens(width, height) for width, height in prompt.sizes_px)


async def wait_for_pieces(job: Job, n_seen: int, timeout_s: float) -> bool:
    """Wait for text beyond ``n_seen`` pieces or for the job's end; False when the time has passed first."""
    while job.n_sent <= n_seen and not job.finished:
        job.wake.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await job.wake.wait()
        except TimeoutError:
            return False
    return True

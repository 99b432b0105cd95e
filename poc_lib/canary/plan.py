"""Which frames a canary cell sends, and which of its requests the client gives up. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from poc_lib.canary.codes import is_canary
from poc_lib.records import Frame

ABORTED_SHARE = 3  # one request in so many is given up
BEFORE_FIRST_SHARE = 3  # of these, one in so many by the clock, most likely before its first token
MAX_CHUNKS = 5


@dataclass(frozen=True, slots=True)
class GivingUp:
    """When the client gives up one request; exactly one of the two is set."""

    after_chunks: int | None = None  # chunks of text or thinking
    after_s: float | None = None  # seconds from sending


def canary_plan(
    frames: Sequence[Frame], canaries: Sequence[Frame], concurrency: int, seed: int
) -> list[Frame]:
    """The frames of one canary cell in sending order: all canaries, spread evenly among real frames.

    There are about as many real frames as canaries, and more where two rounds of ``concurrency`` requests
    need them; fewer where there are no more. The first is a canary, so that a cache that answers every
    request with its first image gives a code away. The same arguments give the same plan, for every server.
    """
    pick = random.Random(f"canary plan {seed} {concurrency}")
    n_real = min(len(frames), max(len(canaries), 2 * concurrency - len(canaries)))
    real = pick.sample(list(frames), n_real)
    marked = pick.sample(list(canaries), len(canaries))
    if not marked:
        return []
    places = {(i * (n_real + len(marked))) // len(marked) for i in range(len(marked))}
    return [(marked if place in places else real).pop() for place in range(n_real + len(marked))]


def aborted_ids(plan: Sequence[Frame], seed: int, before_first_s: float = 0.3) -> dict[str, GivingUp]:
    """The requests that the client gives up, about every third, by frame id.

    A third of the canaries and a third of the real frames, each drawn from a run of about three. Most are
    given up after their first 1 to 5 chunks, every third one ``before_first_s`` seconds after sending.
    """
    pick = random.Random(f"canary aborts {seed}")
    marked = [frame.frame_id for frame in plan if is_canary(frame.frame_id)]
    real = [frame.frame_id for frame in plan if not is_canary(frame.frame_id)]
    chosen = {pick.choice(three) for ids in (marked, real) for three in _in_threes(ids)}
    in_order = [frame.frame_id for frame in plan if frame.frame_id in chosen]
    return {
        frame_id: GivingUp(after_s=before_first_s)
        if i % BEFORE_FIRST_SHARE == BEFORE_FIRST_SHARE - 1
        else GivingUp(after_chunks=pick.randint(1, MAX_CHUNKS))
        for i, frame_id in enumerate(in_order)
    }


def _in_threes(ids: Sequence[str]) -> list[Sequence[str]]:
    """The ids in runs of about three; a single one is left alone, so that somebody is answered."""
    n_runs = max(1, round(len(ids) / ABORTED_SHARE)) if len(ids) > 1 else 0
    ends = [round(len(ids) * i / n_runs) for i in range(n_runs + 1)] if n_runs else [0]
    return [ids[start:end] for start, end in pairwise(ends)]

"""How long the simulated servers take: the whole model in one dataclass, and a clock that does not drift."""

import asyncio
import hashlib
from dataclasses import dataclass, replace

REFERENCE_PIXELS = 1024 * 576
IMAGE_TOKEN_SIDE_PX = 32
HEARTBEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Timing:
    """The seconds a simulated server spends; every one of them has been divided by the simulator's speed.

    A request's prefill takes ``prefill_s`` for each image, scaled by the image's pixels relative to
    1024 × 576, plus ``text_prefill_s``. One decode step of a wave with n members takes
    ``step_base_s + n × step_member_s`` and gives each member one token. The first request also loads the
    model. Loosely a laptop's shape (prefill serial, decode cheaper per token in a batch), sped up so that a
    demo is quick; not a measurement.
    """

    prefill_s: float  # one image of 1024 × 576 pixels
    text_prefill_s: float  # the text part of any prompt
    step_base_s: float  # a decode step, whatever the batch
    step_member_s: float  # added to a decode step for each request in the wave
    load_s: float = 0.0  # loading the model, once
    warm_load_s: float = 0.0  # what "loading" takes when the model is loaded already
    poll_s: float = 0.0  # how long an idle engine sleeps before it looks for work
    abort_s: float = 0.0  # how long the engine goes on with a request after its client went away
    jitter: float = 0.03  # largest relative deviation, drawn by seed


VLLM_MLX = Timing(
    prefill_s=0.15,
    text_prefill_s=0.01,
    step_base_s=0.006,
    step_member_s=0.0008,
    poll_s=0.01,
    abort_s=0.75,
)
OLLAMA = Timing(
    prefill_s=0.30,
    text_prefill_s=0.02,
    step_base_s=0.011,
    step_member_s=0.0,
    load_s=1.2,
    warm_load_s=0.01,
)
TIMINGS = {"openai": VLLM_MLX, "ollama": OLLAMA}


def timing_at_speed(timing: Timing, speed: float) -> Timing:
    """The same model ``speed`` times faster; the relative jitter stays."""
    return replace(
        timing,
        prefill_s=timing.prefill_s / speed,
        text_prefill_s=timing.text_prefill_s / speed,
        step_base_s=timing.step_base_s / speed,
        step_member_s=timing.step_member_s / speed,
        load_s=timing.load_s / speed,
        warm_load_s=timing.warm_load_s / speed,
        poll_s=timing.poll_s / speed,
        abort_s=timing.abort_s / speed,
    )


def prefill_seconds(timing: Timing, sizes_px: list[tuple[int, int]]) -> float:
    """Seconds to prefill a prompt with images of these (width, height), without jitter."""
    pixels = sum(width * height for width, height in sizes_px)
    return timing.text_prefill_s + timing.prefill_s * pixels / REFERENCE_PIXELS


def step_seconds(timing: Timing, n_members: int) -> float:
    """Seconds of one decode step of a wave with ``n_members`` requests, without jitter."""
    return timing.step_base_s + n_members * timing.step_member_s


def image_tokens(width: int, height: int) -> int:
    """Prompt tokens of one image, one per started 32 × 32 pixels, as Qwen3-VL counts them."""
    return -(-width // IMAGE_TOKEN_SIDE_PX) * -(-height // IMAGE_TOKEN_SIDE_PX)


def draw(*keys: object) -> float:
    """A number in [0, 1) that depends on nothing but the keys."""
    digest = hashlib.blake2b("\x1f".join(map(str, keys)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def jittered(seconds: float, timing: Timing, *keys: object) -> float:
    """``seconds`` changed by at most the model's relative jitter, always alike for the same keys."""
    return seconds * (1 + timing.jitter * (2 * draw("jitter", *keys) - 1))


async def sleep_until(deadline: float) -> None:
    """Sleep until the event loop's monotonic clock shows ``deadline``; only yield when that has passed."""
    left = deadline - asyncio.get_running_loop().time()
    await asyncio.sleep(max(0.0, left))

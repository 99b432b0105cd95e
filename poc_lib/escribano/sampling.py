"""Counting what can be used, and choosing the frames that are sent."""

import random
from collections import Counter

from poc_lib.errors import SetupProblem
from poc_lib.records import Frame


def count_frames(frames: list[Frame]) -> dict[str, int]:
    """How many frames there are and why some cannot be used, in the order in which a table shows it."""
    counts = {
        "frames": len(frames),
        "usable (image and reference)": sum(_is_usable(frame) for frame in frames),
        "images that can be sent": sum(frame.image_problem is None for frame in frames),
        "recovered from the video": sum(frame.recovered for frame in frames),
        "usable references": sum(frame.reference is not None for frame in frames),
    }
    counts |= _reasons("image: ", (frame.image_problem for frame in frames))
    counts |= _reasons("no reference: ", (frame.reference_problem for frame in frames))
    return counts


def sample_frames(frames: list[Frame], n_frames: int, sample: str, seed: int) -> list[Frame]:
    """At most ``n_frames`` frames in time order whose image can be sent, with a reference where any has one.

    "even": nearest to evenly spaced moments from the first to the last frame; "random": drawn by ``seed``.

    Raises:
        SetupProblem: no frame's image can be sent; the message counts the reasons.
    """
    pool = _pool(frames)
    if len(pool) <= n_frames:
        return pool
    if sample == "random":
        return sorted(random.Random(seed).sample(pool, n_frames), key=_time)
    return [pool[index] for index in _even_indices([frame.timestamp_s for frame in pool], n_frames)]


def _pool(frames: list[Frame]) -> list[Frame]:
    sendable = sorted((frame for frame in frames if frame.image_problem is None), key=_time)
    if not sendable:
        counts = count_frames(frames)
        why = "; ".join(f"{n} × {what}" for what, n in counts.items() if what.startswith("image: "))
        raise SetupProblem(
            f"none of {len(frames)} frames has an image that can be sent ({why or 'no frames'}): the system "
            "purges old frames, so choose a newer recording or one whose video still exists"
        )
    return [frame for frame in sendable if frame.reference is not None] or sendable


def _even_indices(times_s: list[float], n: int) -> list[int]:
    """Indices of ``n`` different entries nearest to evenly spaced moments; ``times_s`` ascends, n < len."""
    first, last = times_s[0], times_s[-1]
    step = (last - first) / (n - 1) if n > 1 else 0.0
    chosen: list[int] = []
    for i in range(n):
        target = first + i * step if n > 1 else (first + last) / 2
        low = chosen[-1] + 1 if chosen else 0
        high = len(times_s) - (n - i)  # leave enough entries for the moments that follow
        chosen.append(min(range(low, high + 1), key=lambda index: (abs(times_s[index] - target), index)))
    return chosen


def _is_usable(frame: Frame) -> bool:
    return frame.image_problem is None and frame.reference is not None


def _time(frame: Frame) -> tuple[float, str]:
    return frame.timestamp_s, frame.frame_id


def _reasons(prefix: str, problems) -> dict[str, int]:
    # A problem may go on after a semicolon with what was tried; rows are counted by its first part.
    counted = Counter(problem.partition(";")[0] for problem in problems if problem is not None)
    return {prefix + problem: n for problem, n in counted.most_common()}

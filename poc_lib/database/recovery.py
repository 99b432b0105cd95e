"""Choosing the sample, and cutting its missing images again from the recording's video."""

import hashlib
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from poc_lib.images import look_at_image
from poc_lib.records import Frame, SetupProblem
from poc_lib.text import one_line

UNKNOWN = "its id or its timestamp cannot be read"
WIDTH = 1024  # pixels, as the app stores its own frames
QUALITY = 92
TIME_TOLERANCE_S = 0.005  # a picture that starts so much before a moment counts as the one at it
BEYOND_END_S = 2.0  # a moment further behind the last picture belongs to another or a cut video
SEEK_BEYOND_S = 4.0  # decoding on is cheaper than seeking when the next moment is nearer

Frames = list[Frame]


def draw_sample(frames: Frames, n: int, video: Path | None, folder: Path | None) -> tuple[Frames, ...]:
    """At most ``n`` frames, spread over time, with decoded images and labels; all usable frames; the others.

    ``frames`` are in time order. Where there is a ``video``, missing images are cut from it into ``folder``.
    """
    hopeless = {f.image_problem for f in frames if video is None or f.image_problem == UNKNOWN} - {None}
    candidates = {f.frame_id: f for f in frames if f.image_problem not in hopeless}
    lost = [f for f in frames if f.frame_id not in candidates]
    tried = set()
    while True:
        usable = [f for f in candidates.values() if f.reference] or list(candidates.values())
        sample = [usable[i] for i in spread([f.timestamp_s for f in usable], n)]
        unseen = [f for f in sample if f.look is None]
        if not unseen:
            break
        broken = [f for f in unseen if f.image_problem]
        tried |= {f.frame_id for f in broken}
        unseen = [f for f in unseen if not f.image_problem] + recover_images(broken, video, folder)
        with ThreadPoolExecutor() as threads:
            seen = list(threads.map(lambda frame: look_at_image(frame, whole=True), unseen))
        for frame in seen:
            candidates[frame.frame_id] = frame
            if frame.image_problem and (video is None or frame.frame_id in tried):
                lost.append(candidates.pop(frame.frame_id))
    if usable and usable[0].reference:
        lost += [f for f in candidates.values() if not f.reference]
    for i, frame in enumerate(sample):
        clock = "{:02d}:{:02d}".format(*divmod(int(frame.timestamp_s), 60))
        if frame.recording_id is None:
            clock = f"{datetime.fromtimestamp(frame.timestamp_s, UTC).astimezone():%H:%M}"
        sample[i] = replace(frame, label=f"frame {i + 1} · {clock}")
    return sample, usable, lost


def spread(times_s: Sequence[float], n: int) -> list[int]:
    """Indices of ``n`` (or all) of the ascending times, as far apart as ``n`` of them can be."""
    if len(times_s) <= n:
        return list(range(len(times_s)))

    def apart(distance_s: float) -> list[int]:
        chosen, index = [], 0
        while index < len(times_s):
            chosen.append(index)
            index = max(index + 1, bisect_left(times_s, times_s[index] + distance_s))
        return chosen

    low, high = 0.0, times_s[-1] - times_s[0]
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if len(apart(middle)) >= n else (low, middle)
    chosen = apart(low)  # more than n where many are equally far apart
    return [chosen[round(i * (len(chosen) - 1) / max(n - 1, 1))] for i in range(n)]


def recover_images(frames: Frames, video: Path | None, folder: Path | None) -> Frames:
    """The frames, in time order, with pictures from the video as JPEG files in ``folder``, or with why not.

    The picture is the first at or after the timestamp, as the app's own extraction takes it. Files are named
    by a hash; what is in ``folder`` already is not cut again. Raises SetupProblem if that cannot be written.
    """
    if not frames:
        return []
    import av  # takes a while to import, and most runs recover nothing

    origins = [f"{video}\0{frame.recording_id}\0{frame.frame_id}\0{frame.timestamp_s}" for frame in frames]
    targets = [
        folder.absolute() / f"{hashlib.sha256(origin.encode()).hexdigest()[:16]}.jpg" for origin in origins
    ]
    why = "its video has no picture of this moment"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wanted = [(frame.timestamp_s, t) for frame, t in zip(frames, targets, strict=True) if not t.exists()]
        with av.open(str(video)) as container:
            for target, picture in _pictures_at(container, wanted) if container.streams.video else ():
                image = picture.to_image()
                image.thumbnail((WIDTH, image.height), Image.Resampling.LANCZOS)
                # A killed run must not leave half a picture under the final name.
                image.save(target.with_suffix(".part"), format="JPEG", quality=QUALITY)
                target.with_suffix(".part").replace(target)
    except (av.FFmpegError, OverflowError) as error:
        why = f"its video cannot be decoded ({one_line(getattr(error, 'strerror', None) or error, 60)})"
    except OSError as error:
        raise SetupProblem(f"recovered images cannot be written: {one_line(error)}") from None
    return [
        replace(frame, image_path=target, image_problem=None, recovered=True)
        if target.exists()
        else replace(frame, image_problem=f"{frame.image_problem}, and {why}")
        for frame, target in zip(frames, targets, strict=True)
    ]


def _pictures_at(container: Any, wanted: Sequence[tuple[float, Path]]) -> Iterator[tuple[Path, Any]]:
    """Each target with the first picture at or after its moment, or the last one just before the end."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    position_s, pictures, shown = -math.inf, iter(()), None
    for timestamp_s, target in wanted:
        moment_s = timestamp_s + float((stream.start_time or 0) * stream.time_base)
        if moment_s - position_s > SEEK_BEYOND_S:
            container.seek(int(moment_s / stream.time_base), stream=stream)
            pictures = (picture for picture in container.decode(stream) if picture.time is not None)
            shown = next(pictures, None)
        while shown and shown.time < moment_s - TIME_TOLERANCE_S and (following := next(pictures, None)):
            shown = following
        if shown is None or shown.time < moment_s - BEYOND_END_S:
            return
        position_s = shown.time
        yield target, shown

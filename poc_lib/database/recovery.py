"""Choosing the sample, and cutting its missing images again from the recording's video."""

import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from poc_lib.images import look_at_image
from poc_lib.records import Frame, SetupProblem
from poc_lib.text import one_line

MISSING = "image missing"
WIDTH, QUALITY = 1024, 92  # pixels, as the app stores its own frames; of the JPEG
TIME_TOLERANCE_S = 0.005  # a picture that starts so much before a moment counts as the one at it
BEYOND_END_S = 2.0  # a moment further behind the last picture belongs to another or a cut video
Frames = list[Frame]


def draw_sample(frames: Frames, n: int, video: Path | None, folder: Path | None) -> tuple[Frames, ...]:
    """At most ``n`` frames, evenly spread, with decoded images and labels; all usable frames; the others.

    ``frames`` are in time order. Where there is a ``video``, missing images are cut from it into ``folder``.
    """
    usable_problems = {None, MISSING} if video else {None}
    lost = [f for f in frames if f.image_problem not in usable_problems]
    pool = {f.frame_id: f for f in frames if f.image_problem in usable_problems}
    while True:
        usable = [f for f in pool.values() if f.reference] or list(pool.values())
        k = min(n, len(usable))
        sample = [usable[round(i * (len(usable) - 1) / max(k - 1, 1))] for i in range(k)]
        unseen = [f for f in sample if f.look is None]
        if not unseen:
            break
        unseen = recover_images(unseen, video, folder) if video else unseen
        with ThreadPoolExecutor() as threads:
            for frame in threads.map(look_at_image, unseen):
                pool[frame.frame_id] = frame
                if frame.image_problem:
                    lost.append(pool.pop(frame.frame_id))
    if usable and usable[0].reference:
        lost += [f for f in pool.values() if not f.reference]
    for i, frame in enumerate(sample):
        clock = "{:02d}:{:02d}".format(*divmod(int(frame.timestamp_s), 60))
        if frame.recording_id is None:
            clock = f"{datetime.fromtimestamp(frame.timestamp_s, UTC).astimezone():%H:%M}"
        sample[i] = replace(frame, label=f"frame {i + 1} · {clock}")
    return sample, usable, lost


def recover_images(frames: Frames, video: Path, folder: Path) -> Frames:
    """The frames, missing images cut from the video as JPEG files in ``folder``, or with why not.

    The picture is the first at or after the timestamp, as the app's own extraction takes it, or the last one
    just before the end. Files are named by a hash. Raises SetupProblem if the folder cannot be written.
    """
    missing = {frame.frame_id: frame for frame in frames if frame.image_problem}
    if not missing:
        return frames
    import av  # takes a while to import, and most runs recover nothing

    cut, why = {}, "its video has no picture of this moment"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with av.open(str(video)) as container:
            for stream, frame in itertools.product(container.streams.video[:1], missing.values()):
                moment_s = frame.timestamp_s + float((stream.start_time or 0) * stream.time_base)
                container.seek(int(moment_s / stream.time_base), stream=stream)
                picture = None
                for shown in container.decode(stream):
                    picture = shown if shown.time is not None else picture
                    if picture and picture.time >= moment_s - TIME_TOLERANCE_S:
                        break
                if picture is None or picture.time < moment_s - BEYOND_END_S:
                    continue
                origin = f"{video}\0{frame.recording_id}\0{frame.frame_id}\0{frame.timestamp_s}"
                path = folder.absolute() / f"{hashlib.sha256(origin.encode()).hexdigest()[:16]}.jpg"
                image = picture.to_image()
                image.thumbnail((WIDTH, image.height), Image.Resampling.LANCZOS)
                image.save(path, quality=QUALITY)
                cut[frame.frame_id] = replace(frame, image_path=path, image_problem=None, recovered=True)
    except (av.FFmpegError, OverflowError) as error:
        why = f"its video cannot be decoded ({one_line(getattr(error, 'strerror', None) or error, 60)})"
    except OSError as error:
        raise SetupProblem(f"recovered images cannot be written: {one_line(error)}") from None
    missing = {name: replace(f, image_problem=f"{MISSING}, and {why}") for name, f in missing.items()} | cut
    return [missing.get(frame.frame_id, frame) for frame in frames]

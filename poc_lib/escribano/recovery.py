"""Cutting missing frames again from the recording's video, into a folder of our own."""

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from poc_lib.errors import SetupProblem
from poc_lib.escribano.images import check_image
from poc_lib.escribano.opening import open_database
from poc_lib.escribano.schema import check_schema, select_list
from poc_lib.records import Frame

JPEG_QUALITY = 92
# A frame counts as the one at a timestamp when it starts up to this much earlier: rounding of the time base.
TIME_TOLERANCE_S = 0.005
# A timestamp further behind the last picture than this belongs to another or a cut video.
BEYOND_END_S = 2.0
# Decoding on is cheaper than seeking when the next frame is this near.
SEEK_BEYOND_S = 4.0


def recover_images(frames: list[Frame], database: Path, folder: Path, width: int) -> list[Frame]:
    """The same frames; those without an image cut from their recording's video as JPEG into ``folder``.

    The picture is the first one at or after the frame's timestamp, as the app's own extraction takes it,
    scaled to ``width`` pixels (never enlarged). What is already in ``folder`` is not cut again. A frame that
    cannot be recovered keeps its problem, followed by why.

    Raises:
        SetupProblem: ``folder`` is one of Escribano's, or the database cannot be read.
    """
    missing = [frame for frame in frames if frame.image_problem is not None]
    if not missing:
        return list(frames)
    _check_folder(folder, database, frames)
    videos = _read_video_paths(database)
    by_video: dict[Path, list[Frame]] = defaultdict(list)
    recovered: dict[str, Frame] = {}
    for frame in missing:
        video, why = _video_of(frame, videos)
        if video is None:
            recovered[frame.frame_id] = _unrecovered(frame, why)
        else:
            by_video[video].append(frame)
    for video, wanted in by_video.items():
        recovered |= {frame.frame_id: frame for frame in _recover_from(video, wanted, folder, width)}
    return [recovered.get(frame.frame_id, frame) for frame in frames]


def _recover_from(video: Path, frames: list[Frame], folder: Path, width: int) -> Iterator[Frame]:
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[str, Path] = {frame.frame_id: folder / _file_name(frame, width) for frame in frames}
    open_frames = sorted(
        (frame for frame in frames if check_image(wanted[frame.frame_id])[2] is not None),
        key=lambda frame: frame.timestamp_s,
    )
    problems = _cut_frames(video, open_frames, wanted, width) if open_frames else {}
    for frame in frames:
        why = problems.get(frame.frame_id)
        yield _unrecovered(frame, why) if why else _recovered(frame, wanted[frame.frame_id])


def _cut_frames(video: Path, frames: list[Frame], targets: dict[str, Path], width: int) -> dict[str, str]:
    """Write each frame's picture; returns why not, by frame id. ``frames`` are in time order."""
    import av  # takes a while to import, and most runs recover nothing

    written: set[str] = set()
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                return dict.fromkeys(targets, f"its video {video} has no picture")
            for frame, picture in _pictures_at(container, frames):
                _save_picture(picture, targets[frame.frame_id], width)
                written.add(frame.frame_id)
    except av.FFmpegError as error:
        why = f"its video {video} cannot be decoded ({error.strerror or error})"
        return {frame.frame_id: why for frame in frames if frame.frame_id not in written}
    why = f"its video {video} ends before this moment"
    return {frame.frame_id: why for frame in frames if frame.frame_id not in written}


def _pictures_at(container: Any, frames: list[Frame]) -> Iterator[tuple[Frame, Any]]:
    """Each frame with the first picture at or after its timestamp, or the last one just before the end."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    start_s = float((stream.start_time or 0) * stream.time_base)
    position_s, pictures, shown = None, iter(()), None
    for frame in frames:
        moment_s = start_s + frame.timestamp_s
        if position_s is None or moment_s - position_s > SEEK_BEYOND_S:
            container.seek(int(moment_s / stream.time_base), stream=stream)
            pictures, shown = container.decode(stream), None
        while shown is None or shown.time < moment_s - TIME_TOLERANCE_S:
            following = next(pictures, None)
            if following is None:
                break
            shown = following
        if shown is None or shown.time < moment_s - BEYOND_END_S:
            return
        position_s = shown.time
        yield frame, shown


def _save_picture(picture: Any, target: Path, width: int) -> None:
    from PIL import Image

    image = picture.to_image()
    if image.width > width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    # A killed run must not leave half a picture under the final name.
    part = target.with_suffix(".part")
    image.save(part, format="JPEG", quality=JPEG_QUALITY)
    part.replace(target)


def _recovered(frame: Frame, path: Path) -> Frame:
    width, height, problem = check_image(path)
    return replace(
        frame,
        image_path=path,
        width=width,
        height=height,
        image_problem=problem,
        recovered=problem is None,
    )


def _unrecovered(frame: Frame, why: str) -> Frame:
    return replace(frame, image_problem=f"{frame.image_problem}; {why}")


def _video_of(frame: Frame, videos: dict[str, Path | None]) -> tuple[Path | None, str]:
    """The frame's video if it exists, and otherwise why not."""
    if frame.recording_id is None:
        return None, "the always-on recorder keeps no video"
    video = videos.get(frame.recording_id)
    if video is None:
        return None, "its recording names no video"
    if not video.is_file():
        return None, f"its video {video} is missing too"
    return video, ""


def _read_video_paths(database: Path) -> dict[str, Path | None]:
    with open_database(database) as connection:
        check_schema(connection, database)
        columns = select_list(connection, "recordings", "r", ("id", "video_path"))
        rows = connection.execute(f"SELECT {columns} FROM recordings r").fetchall()
    return {row["id"]: Path(row["video_path"]).expanduser() if row["video_path"] else None for row in rows}


def _check_folder(folder: Path, database: Path, frames: list[Frame]) -> None:
    """Refuse to write among the app's own files."""
    target = folder.expanduser().resolve()
    own = {Path("~/.escribano").expanduser().resolve(), database.expanduser().resolve().parent}
    own |= {
        frame.image_path.resolve().parent for frame in frames if frame.image_path.name and not frame.recovered
    }
    inside_home = target.is_relative_to(Path("~/.escribano").expanduser().resolve())
    if target in own or inside_home:
        raise SetupProblem(f"{folder} belongs to Escribano: recovered images go into a folder of their own")


def _file_name(frame: Frame, width: int) -> str:
    """A safe name; the checksum keeps ids apart that differ only in what a file name cannot hold."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", frame.frame_id)[:60]
    return f"{readable}-{zlib.crc32(f'{frame.recording_id}/{frame.frame_id}'.encode()):08x}-{width}.jpg"

"""Are there frames to send, with images and references, and how fast was the app itself?"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from poc_lib.checks.check import Check, ok, warning
from poc_lib.escribano import PastSpeed
from poc_lib.records import Frame, Recording


def check_frames(
    sample: Sequence[Frame], every: Sequence[Frame], n_wanted: int, n_in_videos: int = 0
) -> list[Check]:
    """Frames, images and references of the chosen recording.

    Args:
        n_in_videos: how many of the frames that cannot be sent could be cut again from a video; only known
            when that has not been tried (recover_missing is off).
    """
    return [
        _check_count(sample, every, n_wanted),
        _check_images(every, n_in_videos),
        _check_references(every),
    ]


def count_in_videos(every: Iterable[Frame], recordings: Iterable[Recording]) -> int:
    """How many frames without a usable image belong to a recording whose video still exists."""
    videos = {recording.recording_id: recording.video_path for recording in recordings}
    lost = [frame for frame in every if frame.image_problem is not None]
    paths = [videos.get(frame.recording_id) for frame in lost]
    return sum(path is not None and path.expanduser().is_file() for path in paths)


def _check_count(sample: Sequence[Frame], every: Sequence[Frame], n_wanted: int) -> Check:
    found = f"{len(sample)} of {len(every)} frames chosen"
    if len(sample) < n_wanted:
        to_do = f"choose a longer recording, or set n_frames to {len(sample)}"
        return warning("frames", f"{found}, {n_wanted} wanted", to_do)
    return ok("frames", found)


def _check_images(every: Sequence[Frame], n_in_videos: int) -> Check:
    lost = [frame for frame in every if frame.image_problem is not None]
    n_recovered = sum(frame.recovered for frame in every)
    n_gone = len(lost) + n_recovered
    if not n_gone:
        return ok("images", f"all {len(every)} there")
    found = f"{n_gone} of {len(every)} are missing or broken"
    if n_in_videos:
        found += f": {n_in_videos} can be cut from the video"
        return warning("images", found, "set recover_missing to true")
    found += f": {n_recovered or 'none'} cut again from the video"
    if not lost:
        return ok("images", found)
    to_do = "go on with the others, or choose a recording whose video still exists"
    return warning("images", f"{found}, {len(lost)} lost ({_most_common(lost)})", to_do)


def _most_common(lost: Sequence[Frame]) -> str:
    """The most frequent reason; file names are left out, so that like reasons count together."""
    whole = (re.sub(r"\s/\S+", "", frame.image_problem or "") for frame in lost)
    reasons = Counter(problem.partition("; ")[2] or problem for problem in whole)  # why it stays lost
    reason, n = reasons.most_common(1)[0]
    return reason if n == len(lost) else f"{n} of them: {reason}"


def _check_references(every: Sequence[Frame]) -> Check:
    unusable = sum(frame.reference is None for frame in every)
    if not unusable:
        return ok("references", f"all {len(every)} usable")
    found = f"{unusable} of {len(every)} frames have no usable stored description"
    if unusable == len(every):
        to_do = "let Escribano process a recording; until then the servers can only be compared to each other"
        return warning("references", found, to_do)
    return ok("references", f"{found}; the others are chosen first")


def check_past_speed(past: Sequence[PastSpeed]) -> list[Check]:
    """What the app recorded about itself: its own seconds a frame."""
    if not past:
        return []
    newest = past[0]
    found = f"{newest.s_per_frame:.2f} s a frame over {newest.n_frames} frames"
    when = f"{newest.model or 'unknown model'}, {newest.started_at or 'unknown day'}"
    return [ok("what your app recorded", f"{found} ({when})")]

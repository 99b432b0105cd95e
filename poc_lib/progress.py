"""Show where a sweep stands: one display in a notebook, updated once a second, and progress.json."""

import html
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from IPython import get_ipython
from IPython.display import display

from poc_lib.benchmark import Progress
from poc_lib.runs import write_json

UPDATE_EVERY_S = 1.0


class _Shown:
    """A progress line as a notebook shows it, in HTML and in plain text."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def _repr_html_(self) -> str:
        share = self.progress.done / max(self.progress.total, 1)
        bar = (
            '<span style="display:inline-block;width:12em;height:.7em;border:1px solid #888;'
            f'background:linear-gradient(to right,#0072b2 {share:.1%},transparent {share:.1%})"></span>'
        )
        return f"{bar} {html.escape(describe_progress(self.progress))}"

    def __repr__(self) -> str:
        return describe_progress(self.progress)


def describe_progress(progress: Progress) -> str:
    """One line: how far, at what, how fast, how long still."""
    parts = [f"{progress.done}/{progress.total} requests", progress.doing]
    if progress.frames_per_s:
        parts.append(f"{progress.frames_per_s:.2f} frames/s")
    if progress.done == progress.total:
        parts.append(f"done in {describe_seconds(progress.elapsed_s)}")
    elif progress.left_s is not None:
        parts.append(f"about {describe_seconds(progress.left_s)} left at this pace")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    return " · ".join(parts)


def describe_seconds(seconds: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def notebook_progress(folder: Path) -> Callable[[Progress], None]:
    """A function that shows progress in the cell and keeps folder/progress.json, at most once a second."""
    handle = None
    if get_ipython() is not None:  # outside a notebook there is no display, only the file
        handle = display("starting …", display_id=True)
    last_shown = 0.0

    def show(progress: Progress) -> None:
        nonlocal last_shown
        now = time.monotonic()
        if now - last_shown < UPDATE_EVERY_S and progress.done < progress.total:
            return
        last_shown = now
        write_json(folder / "progress.json", asdict(progress))
        if handle is not None:
            handle.update(_Shown(progress))

    return show

"""Show where a run stands: one display in a notebook, and progress.json for terminals."""

import html
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from IPython import get_ipython
from IPython.display import display

UPDATE_EVERY_S = 1.0


@dataclass(slots=True)
class Standing:
    """Where a run stands; times in seconds."""

    doing: str  # "pilot: vllm-mlx, 4 in flight"
    done: int  # requests of this sitting
    fewest: int  # requests of this sitting if the first look decides; rises when it does not
    most: int  # requests of this sitting at most
    failed: int
    elapsed_s: float
    frames_per_s: float  # of the current cell
    left_s: float | None  # until `fewest`, at the pace of the requests so far; None: not known yet
    estimate: str = ""  # "after 5 blocks 2.41 × (2.20 to 2.66)": the running estimate, and what is open


class Shown:
    """A line as a notebook shows it, in HTML and plain: its text, after a bar where there is a share."""

    def __init__(self, text: str, share: float | None = None):
        self.text, self.share = text, share

    def _repr_html_(self) -> str:
        if self.share is None:
            return html.escape(self.text)
        bar = (
            '<span style="display:inline-block;width:12em;height:.7em;border:1px solid #888;'
            f'background:linear-gradient(to right,#0072b2 {self.share:.1%},transparent 0)"></span>'
        )
        return f"{bar} {html.escape(self.text)}"

    def __repr__(self) -> str:
        return self.text


def describe_standing(standing: Standing) -> str:
    """One line: how far, at what, how fast, how long still, and what the estimate says so far."""
    if standing.done >= standing.fewest:
        count = f"{standing.done} requests, at most {standing.most}"
    else:
        count = f"{standing.done} of at least {standing.fewest} requests"
    parts = [count, standing.doing]
    if standing.frames_per_s:
        parts.append(f"{standing.frames_per_s:.2f} frames/s")
    if standing.left_s:
        parts.append(f"at least {describe_seconds(standing.left_s)} left")
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    if standing.estimate:
        parts.append(standing.estimate)
    return " · ".join(parts)


def describe_seconds(seconds: float) -> str:
    """A duration for people: 42 s, 3 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def tell(line: str) -> None:
    """Show a line in the notebook's cell; nowhere outside a notebook."""
    if line and get_ipython() is not None:
        display(Shown(line))


def show_progress(folder: Path) -> Callable[[Standing], None]:
    """A function that shows a standing in the cell and in folder/progress.json, at most once a second."""
    handle = display(Shown("starting …", 0), display_id=True) if get_ipython() is not None else None
    last_shown_s = 0.0

    def show(standing: Standing, force: bool = False) -> None:
        nonlocal last_shown_s
        if not force and time.monotonic() - last_shown_s < UPDATE_EVERY_S:
            return
        last_shown_s = time.monotonic()
        with suppress(OSError):  # a full disk ends the run where a reply is written, not here
            partial = folder / "progress.json.partial"
            partial.write_bytes(orjson.dumps(asdict(standing)))
            partial.replace(folder / "progress.json")
        if handle is not None:
            share = standing.done / max(standing.fewest, standing.done, 1)
            handle.update(Shown(describe_standing(standing), share))

    return show

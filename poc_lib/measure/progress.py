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
BAR = (
    '<span style="display:inline-block;width:12em;height:.7em;border:1px solid #888;'
    'background:linear-gradient(to right,#0072b2 {:.1%},transparent 0)"></span> '
)


@dataclass(slots=True)
class Standing:
    """Where a run stands; times in seconds."""

    doing: str = "starting"  # "pilot: vllm-mlx, 4 in flight"
    done: int = 0  # requests of this sitting
    fewest: int = 0  # requests of this sitting if the first look decides; rises when it does not
    most: int = 0  # requests of this sitting at most
    failed: int = 0
    frames_per_s: float = 0.0  # of the current cell
    left_s: float | None = None  # until `fewest`, at the pace of the requests so far; None: not known yet
    estimate: str = ""  # "after 5 blocks: 2.41 × (2.20 to 2.66)": the running estimate, and what is open


def describe_standing(standing: Standing) -> str:
    """One line: how far, at what, how fast, how long still, and what the estimate says so far."""
    count = f"{standing.done} of at least {standing.fewest} requests"
    if standing.done >= standing.fewest:
        count = f"{standing.done} requests, at most {standing.most}"
    parts = [count, standing.doing]
    if standing.frames_per_s:
        parts.append(f"{standing.frames_per_s:.2f} frames/s")
    if standing.left_s:
        minutes, seconds = divmod(round(standing.left_s), 60)
        left = f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
        parts.append(f"at least {left} left")
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    return " · ".join([*parts, standing.estimate] if standing.estimate else parts)


def tell(line: str) -> None:
    """Show a line in the notebook's cell; nowhere outside a notebook."""
    if line and get_ipython() is not None:
        display({"text/plain": line, "text/html": html.escape(line)}, raw=True)


def show_progress(folder: Path) -> Callable[..., None]:
    """A function that shows a standing in the cell and in folder/progress.json, at most once a second."""
    handle = None
    if get_ipython() is not None:
        handle = display({"text/plain": "starting …"}, raw=True, display_id=True)
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
            line = describe_standing(standing)
            bar = BAR.format(standing.done / max(standing.fewest, standing.done, 1))
            handle.update({"text/plain": line, "text/html": bar + html.escape(line)}, raw=True)

    return show

"""What was in flight when: one line a request."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from poc_lib.figures.style import BLUE, INK, PANEL_WIDTH_IN, SKY, STYLE, VERMILLION, PocFigure, new_figure
from poc_lib.metrics import add_derived

ROW_IN = 0.16
MAX_HEIGHT_IN = 6.5
BAR = 0.72


@mpl.rc_context(STYLE)
def draw_timeline(requests: pd.DataFrame, server: str, concurrency: int, repeat: int = 0) -> PocFigure:
    """The requests of one cell over time: waiting for the first token, then decoding; failures marked.

    Args:
        requests: one row a reply (records.Reply).
        server, concurrency, repeat: the cell.
    """
    cell = _cell_on_one_clock(requests, server, concurrency, repeat)
    simulated = bool(cell["simulated"].any())
    n_failed = int((~cell["ok"]).sum())
    sittings = cell["sitting"].nunique()
    caption = f"n = {len(cell)} requests, {n_failed} failed, one line each in sending order."
    if sittings > 1:
        caption += f" Measured in {sittings} sittings, joined here without the time between them."
    height = min(MAX_HEIGHT_IN, 1.7 + ROW_IN * len(cell))
    title = f"Requests over time, {server} at {concurrency} in flight"
    figure, (axes,) = new_figure(title, caption, simulated, (PANEL_WIDTH_IN, height))
    _draw_requests(axes, cell)
    _label_axes(axes, cell, n_failed)
    return figure


def _cell_on_one_clock(requests: pd.DataFrame, server: str, concurrency: int, repeat: int) -> pd.DataFrame:
    """The cell's measured requests with ``from_s`` from its first request; sittings follow each other."""
    measured = add_derived(requests)
    chosen = (
        (measured["server"] == server)
        & (measured["concurrency"] == concurrency)
        & (measured["repeat"] == repeat)
    )
    offset_s, parts = 0.0, [measured[chosen].assign(from_s=0.0).iloc[:0]]
    for _, sitting in measured[chosen].groupby("sitting"):
        parts.append(sitting.assign(from_s=sitting["start_s"] - sitting["start_s"].min() + offset_s))
        offset_s += sitting["end_s"].max() - sitting["start_s"].min()
    return pd.concat(parts).sort_values("from_s", kind="stable").reset_index(drop=True)


def _draw_requests(axes: Axes, cell: pd.DataFrame) -> None:
    rows = np.arange(len(cell))
    total_s = cell["total_s"].to_numpy(dtype=float)
    first_s = pd.to_numeric(cell["ttft_s"]).fillna(cell["total_s"]).to_numpy(dtype=float)
    from_s, ok = cell["from_s"].to_numpy(dtype=float), cell["ok"].to_numpy(dtype=bool)
    axes.barh(rows[ok], first_s[ok], BAR, left=from_s[ok], color=SKY, alpha=0.45)
    axes.barh(rows[ok], (total_s - first_s)[ok], BAR, left=(from_s + first_s)[ok], color=BLUE)
    failed = ~ok
    axes.barh(
        rows[failed],
        total_s[failed],
        BAR,
        left=from_s[failed],
        color="none",
        edgecolor=VERMILLION,
        hatch="xxxx",
        linewidth=0.8,
    )
    axes.plot((from_s + total_s)[failed], rows[failed], "X", color=VERMILLION, markersize=6, zorder=4)


def _label_axes(axes: Axes, cell: pd.DataFrame, n_failed: int) -> None:
    axes.set_ylim(len(cell) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("time from the level's first request [s]")
    axes.set_ylabel("request [number, as sent]")
    step = max(1, round(len(cell) / 12))
    axes.set_yticks(range(0, len(cell), step), [str(i + 1) for i in range(0, len(cell), step)])
    handles = [
        Patch(facecolor=SKY, alpha=0.45, label="waiting for the first token"),
        Patch(facecolor=BLUE, label="decoding"),
    ]
    if n_failed:
        handles.append(Line2D([], [], color=VERMILLION, marker="X", linestyle="none", label="failed"))
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderpad=0.2, labelcolor=INK
    )

"""What was in flight when: one line a request, and below it how many of the slots were busy."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from poc_lib.figures.style import BLUE, INK, PANEL_WIDTH_IN, SKY, STYLE, VERMILLION, PocFigure, new_figure
from poc_lib.phases import add_phases, find_tail

ROW_IN, MIN_ROWS_IN, MAX_ROWS_IN = 0.13, 0.9, 4.2
SLOTS_IN, MARGINS_IN = 0.85, 1.75
BAR = 0.76
MANY_ROWS = 70  # above it, bars touch: gaps would be thinner than a pixel
SMALL = 0.01  # of the time shown: shorter parts are not named in the legend
WAITING, PREFILL = 0.2, 0.58  # how dense the light parts are; decoding is solid


@mpl.rc_context(STYLE)
def draw_timeline(requests: pd.DataFrame, server: str, concurrency: int, block: int = 0) -> PocFigure:
    """The requests of one cell over time, in the order of sending, above the number in flight.

    A request is light until its first token, dark while it decodes, and a thin line where its end was held
    back; where the server tells its prefill time, the wait before it is lighter still. Failures are hatched
    and crossed. The grey ground marks the tail: no request left to send for an empty slot.

    Args:
        requests: one row a reply (records.Reply).
        server, concurrency, block: the cell.
    """
    cell = _cell_on_one_clock(requests, server, concurrency, block)
    tail = _tail_of(cell, concurrency)
    title = f"Requests over time, {server} at {concurrency} in flight"
    rows_in = float(np.clip(ROW_IN * len(cell), MIN_ROWS_IN, MAX_ROWS_IN))
    size = (PANEL_WIDTH_IN, MARGINS_IN + rows_in + SLOTS_IN)
    figure, (whole,) = new_figure(title, _caption(cell, tail), bool(cell["simulated"].any()), size)
    whole.remove()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[rows_in, SLOTS_IN])
    for axes in (upper, lower):
        _shade_tail(axes, tail)
    parts = _draw_requests(upper, cell)
    _draw_slots(lower, cell, concurrency)
    _label_rows(upper, cell, parts, tail)
    _label_slots(lower, concurrency)
    lower.set_xlim(0, max(_ends(cell).max(initial=0.0), 1e-9) * 1.01)
    figure.draw_without_rendering()  # settles the two panels' layout: drawn twice, it is the same
    return figure


def _cell_on_one_clock(requests: pd.DataFrame, server: str, concurrency: int, block: int) -> pd.DataFrame:
    """The cell's measured requests with ``from_s`` from its first request; sittings follow each other."""
    measured = add_phases(requests)
    chosen = (
        (measured["server"] == server)
        & (measured["concurrency"] == concurrency)
        & (measured["block"] == block)
    )
    offset_s, parts = 0.0, [measured[chosen].assign(from_s=0.0).iloc[:0]]
    for _, sitting in measured[chosen].groupby("sitting"):
        parts.append(sitting.assign(from_s=sitting["start_s"] - sitting["start_s"].min() + offset_s))
        offset_s += sitting["end_s"].max() - sitting["start_s"].min()
    return pd.concat(parts).sort_values("from_s", kind="stable").reset_index(drop=True)


def _ends(cell: pd.DataFrame) -> np.ndarray:
    return (cell["from_s"] + cell["total_s"]).to_numpy(dtype=float)


def _tail_of(cell: pd.DataFrame, slots: int) -> tuple[float, float]:
    """From when to when slots stood empty at the end; (0, 0) for no request."""
    if cell.empty:
        return 0.0, 0.0
    last = cell[cell["sitting"] == cell["sitting"].max()]
    return find_tail(last["from_s"].to_numpy(dtype=float), _ends(last), slots), float(_ends(cell).max())


def _caption(cell: pd.DataFrame, tail: tuple[float, float]) -> str:
    n_failed = int((~cell["ok"].astype(bool)).sum())
    caption = f"n = {len(cell)} requests, {n_failed} failed, one line each in sending order."
    if tail[1] > tail[0]:
        caption += (
            f" Grey: the tail, {(tail[1] - tail[0]) / tail[1]:.0%} of the time, no request left to send."
        )
    answered = cell.loc[cell["ok"].astype(bool), "total_s"]
    if len(answered):
        caption += f" Slowest answer {answered.max():.2g} s, median {answered.median():.2g} s."
    sittings = cell["sitting"].nunique()
    if sittings > 1:
        caption += f" Measured in {sittings} sittings, joined here without the time between them."
    return caption


def _shade_tail(axes: Axes, tail: tuple[float, float]) -> None:
    if tail[1] > tail[0]:
        axes.axvspan(*tail, color=INK, alpha=0.1, linewidth=0, zorder=0)


def _draw_requests(axes: Axes, cell: pd.DataFrame) -> set[str]:
    """One bar a request; returns which parts are long enough to be seen."""
    ok = cell["ok"].astype(bool)
    answered, failed = cell[ok], cell[~ok]
    from_s, y = answered["from_s"].to_numpy(dtype=float), np.flatnonzero(ok)
    height = BAR if len(cell) <= MANY_ROWS else 1.0
    queue_s = answered["queue_s"] + answered["server_load_s"].fillna(0)
    queue_s = queue_s.clip(upper=answered["ttft_s"]).fillna(0).to_numpy(dtype=float)
    first_s = answered["ttft_s"].fillna(answered["total_s"]).to_numpy(dtype=float)
    after_s = answered["after_s"].fillna(0).clip(lower=0).to_numpy(dtype=float)
    end_s = answered["total_s"].to_numpy(dtype=float)
    axes.barh(y, queue_s, height, left=from_s, color=SKY, alpha=WAITING)
    axes.barh(y, first_s - queue_s, height, left=from_s + queue_s, color=SKY, alpha=PREFILL)
    axes.barh(y, end_s - after_s - first_s, height, left=from_s + first_s, color=BLUE)
    axes.hlines(y, from_s + end_s - after_s, from_s + end_s, color=BLUE, linewidth=0.8)
    _draw_failed(axes, failed, np.flatnonzero(~ok), height)
    small_s = SMALL * _ends(cell).max(initial=0.0)
    seen = {"queue": (queue_s > small_s).any(), "after": (after_s > small_s).any(), "failed": len(failed) > 0}
    return {part for part, is_seen in seen.items() if is_seen}


def _draw_failed(axes: Axes, failed: pd.DataFrame, y: np.ndarray, height: float) -> None:
    from_s, total_s = failed["from_s"].to_numpy(dtype=float), failed["total_s"].to_numpy(dtype=float)
    look = {"color": "none", "edgecolor": VERMILLION, "hatch": "xxxx", "linewidth": 0.8}
    axes.barh(y, total_s, height, left=from_s, **look)
    axes.plot(from_s + total_s, y, "X", color=VERMILLION, markersize=6, zorder=4)


def _draw_slots(axes: Axes, cell: pd.DataFrame, slots: int) -> None:
    """How many requests are in flight, and how many of them decode, as two steps on each other."""
    total = _steps(cell["from_s"], cell["from_s"] + cell["total_s"])
    axes.fill_between(*total, step="post", color=SKY, alpha=PREFILL, linewidth=0)
    decoding = cell[cell["ok"].astype(bool) & cell["decode_s"].notna()]
    first_s = decoding["from_s"] + decoding["ttft_s"]
    axes.fill_between(*_steps(first_s, first_s + decoding["decode_s"]), step="post", color=BLUE, linewidth=0)
    axes.axhline(slots, color=INK, linestyle="--", linewidth=0.9)


def _steps(from_s: pd.Series, to_s: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Moments and how many of the spans are open from each of them on."""
    moments = np.concatenate([from_s.to_numpy(dtype=float), to_s.to_numpy(dtype=float)])
    changes = np.concatenate([np.ones(len(from_s)), -np.ones(len(to_s))])
    order = np.lexsort((changes, moments))  # at one moment, who ends goes before who begins
    return moments[order], np.cumsum(changes[order])


def _label_rows(axes: Axes, cell: pd.DataFrame, parts: set[str], tail: tuple[float, float]) -> None:
    axes.set_ylim(len(cell) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("time from the level's first request [s]")
    axes.xaxis.label.set_visible(False)  # it stands below the lower panel, once
    axes.tick_params(axis="x", labelbottom=False)
    axes.set_ylabel("request [number, as sent]")
    step = next(step for step in (1, 2, 5, 10, 20, 25, 50, 100, 10**9) if len(cell) <= 12 * step)
    shown = [0, *range(step - 1, len(cell), step)] if step > 1 else range(len(cell))
    axes.set_yticks(list(shown), [str(i + 1) for i in shown])
    handles = _handles(parts, has_tail=tail[1] - tail[0] > SMALL * tail[1])
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderpad=0.2, labelcolor=INK
    )


def _handles(parts: set[str], has_tail: bool) -> list:
    to_first = "prefill" if "queue" in parts else "waiting for the first token"
    handles = [Patch(facecolor=SKY, alpha=WAITING, label="queue, loading")] if "queue" in parts else []
    handles += [Patch(facecolor=SKY, alpha=PREFILL, label=to_first), Patch(facecolor=BLUE, label="decoding")]
    if "after" in parts:
        handles.append(Line2D([], [], color=BLUE, linewidth=0.8, label="end held back"))
    if "failed" in parts:
        handles.append(Line2D([], [], color=VERMILLION, marker="X", linestyle="none", label="failed"))
    if has_tail:
        handles.append(Patch(facecolor=INK, alpha=0.1, label="tail"))
    return handles


def _label_slots(axes: Axes, slots: int) -> None:
    axes.set_ylim(0, slots * 1.25)
    axes.set_yticks([0, slots], ["0", str(slots)])
    axes.set_ylabel("in flight\n[of the slots]")
    axes.set_xlabel("time from the level's first request [s]")

"""The speed-up of every level with its interval, against the verdict's thresholds."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from poc_lib.figures.style import (
    GROUND,
    INK,
    PANEL_WIDTH_IN,
    STYLE,
    PocFigure,
    format_value,
    new_figure,
    series_styles,
)
from poc_lib.metrics import Baseline
from poc_lib.verdict import STEPS

NO_GAIN = 1.0


@mpl.rc_context(STYLE)
def draw_speedups(speed: pd.DataFrame, baseline: Baseline) -> PocFigure:
    """Each candidate level's speed-up in frames/s: its own interval thick, the one for all levels thin.

    Args:
        speed: speed.build_speed_table; hollow points mark levels that lost frames.
        baseline: what the speed-ups are over.
    """
    rows = speed[(speed["role"] == "candidate") & speed["speedup_frames"].notna()].reset_index(drop=True)
    simulated = bool(speed["simulated"].any())
    size = (PANEL_WIDTH_IN, max(2.3, 1.75 + 0.36 * len(rows)))
    title = f"Speed-up over {baseline.name} in frames/s"
    figure, (axes,) = new_figure(title, _caption(rows), simulated, size)
    styles = series_styles(speed)
    for y, row in rows.iterrows():
        _draw_level(axes, y, row, styles[row["server"]])
    _draw_thresholds(axes, rows)
    axes.set_yticks(range(len(rows)), [f"{r.server} · {r.concurrency} in flight" for r in rows.itertuples()])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("speed-up [×], logarithmic")
    axes.grid(visible=False)
    axes.legend(handles=_legend(), loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderpad=0.2)
    points = [f"{r.concurrency} in flight: {r.speedup_frames:.2f}" for r in rows.itertuples()]
    figure.alt_text += f" Speed-ups: {'; '.join(points)}."
    return figure


def _caption(rows: pd.DataFrame) -> str:
    known = rows[rows["simultaneous_low"].notna()]
    if known.empty:
        return "No interval: too few blocks and groups of frames. Dotted: the verdict's thresholds."
    one = known.iloc[0]
    levels = int(one["n_simultaneous"])
    return (
        f"n = {int(one['n_frames'])} frames × {int(one['n_blocks'])} blocks, paired. 95 % intervals; the "
        f"thin ones hold for all {levels} levels at once (Bonferroni). Dotted: the verdict's thresholds."
    )


def _draw_level(axes: Axes, y: int, row: pd.Series, style) -> None:
    for low, high, width in (
        (row["simultaneous_low"], row["simultaneous_high"], 1.0),
        (row["speedup_frames_low"], row["speedup_frames_high"], 4.0),
    ):
        if pd.notna(low):
            axes.plot([low, high], [y, y], color=style.color, linewidth=width, solid_capstyle="butt")
    face = style.color if row["complete"] else GROUND
    point = row["speedup_frames"]
    axes.plot(point, y, style.marker, color=face, markeredgecolor=style.color, markersize=8, zorder=4)
    text = f"{format_value(point)} ×" + ("" if row["complete"] else ", incomplete")
    axes.annotate(text, (point, y), (0, 7), textcoords="offset points", ha="center", fontsize=8)


def _draw_thresholds(axes: Axes, rows: pd.DataFrame) -> None:
    columns = ["speedup_frames", "simultaneous_low", "simultaneous_high"]
    shown = rows[columns].to_numpy(dtype=float)
    low, high = np.nanmin([*shown.ravel(), NO_GAIN]), np.nanmax([*shown.ravel(), STEPS[0][0]])
    axes.set_xscale("log")
    axes.set_xlim(low / 1.12, high * 1.12)
    ticks = [NO_GAIN, *(threshold for threshold, _ in STEPS)]
    ticks += [t for t in (0.25, 0.5, 5, 10, 20, 50, 100) if low / 1.12 < t < high * 1.12]
    axes.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
    axes.minorticks_off()
    axes.axvline(NO_GAIN, color=INK, linewidth=0.8)
    for threshold, _ in STEPS:
        axes.axvline(threshold, color=INK, linewidth=0.9, linestyle=":")


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], color=INK, linewidth=4.0, label="this level's interval"),
        Line2D([], [], color=INK, linewidth=1.0, label="all levels at once"),
    ]

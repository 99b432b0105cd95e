"""How many times as fast each run was as the first, with what its interval leaves open."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from poc_lib.figures.style import (
    BLUE,
    GROUND,
    INK,
    PANEL_WIDTH_IN,
    STYLE,
    PocFigure,
    format_value,
    new_figure,
)

# The ratio's column, its ends, how far it is drawn from its row's middle, and its marker.
KINDS = {
    "normalised": ("normalised", "normalised_low", "normalised_high", "o"),
    "as measured": ("frames_ratio", "frames_low", "frames_high", "s"),
}
OFFSET = 0.17


@mpl.rc_context(STYLE)
def draw_comparison(comparison: pd.DataFrame) -> PocFigure:
    """Each later run's ratio to the first run in frames/s, one row per run and level, with intervals.

    Filled: the ratio that leads; hollow: the other one, where both are known.

    Args:
        comparison: comparison.compare_runs.
    """
    rows = comparison[(comparison["scope"] == "level") & comparison["frames_ratio"].notna()]
    first = comparison["first_run_id"].iloc[0]
    size = (PANEL_WIDTH_IN * 1.25, 1.9 + 0.52 * max(len(rows), 1))
    simulated = bool(comparison["simulated"].astype(bool).any())
    figure, [axes] = new_figure(f"Speed against {first}", _caption(rows, first), simulated, size)
    for place, (_, row) in enumerate(rows.iterrows()):
        _draw_row(axes, place, row)
    _finish(axes, rows, first)
    figure.alt_text += " " + _in_words(rows)
    return figure


def _caption(rows: pd.DataFrame, first: str) -> str:
    counts = sorted(set(rows["n_ok"].astype(int)))
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}" if counts else "n = 0"
    caption = (
        f"{n} answered requests per level and run; strokes: 95 % intervals; right of 1: faster than {first}."
    )
    if rows["normalised"].notna().any():
        caption += " Filled: normalised by the common baseline, which leads; hollow: as measured."
    if not rows["complete"].astype(bool).all():
        caption += " Levels marked incomplete lost frames."
    return caption


def _draw_row(axes: Axes, place: int, row: pd.Series) -> None:
    known = [kind for kind, (column, *_) in KINDS.items() if pd.notna(row[column])]
    for i, kind in enumerate(known):
        y = place + (OFFSET * (2 * i - 1) if len(known) > 1 else 0)
        _draw_ratio(axes, y, row, kind)


def _draw_ratio(axes: Axes, y: float, row: pd.Series, kind: str) -> None:
    column, low, high, marker = KINDS[kind]
    leads = row["leads"] == kind
    width = 2.0 if leads else 1.1
    if pd.notna(row[low]):
        axes.plot([row[low], row[high]], [y, y], color=BLUE, linewidth=width, solid_capstyle="butt")
    axes.plot(
        row[column], y, marker, color=BLUE if leads else GROUND, markeredgecolor=BLUE, markersize=6, zorder=3
    )
    text = f"{format_value(row[column])} ×"
    end = row[column] if pd.isna(row[high]) else row[high]
    weight = "bold" if leads else "normal"
    axes.annotate(
        text, (end, y), (6, 0), textcoords="offset points", va="center", fontsize=8, fontweight=weight
    )


def _finish(axes: Axes, rows: pd.DataFrame, first: str) -> None:
    axes.axvline(1, color=INK, linewidth=1.0, linestyle="--")
    axes.set_yticks(range(len(rows)), [_label(row) for _, row in rows.iterrows()])
    axes.set_ylim(len(rows) - 0.45, -0.55)
    columns = [column for names in KINDS.values() for column in names[:3]]
    values = rows[columns].to_numpy(dtype=float)
    known = np.append(values[np.isfinite(values)], 1.0)
    span = max(known.max() - known.min(), 0.1)
    axes.set_xlim(max(known.min() - 0.08 * span, 0), known.max() + 0.22 * span)  # on the right: the numbers
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"frames per second, as a multiple of {first} [×]")


def _label(row: pd.Series) -> str:
    label = f"{row['run_id']}\n{row['server']} · {int(row['concurrency'])} in flight"
    return label if row["complete"] else f"{label}, incomplete"


def _in_words(rows: pd.DataFrame) -> str:
    words = []
    for _, row in rows.iterrows():
        column, low, high, _ = KINDS[row["leads"]]
        ends = f" ({format_value(row[low])} to {format_value(row[high])})" if pd.notna(row[low]) else ""
        words.append(f"{row['run_id']} at {int(row['concurrency'])}: {format_value(row[column])} ×{ends}")
    return f"Ratios: {'; '.join(words) or 'none'}."

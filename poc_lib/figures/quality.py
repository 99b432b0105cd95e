"""Agreement per level, and which answer resembles which frame's reference."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from poc_lib.figures.style import (
    BLUE,
    GREEN,
    INK,
    PANEL_WIDTH_IN,
    STYLE,
    VERMILLION,
    PocFigure,
    new_figure,
)

# (colour, marker, line): one for each thing that answers are held against
LOOKS = ((BLUE, "o", "-"), (GREEN, "D", "--"), (VERMILLION, "s", ":"))
MANY_FRAMES = 24  # above it, not every frame gets a tick


@mpl.rc_context(STYLE)
def draw_agreement(agreement: pd.DataFrame, target: float, simulated: bool) -> PocFigure:
    """Match rate per level with its 95 % interval; one line for each thing that answers are held against.

    Args:
        agreement: accuracy.summarize_agreement.
        target: the wanted share of matches, 0 to 1, drawn as a line.
        simulated: whether any server of the run is.
    """
    scored = agreement[agreement["n_scored"] > 0]
    counts = sorted(set(scored["n_scored"].astype(int)))
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}" if counts else "n = 0"
    caption = f"{n} scored answers per point; whiskers: Wilson's 95 % interval; dashed: target {target:.0%}."
    figure, (axes,) = new_figure("Matching answers", caption, simulated, (PANEL_WIDTH_IN, 3.7))
    levels = sorted(set(scored["concurrency"]))
    candidate_first = scored.sort_values("role", ascending=False, kind="stable")
    groups = list(candidate_first.groupby(["server", "against"], sort=False))
    for i, (key, rows) in enumerate(groups):
        shift = 0.14 * (i - (len(groups) - 1) / 2)
        _draw_match_rates(axes, rows, levels, shift, f"{key[0]} against {key[1]}", LOOKS[i % len(LOOKS)])
    axes.axhline(target, color=INK, linestyle=(0, (4, 4)), linewidth=0.8, alpha=0.6)
    axes.set_xticks(range(len(levels)), [str(level) for level in levels])
    axes.set_xlim(-0.5, max(len(levels), 1) - 0.5)
    axes.set_ylim(-0.03, 1.05)
    axes.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0))
    axes.set_xlabel("concurrency [requests in flight]")
    axes.set_ylabel("matching answers [% of scored]")
    if groups:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=1, borderpad=0.2, handlelength=2.6)
    return figure


def _draw_match_rates(
    axes: Axes, rows: pd.DataFrame, levels: list[int], shift: float, label: str, look: tuple[str, str, str]
) -> None:
    color, marker, linestyle = look
    x = [levels.index(level) + shift for level in rows["concurrency"]]
    low = (rows["match_rate"] - rows["match_rate_low"]).clip(lower=0)
    high = (rows["match_rate_high"] - rows["match_rate"]).clip(lower=0)
    axes.errorbar(
        x,
        rows["match_rate"],
        yerr=[low, high],
        color=color,
        marker=marker,
        linestyle=linestyle,
        linewidth=1.2,
        elinewidth=1.2,
        capsize=3,
        label=label,
    )


@mpl.rc_context(STYLE)
def draw_similarity(
    matrix: np.ndarray,
    frame_ids: Sequence[str],
    title: str,
    simulated: bool,
    flagged: Sequence[str] = (),
) -> PocFigure:
    """Heat map of similarity, answer i × reference j; a healthy run is bright on the diagonal.

    Args:
        matrix: confusion.fit_matrix, n × n, similarity 0 to 1; NaN: no answer or no reference.
        frame_ids: its n frames in the recording's order.
        title: which server and level.
        flagged: frame ids whose row is marked as suspicious.
    """
    n = len(frame_ids)
    caption = (
        f"n = {n} frames; hatched: no answer or no reference. "
        "Bright off the diagonal: an answer that resembles another frame's reference."
    )
    figure, (axes,) = new_figure(title, caption, simulated, (PANEL_WIDTH_IN, PANEL_WIDTH_IN * 0.92))
    axes.set_facecolor("none")
    axes.add_patch(
        mpl.patches.Rectangle(
            (0, 0),
            1,
            1,
            transform=axes.transAxes,
            fill=False,
            hatch="//",
            zorder=-1,
            edgecolor=INK,
            alpha=0.3,
            linewidth=0,
        )
    )
    image = axes.imshow(matrix, cmap="cividis", vmin=0, vmax=1, interpolation="none")
    bar = figure.colorbar(image, ax=axes, shrink=0.82, pad=0.02)
    bar.set_label("similarity of the texts [0 to 1]")
    bar.outline.set_visible(False)
    _mark_rows(axes, frame_ids, flagged)
    step = 1 if n <= MANY_FRAMES else int(np.ceil(n / 12))
    places = range(0, n, step)
    axes.set_xticks(places, [str(i + 1) for i in places])
    axes.set_yticks(places, [str(i + 1) for i in places])
    axes.grid(visible=False)
    axes.set_xlabel("stored reference of frame [number, in recording order]")
    axes.set_ylabel("answer to frame [number, in recording order]")
    return figure


def _mark_rows(axes: Axes, frame_ids: Sequence[str], flagged: Sequence[str]) -> None:
    rows = [row for row, frame_id in enumerate(frame_ids) if frame_id in set(flagged)]
    x = [1.012 * len(frame_ids) - 0.5] * len(rows)
    axes.autoscale(False)
    axes.plot(x, rows, "<", color=VERMILLION, markersize=5, clip_on=False, label="suspicious")
    if rows:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderpad=0.2)

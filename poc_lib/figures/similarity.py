"""Which answer resembles which frame's reference: heat maps whose diagonal is the answer's own image."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from poc_lib.figures.style import INK, PANEL_WIDTH_IN, STYLE, VERMILLION, PocFigure, new_figure

MANY_FRAMES = 24  # above it, not every frame gets a tick
PANELS_PER_ROW = 3
SMALL_TICKS = 6  # of a small panel
READING = "Bright off the diagonal: an answer that resembles another frame's reference."


@dataclass(frozen=True, slots=True)
class FitMap:
    """One cell's answers against all references."""

    title: str  # which server and level
    matrix: np.ndarray  # confusion.fit_matrix, n × n, similarity 0 to 1; NaN: no answer or no reference
    frame_ids: tuple[str, ...]  # its n frames in the recording's order
    flagged: tuple[tuple[str, str | None], ...] = ()  # (answer to, resembles): suspicious
    alike: tuple[
        tuple[int, int], ...
    ] = ()  # places of frames that look alike: brightness there means nothing


@mpl.rc_context(STYLE)
def draw_similarity(one: FitMap, simulated: bool) -> PocFigure:
    """Heat map of similarity, answer i × reference j; a healthy run is bright on the diagonal."""
    n = len(one.frame_ids)
    caption = f"n = {n} frames; hatched: no answer or no reference. {READING}{_alike_words(one)}"
    figure, (axes,) = new_figure(one.title, caption, simulated, (PANEL_WIDTH_IN, PANEL_WIDTH_IN * 0.94))
    image = _draw_map(axes, one)
    _color_bar(figure, image, [axes])
    _mark_rows(axes, one)
    step = 1 if n <= MANY_FRAMES else int(np.ceil(n / 12))
    _number(axes, n, step)
    axes.set_xlabel("stored reference of frame [number, in recording order]")
    axes.set_ylabel("answer to frame [number, in recording order]")
    if one.flagged:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderpad=0.2)
    return figure


@mpl.rc_context(STYLE)
def draw_similarities(maps: Sequence[FitMap], title: str, simulated: bool) -> PocFigure:
    """The same heat map for every level, side by side on one colour scale."""
    n_columns = min(PANELS_PER_ROW, max(1, len(maps)))
    n_rows = -(-max(1, len(maps)) // n_columns)
    counts = sorted({len(one.frame_ids) for one in maps}) or [0]
    caption = (
        f"n = {' or '.join(str(n) for n in counts)} frames a panel, numbered in recording order. {READING} "
        "Outlined: suspicious. Hatched: no answer or no reference."
    )
    size = (PANEL_WIDTH_IN * 1.5, 1.3 + 2.4 * n_rows)
    figure, first = new_figure(title, caption, simulated, size)
    first[0].remove()
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    image = None
    for axes, one in zip(grid, maps, strict=False):
        image = _draw_map(axes, one)
        axes.set_title(one.title)
        _number(axes, len(one.frame_ids), int(np.ceil(max(1, len(one.frame_ids)) / SMALL_TICKS)))
        axes.set_xlabel("reference of [frame number]")
        axes.set_ylabel("answer to [frame number]")
    for axes in grid[len(maps) :]:
        axes.remove()
    if image is not None:
        _color_bar(figure, image, list(grid[: len(maps)]))
    return figure


def _draw_map(axes: Axes, one: FitMap) -> mpl.image.AxesImage:
    axes.set_facecolor("none")
    ground = Rectangle((0, 0), 1, 1, transform=axes.transAxes, fill=False, hatch="//", zorder=-1)
    ground.set(edgecolor=INK, alpha=0.3, linewidth=0)
    axes.add_patch(ground)
    image = axes.imshow(one.matrix, cmap="cividis", vmin=0, vmax=1, interpolation="none")
    axes.grid(visible=False)
    rows, columns = zip(*one.alike, strict=True) if one.alike else ((), ())
    dots = {"color": INK, "markersize": 3, "markeredgecolor": "white", "markeredgewidth": 0.4}
    axes.plot(columns, rows, ".", linestyle="", **dots)  # one artist for all: there may be thousands
    for row, column in _places(one):
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=2.6)
        )
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=VERMILLION, linewidth=1.6)
        )
    return image


def _places(one: FitMap) -> list[tuple[int, int]]:
    """Row and column of each flagged answer whose other frame is in the map."""
    place = {frame_id: i for i, frame_id in enumerate(one.frame_ids)}
    return [(place[row], place[column]) for row, column in one.flagged if row in place and column in place]


def _mark_rows(axes: Axes, one: FitMap) -> None:
    flagged = {row for row, _ in one.flagged}
    rows = [row for row, frame_id in enumerate(one.frame_ids) if frame_id in flagged]
    x = [1.012 * len(one.frame_ids) - 0.5] * len(rows)
    axes.autoscale(False)
    axes.plot(x, rows, "<", color=VERMILLION, markersize=5, clip_on=False, label="suspicious")


def _number(axes: Axes, n: int, step: int) -> None:
    places = range(0, n, step)
    axes.set_xticks(places, [str(i + 1) for i in places])
    axes.set_yticks(places, [str(i + 1) for i in places])


def _color_bar(figure: PocFigure, image: mpl.image.AxesImage, axes: list[Axes]) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.82, pad=0.02)
    bar.set_label("similarity of the texts [0 to 1]")
    bar.outline.set_visible(False)


def _alike_words(one: FitMap) -> str:
    return " Dots: the two frames look alike, so brightness there is no confusion." if one.alike else ""

"""What all figures have in common: ink, colours, title, caption. Colours are Okabe and Ito's (2008)."""

import io
import textwrap
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#010203"  # text and axes; no drawing uses it otherwise, so that figure_to_svg can find it
GROUND = "#fefdfc"  # the page behind a hollow marker; found the same way
BLUE, VERMILLION, GREEN, SKY, ORANGE = "#0072b2", "#d55e00", "#009e73", "#56b4e9", "#e69f00"
PANEL_WIDTH_IN = 5.2
CAPTION_CHARS_PER_IN, TITLE_CHARS_PER_IN = 15, 10
PNG_DPI = 200

STYLE = {
    "font.family": [
        "DejaVu Sans"
    ],  # wider than the reader's system font, so that text never outgrows its place
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "hatch.linewidth": 0.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """How one server is drawn: told apart by line and marker as well as by colour."""

    color: str
    linestyle: str
    marker: str
    hatch: str


ROLE_STYLES = {
    "candidate": SeriesStyle(BLUE, "-", "o", ""),
    "baseline": SeriesStyle(VERMILLION, "--", "s", "////"),
}


FURTHER_CANDIDATES = (
    SeriesStyle(GREEN, "-", "D", "...."),
    SeriesStyle(ORANGE, "-.", "^", "xxxx"),
    SeriesStyle(SKY, ":", "v", "++++"),
)
FURTHER_BASELINES = (SeriesStyle(ORANGE, ":", "P", "\\\\\\\\"),)


def series_styles(table: pd.DataFrame) -> dict[str, SeriesStyle]:
    """A style for each server of a table with server and role; the first of a role has the role's own."""
    styles: dict[str, SeriesStyle] = {}
    further = {"candidate": FURTHER_CANDIDATES, "baseline": FURTHER_BASELINES}
    for role, rows in table.groupby("role", sort=False):
        choices = (ROLE_STYLES[role], *further[role])
        for i, server in enumerate(rows["server"].unique()):
            styles[server] = choices[i % len(choices)]
    return styles


class PocFigure(Figure):
    """A figure that carries its own words and shows itself in a notebook without any pyplot state."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)
        self.title_text = ""
        self.caption_text = ""
        self.alt_text = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=PNG_DPI)
        width_px = round(self.get_figwidth() * 100)
        metadata = {"image/png": {"width": width_px, "alt": self.alt_text}}
        return {"image/png": buffer.getvalue(), "text/plain": self.alt_text}, metadata


def new_figure(
    title: str, caption: str, simulated: bool, size_in: tuple[float, float], panels: int = 1, **axes: Any
) -> tuple[PocFigure, list[Axes]]:
    """An empty figure with its title above, its caption (n!) below, and as many panels side by side."""
    figure = PocFigure(figsize=size_in, layout="constrained")
    figure.title_text = f"{title} ·\N{NO-BREAK SPACE}SIMULATED" if simulated else title
    figure.caption_text = f"SIMULATED servers. {caption}" if simulated else caption
    figure.alt_text = f"{figure.title_text}. {figure.caption_text}"
    title_lines = textwrap.fill(figure.title_text, int(size_in[0] * TITLE_CHARS_PER_IN))
    figure.suptitle(title_lines, x=0.012, ha="left", fontsize=10, fontweight="bold")
    wrapped = textwrap.fill(figure.caption_text, int(size_in[0] * CAPTION_CHARS_PER_IN))
    figure.supxlabel(wrapped, x=0.012, ha="left", fontsize=8, alpha=0.75)
    return figure, list(figure.subplots(1, panels, squeeze=False, **axes)[0])


def format_value(value: float) -> str:
    """A measured value for a label: three significant digits, no exponent."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"

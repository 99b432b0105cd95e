"""The figures of a run, in one style: a picture in a notebook, drawn text and lines on a page.

They compute nothing. Series are told apart by line and marker as well as by colour (Okabe and Ito 2008),
bars by lightness; every text is plain text, never mathematics.
"""

import io
import itertools
import re
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from poc_lib import text
from poc_lib.metrics.speedup import STEPS
from poc_lib.show.tables import TEMPLATES, Shown, count_range, interval, say

if TYPE_CHECKING:
    from poc_lib.analysis import Analysis

INK, GROUND = "#010203", "#fefdfc"  # nothing else is drawn in these two: a page finds and replaces them
BLUE, VERMILLION, GREEN, ORANGE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9"
THEMED = {  # in an SVG's tags: what a page may set, with what holds where it does not
    INK: "currentColor",
    GROUND: "var(--ground, #fff)",
    BLUE: f"var(--figure-blue, {BLUE})",
    VERMILLION: f"var(--figure-vermillion, {VERMILLION})",
    "'DejaVu Sans'": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "xlink:href": "href",
}
PAPER = 'width="540" style="color: #15181c; background: #fff"'  # where no page sets size and colours
WIDTH_IN = 4.9  # of which a phone shows every point as 1 px: no letter becomes smaller than 9 px there
LOOKS = {  # colour, line, marker: the baselines' first, then the candidates'
    "baseline": [(VERMILLION, "--", "s"), (ORANGE, ":", "P")],
    "candidate": [(BLUE, "-", "o"), (GREEN, "-", "D"), (SKY, "-.", "^")],
}
STYLE = dict(mpl.rc_params_from_file(TEMPLATES / "figures.mplstyle", use_default_template=False))
PARTS = [("prefill", SKY, 0.55), ("decoding", BLUE, 1.0), ("waiting, loading", INK, 0.25)]
LINES = {  # name -> title, unit, column of levels, column of its 95th percentile
    "throughput": ("Frames per second", "frames/s", "frames_per_s", ""),
    "first_token": ("Time to first token", "seconds, median", "ttft_p50_s", "ttft_p95_s"),
    "agreement": ("Likeness to the baseline", "difflib ratio", "base_ratio", ""),
}
MOST_FRAMES = 24  # that a matrix shows


class PocFigure(Figure):
    """A figure that shows itself without any global state: as PNG in notebooks, as SVG on our pages."""

    def __init__(self, analysis: "Analysis", name: str, title: str, caption: str, height_in: float) -> None:
        super().__init__(figsize=(WIDTH_IN, height_in), layout="constrained")
        FigureCanvasAgg(self)
        self.name, self.title, self.caption = name, title + " · SIMULATED" * analysis.run.simulated, caption
        self.hover: dict[str, str] = {}  # what a pointer is told, by the gid of what it rests on
        self.suptitle(textwrap.fill(self.title, 46), x=0.01, ha="left", fontsize=11, fontweight="bold")
        self.supxlabel(textwrap.fill(caption, 64), x=0.01, ha="left", fontsize=9.5, alpha=0.8)

    def tell(self, artist: Any, words: str) -> None:
        """Have a pointer over the artist told these words."""
        artist.set_gid(f"hover-{len(self.hover)}")
        self.hover[artist.get_gid()] = words

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        alt = f"{self.title}. {self.caption}"
        data = {"image/svg+xml": figure_to_svg(self), "text/plain": alt}
        return data, {"image/svg+xml": {"name": self.name, "alt": alt}}


def figure_to_svg(figure: PocFigure) -> str:
    """The figure as one ``<svg>`` that can take its page's colours; what was told shows under the pointer.

    It has no id but those that matplotlib makes of the figure's name: several can stand on one page.
    """

    def own_tag(tag: re.Match) -> str:
        own = re.sub(r' id="[\w.]+_\d+"', "", tag[0].replace("\n", " "))
        own = re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), own)
        for drawn, shown in THEMED.items():
            own = own.replace(drawn, shown)
        return own

    buffer = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": figure.name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a server's name in letters that the font lacks
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    drawn = buffer.getvalue().decode()
    view = re.search(r'viewBox="([^"]+)"', drawn)[1]
    drawn = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    drawn = re.sub(r"\s*<metadata>.*?</metadata>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r"<[^>]*>", own_tag, drawn)
    for gid, words in figure.hover.items():
        drawn = drawn.replace(f'<g id="{gid}">', f"<g><title>{text.html(words)}</title>", 1)
    named = f'<title id="{figure.name}-title">{text.html(figure.title)}</title>'
    named += f'<desc id="{figure.name}-desc">{text.html(figure.caption)}</desc>'
    labels = f'role="img" aria-labelledby="{figure.name}-title {figure.name}-desc"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" {PAPER} {labels}>{named}{drawn}'


@mpl.rc_context(STYLE)
def draw_blocks(analysis: "Analysis") -> PocFigure | Shown:
    """The speed-up of every confirmation block in order, its mean with its interval, and the verdict's steps.

    One panel a candidate; hollow: a block that is judged on fewer frames.
    """
    blocks = analysis.blocks
    known = [v for v in analysis.verdicts if not (blocks.empty or pd.isna(v.speedup))]
    if not known:
        return say("No block of baseline and candidate was measured: there is no speed-up to draw.")
    blocks = blocks[blocks["speedup"].notna()]
    shown = {v.candidate: blocks[blocks["candidate"].eq(v.candidate)] for v in known}
    n = ", ".join(f"{len(rows)} × {rows['n_frames'].max():.0f} frames" for rows in shown.values())
    band = "" if pd.isna(known[0].low) else f"; band: its interval ({known[0].confidence:.1%})"
    caption = f"n = {n}, a point each block. Line: mean{band}; strokes: earlier looks."
    title = f"Speed-up over {text.one_line(known[0].baseline, 30)}"
    figure = PocFigure(analysis, "blocks", title, caption, 1.0 + 2.8 * len(known))
    panels = figure.subplots(len(known), 1, squeeze=False)[:, 0]
    for axes, verdict, rows in zip(panels, known, shown.values(), strict=True):
        found = interval(verdict.speedup, verdict.low, verdict.high)
        axes.set_title(f"{text.one_line(verdict.candidate, 30)}: {found}", loc="left", fontsize=9.5)
        axes.axhline(verdict.speedup, color=BLUE, linewidth=1.6)
        if not pd.isna(verdict.low):
            axes.axhspan(verdict.low, verdict.high, color=BLUE, alpha=0.18, linewidth=0)
        for look in [look for look in analysis.looks if look["candidate"] == verdict.candidate][:-1]:
            if not pd.isna(look["low"]):
                axes.vlines(look["n_blocks"] + 0.35, look["low"], look["high"], color=INK, linewidth=1)
        for number, row in enumerate(rows.to_dict("records"), 1):
            face = GROUND if row["note"] else BLUE
            (point,) = axes.plot(number, row["speedup"], "o", color=face, markeredgecolor=BLUE, zorder=4)
            walls = f"{row['baseline_wall_s']:.1f} s against {row['candidate_wall_s']:.1f} s"
            said = f"block {number}: {interval(row['speedup'])}, {walls}. {text.one_line(row['note'])}"
            figure.tell(point, said)
        _scale_speedups(axes, [*rows["speedup"], verdict.low, verdict.high])
        axes.set(xlim=(0.4, len(rows) + 0.6), xlabel="confirmation block, in order")
        axes.set_xticks(range(1, len(rows) + 1, 1 + len(rows) // 13))
    return figure


def _scale_speedups(axes: Axes, shown: list) -> None:
    known = [value for value in shown if not pd.isna(value) and np.isfinite(value) and value > 0]
    low, high = min([1.0, *known]) / 1.1, max([STEPS[-1][0], *known]) * 1.1
    names = {1.0: "1 × equal", **{start: f"{start:g} × {name.split()[0]}" for start, name in STEPS}}
    names |= {tick: f"{tick:g} ×" for tick in (0.1, 0.2, 0.5, 5, 10, 20, 50, 100) if low < tick < high}
    axes.set(yscale="log", ylim=(low, high), yticks=[*names], yticklabels=[*names.values()])
    axes.minorticks_off()
    axes.grid(visible=False)
    for start in (1.0, *(start for start, _ in STEPS)):
        axes.axhline(start, color=INK, linewidth=0.9, linestyle=":" if start > 1 else "-", zorder=1)


@mpl.rc_context(STYLE)
def draw_levels(analysis: "Analysis", name: str) -> PocFigure | Shown:
    """A quantity of LINES at every server and level, with a stroke up to its 95th percentile where known."""
    title, unit, column, upper = LINES[name]
    levels = analysis.levels
    if levels.empty or levels[column].isna().all():
        return say(f"{title}: no level has an answer to draw.")
    caption = f"n = {count_range(levels['n_answered'])} answers a point. Filled: confirmed; hollow: pilot."
    figure = PocFigure(analysis, name, title, caption + " Stroke: up to p95." * bool(upper), 3.5)
    axes, ticks = figure.subplots(), sorted(set(levels["concurrency"]))
    looks = {role: itertools.cycle(of_role) for role, of_role in LOOKS.items()}
    for (role, name), rows in levels.sort_values("concurrency").groupby(["role", "server"]):
        (color, line, marker), server = next(looks[role]), text.one_line(name, 20)
        axes.plot(rows["concurrency"], rows[column], color=color, linestyle=line, zorder=2)
        axes.plot([], [], color=color, linestyle=line, marker=marker, label=server)
        if len(rows) == 1:  # a server with one level: its line is what the others are held against
            axes.axhline(rows[column].iloc[0], color=color, linestyle=line, linewidth=1)
        for row in rows[rows[column].notna()].to_dict("records"):
            at, face = row["concurrency"], GROUND if row["source"] == "pilot" else color
            if upper:
                axes.plot([at, at], [row[column], row[upper]], color=color, linewidth=1.2, marker="_")
            (point,) = axes.plot(at, row[column], marker, color=face, markeredgecolor=color, zorder=4)
            figure.tell(point, f"{server}, {at} in flight: {row[column]:.2f} ({row['source']})")
    axes.set(xscale="log", xticks=ticks, xticklabels=ticks, xlabel="requests in flight", ylabel=unit)
    axes.set(xlim=(min(ticks) / 1.25, max(ticks) * 1.25), ylim=(0, None))
    axes.minorticks_off()
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return figure


@mpl.rc_context(STYLE)
def draw_phases(analysis: "Analysis") -> PocFigure | Shown:
    """The median answer of every server and level, cut into prefill, decoding and the rest."""
    rows = analysis.levels
    rows = rows if rows.empty else rows.dropna(subset=["total_p50_s", "prefill_share"])
    if rows.empty:
        return say("Where the time goes: no level has an answer to draw.")
    caption = "Bar: the median answer, cut by the shares of all answers' time. A server that does not tell "
    caption += "prefill from waiting has both in prefill."
    title = "Where an answer's time goes"
    figure = PocFigure(analysis, "phases", title, caption, 2.1 + 0.34 * len(rows))
    rows = rows.sort_values(["role", "server", "concurrency"], kind="stable").fillna({"decode_share": 0.0})
    total_s, prefill, decode = (rows[name].array for name in ("total_p50_s", "prefill_share", "decode_share"))
    names = [f"{text.one_line(row.server, 20)} · {row.concurrency}" for row in rows.itertuples()]
    axes, left = figure.subplots(), np.zeros(len(rows))
    shares = (prefill, decode, np.maximum(0.0, 1 - prefill - decode))
    for (part, color, alpha), share in zip(PARTS, shares, strict=True):
        bars = axes.barh(range(len(rows)), share * total_s, 0.62, left, color=color, alpha=alpha, label=part)
        left = left + share * total_s
        for bar, name, of_all in zip(bars, names, share, strict=True):
            figure.tell(bar, f"{name} in flight: {part} {bar.get_width():.2f} s ({of_all:.0%})")
    axes.bar_label(bars, [f"{end:.2f} s" for end in left], padding=4)
    axes.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    axes.set(xlim=(0, max(total_s) * 1.25), xlabel="seconds; rows: server · requests in flight")
    axes.grid(visible=False, axis="y")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return figure


@mpl.rc_context(STYLE)
def draw_donors(analysis: "Analysis") -> PocFigure | None:
    """Whose image an answer was about, where the codes prove that it was another's; None without a mix-up."""
    rows = analysis.answers[analysis.answers["proof"] == "other"]
    if rows.empty:
        return None
    counts = rows.groupby(["frame_id", "donor_frame"]).size()
    mixed = {frame_id for pair in counts.index for frame_id in pair}
    ids = [frame_id for frame_id in analysis.frames if frame_id in mixed][:MOST_FRAMES]
    names = [text.one_line(analysis.frames[frame_id].label, 24) for frame_id in ids]
    caption = f"n = {len(rows)} mixed-up answers of {(analysis.answers['proof'] != '').sum()} with a code; "
    caption += f"{len(ids)} frames. Row: the frame that was sent; column: the frame that the answer is about."
    figure = PocFigure(analysis, "donors", "Whose image was answered", caption, 2.2 + 0.26 * len(ids))
    axes = figure.subplots()
    for (victim, donor), n in counts.items():
        if victim in ids and donor in ids:
            x, y = ids.index(donor), ids.index(victim)
            (point,) = axes.plot(x, y, "s", color=BLUE, markersize=min(11, 5 + 2 * n))
            figure.tell(point, f"{names[y]} was answered with {names[x]}, {n} ×")
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, alpha=0.3)
    axes.set_xticks(range(len(ids)), [name.split(" · ")[0] for name in names], rotation=90)
    axes.set(
        yticks=range(len(ids)), yticklabels=names, xlim=(-0.6, len(ids) - 0.4), ylim=(len(ids) - 0.4, -0.6)
    )
    return figure

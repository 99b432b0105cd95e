"""The figures of a run, in one style: drawn text and lines, which compute nothing.

Series are told apart by line and marker as well as by colour (Okabe and Ito 2008), bars by lightness.
"""

import io
import re
import textwrap
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from poc_lib import text
from poc_lib.analysis import Analysis
from poc_lib.metrics.speedup import STEPS, interval
from poc_lib.show import TEMPLATES, Shown, say

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
TOLD = "told: "  # begins the gid of a drawn thing: the rest is what a pointer over it shows


class PocFigure(Figure):
    """A figure that shows itself, as SVG and without any global state."""

    def __init__(self, analysis: Analysis, name: str, title: str, caption: str, height_in: float) -> None:
        super().__init__(figsize=(WIDTH_IN, height_in), layout="constrained")
        self.name, title = name, title + " · SIMULATED" * analysis.run.simulated
        self.alt = f"{title}. {caption}"
        self.suptitle(textwrap.fill(title, 46), x=0.01, ha="left", fontsize=11, fontweight="bold")
        self.supxlabel(textwrap.fill(caption, 64), x=0.01, ha="left", fontsize=9.5, alpha=0.8)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data = {"image/svg+xml": figure_to_svg(self), "text/plain": self.alt}
        return data, {"image/svg+xml": {"name": self.name, "alt": self.alt}}


def figure_to_svg(figure: PocFigure) -> str:
    """The figure as one ``<svg>`` that takes its page's colours; a pointer is told what it rests on."""
    buffer = io.BytesIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": figure.name}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a server's name in letters that the font lacks
        figure.savefig(buffer, format="svg", transparent=True)
    drawn = buffer.getvalue().decode()
    view = re.search(r'viewBox="([^"]+)"', drawn)[1]
    drawn = drawn[drawn.index(">", drawn.index("<svg")) + 1 :]
    drawn = re.sub(r'\s*<metadata>.*?</metadata>|<!--.*?-->| id="[\w.]+_\d+"', "", drawn, flags=re.DOTALL)
    for own, themed in THEMED.items():
        drawn = drawn.replace(own, themed)
    drawn = re.sub(f'<g id="{TOLD}([^"]*)">', r"<g><title>\1</title>", drawn)
    label = f'role="img" aria-label="{text.html(figure.alt)}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}" {PAPER} {label}>{drawn}'


@mpl.rc_context(STYLE)
def draw_blocks(analysis: Analysis) -> PocFigure | Shown:
    """The speed-up of every confirmation block in order, its mean with its interval, and the verdict's steps.

    One panel a candidate; hollow: a block that is judged on fewer frames.
    """
    known = [v for v in analysis.verdicts if not pd.isna(v.speedup)]
    if not known:
        return say("No block of baseline and candidate was measured: there is no speed-up to draw.")
    blocks = analysis.blocks[analysis.blocks["speedup"].notna()]
    shown = [blocks[blocks["candidate"].eq(v.candidate)] for v in known]
    looks = [event for event in analysis.events if event["event"] == "look"]
    looks = pd.DataFrame(looks, columns=["candidate", "n_blocks", "low", "high"]).dropna()
    n = ", ".join(f"{len(rows)} × {rows['n_frames'].max():.0f} frames" for rows in shown)
    band = "" if pd.isna(known[0].low) else f"; band: its interval ({known[0].confidence:.1%})"
    caption = f"n = {n}, a point each block. Line: mean{band}; strokes: earlier looks."
    title = f"Speed-up over {text.one_line(known[0].baseline, 30)}"
    figure = PocFigure(analysis, "blocks", title, caption, 1.0 + 2.8 * len(known))
    panels = figure.subplots(len(known), 1, squeeze=False)[:, 0]
    for axes, v, rows in zip(panels, known, shown, strict=True):
        found = interval(v.speedup, v.low, v.high)
        axes.set_title(f"{text.one_line(v.candidate, 30)}: {found}", loc="left", fontsize=9.5)
        axes.axhline(v.speedup, color=BLUE, linewidth=1.6)
        earlier = looks[looks["candidate"].eq(v.candidate)][:-1]
        axes.vlines(earlier["n_blocks"] + 0.35, earlier["low"], earlier["high"], color=INK, linewidth=1)
        for number, row in enumerate(rows.itertuples(), 1):
            walls = f"{row.baseline_wall_s:.1f} s against {row.candidate_wall_s:.1f} s"
            told = f"{TOLD}block {number}: {interval(row.speedup)}, {walls}. {text.one_line(row.note)}"
            face = GROUND if row.note else BLUE
            axes.plot(number, row.speedup, "o", color=face, mec=BLUE, zorder=4, gid=told)
        ends = (1.0, STEPS[-1][0], *rows["speedup"], v.low or 1.0, v.high or 1.0)
        ends = [end for end in ends if 0.01 < end < 1000]  # an early bound may be neither
        low, high = min(ends) / 1.1, max(ends) * 1.1
        if not pd.isna(v.low):
            axes.axhspan(*np.clip([v.low, v.high], low, high), color=BLUE, alpha=0.18, linewidth=0)
        names = {1.0: "1 × equal", **{start: f"{start:g} × {name.split()[0]}" for start, name in STEPS}}
        for start in names:
            axes.axhline(start, color=INK, linewidth=0.9, linestyle=":" if start > 1 else "-", zorder=1)
        names |= {tick: f"{tick:g} ×" for tick in (0.1, 0.2, 0.5, 5, 10, 20, 50, 100) if low < tick < high}
        axes.set(yscale="log", ylim=(low, high), yticks=[*names], yticklabels=[*names.values()])
        axes.minorticks_off()
        axes.grid(visible=False)
        axes.set(xlim=(0.4, len(rows) + 0.6), xlabel="confirmation block, in order")
        axes.set_xticks(range(1, len(rows) + 1, 1 + len(rows) // 13))
    return figure


@mpl.rc_context(STYLE)
def draw_levels(analysis: Analysis, name: str) -> PocFigure | Shown:
    """A quantity of LINES at every server and level, with a stroke up to its 95th percentile where known."""
    title, unit, column, upper = LINES[name]
    levels = analysis.levels.sort_values("concurrency")
    if levels.empty or levels[column].isna().all():
        return say(f"{title}: no level has an answer to draw.")
    caption = f"n ≥ {levels['n_answered'].min():.0f} answers a point. Filled: confirmed; hollow: pilot."
    figure = PocFigure(analysis, name, title, caption + " Stroke: up to p95." * bool(upper), 3.5)
    axes, ticks = figure.subplots(), sorted(set(levels["concurrency"]))
    for role, of_role in levels.groupby("role"):
        for number, (server, rows) in enumerate(of_role.groupby("server")):
            color, line, marker = LOOKS[role][number % len(LOOKS[role])]
            at, label = rows["concurrency"], text.one_line(server, 20)
            axes.plot(at, rows[column], marker, color=color, linestyle=line, label=label)
            for level, value, source in zip(at, rows[column], rows["source"], strict=True):
                told = f"{TOLD}{label}, {level} in flight: {interval(value, unit='')} ({source})"
                face = GROUND if source == "pilot" else color
                axes.plot(level, value, marker, color=face, mec=color, zorder=4, gid=told)
            if len(rows) == 1:  # a server with one level: its line is what the others are held against
                axes.axhline(rows[column].iloc[0], color=color, linestyle=line, linewidth=1)
            if upper:
                axes.plot([at, at], [rows[column], rows[upper]], "_-", color=color, linewidth=1.2, zorder=2)
    axes.set(xscale="log", xticks=ticks, xticklabels=ticks, xlabel="requests in flight", ylabel=unit)
    axes.set(xlim=(min(ticks) / 1.25, max(ticks) * 1.25), ylim=(0, None))
    axes.minorticks_off()
    axes.legend(ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return figure


@mpl.rc_context(STYLE)
def draw_phases(analysis: Analysis) -> PocFigure | Shown:
    """The median answer of every server and level, cut into prefill, decoding and the rest."""
    rows = analysis.levels.dropna(subset=["total_p50_s", "prefill_share"])
    if rows.empty:
        return say("Where the time goes: no level has an answer to draw.")
    caption = "Bar: the median answer, cut by the shares of all answers' time. A server that does not tell "
    caption += "prefill from waiting has both in prefill."
    figure = PocFigure(analysis, "phases", "Where an answer's time goes", caption, 2.1 + 0.34 * len(rows))
    axes, at = figure.subplots(), range(len(rows))
    total_s, left_s = rows["total_p50_s"].to_numpy(), np.zeros(len(rows))
    prefill, decode = rows["prefill_share"].to_numpy(), rows["decode_share"].fillna(0.0).to_numpy()
    names = [f"{text.one_line(row.server, 20)} · {row.concurrency}" for row in rows.itertuples()]
    shares = (prefill, decode, np.maximum(0.0, 1 - prefill - decode))
    for (part, color, alpha), share in zip(PARTS, shares, strict=True):
        bars = axes.barh(at, share * total_s, 0.62, left_s, color=color, alpha=alpha, label=part)
        left_s = left_s + share * total_s
        for bar, name, of_all in zip(bars, names, share, strict=True):
            bar.set_gid(f"{TOLD}{name} in flight: {part} {bar.get_width():.2f} s ({of_all:.0%})")
    axes.bar_label(bars, [f"{end_s:.2f} s" for end_s in left_s], padding=4)
    axes.set(yticks=at, yticklabels=names, ylim=(len(names) - 0.4, -0.6))
    axes.set(xlim=(0, max(total_s) * 1.25), xlabel="seconds; rows: server · requests in flight")
    axes.grid(visible=False, axis="y")
    axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(-0.02, 1.0))
    return figure


@mpl.rc_context(STYLE)
def draw_donors(analysis: Analysis) -> PocFigure | None:
    """Whose image an answer was about, where the codes prove that it was another's; None without a mix-up."""
    rows = analysis.answers[analysis.answers["proof"] == "other"]
    if rows.empty:
        return None
    mixed = {*rows["frame_id"], *rows["donor_frame"]}
    ids = [frame_id for frame_id in analysis.frames if frame_id in mixed][:24]
    names = [text.one_line(analysis.frames[frame_id].label, 24) for frame_id in ids]
    caption = f"n = {len(rows)} mixed-up answers of {(analysis.answers['proof'] != '').sum()} with a code; "
    caption += f"{len(ids)} frames. Row: the frame that was sent; column: the frame that the answer is about."
    figure = PocFigure(analysis, "donors", "Whose image was answered", caption, 2.2 + 0.26 * len(ids))
    axes, ticks, ends = figure.subplots(), range(len(ids)), (-0.6, len(ids) - 0.4)
    shown = rows[rows["frame_id"].isin(ids) & rows["donor_frame"].isin(ids)]
    for (sent, donor), n in shown.groupby(["frame_id", "donor_frame"]).size().items():
        x, y = ids.index(donor), ids.index(sent)
        told = f"{TOLD}{names[y]} was answered with {names[x]}, {n} ×"
        axes.plot(x, y, "s", color=BLUE, markersize=min(11, 5 + 2 * n), gid=told)
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, alpha=0.3)
    axes.set_xticks(ticks, [name.split(" · ")[0] for name in names], rotation=90)
    axes.set(yticks=ticks, yticklabels=names, xlim=ends, ylim=ends[::-1])
    return figure

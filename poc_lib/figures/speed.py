"""Throughput against concurrency, and the distribution of latencies."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from poc_lib.figures.style import (
    GROUND,
    INK,
    PANEL_WIDTH_IN,
    ROLE_STYLES,
    STYLE,
    PocFigure,
    SeriesStyle,
    format_value,
    new_figure,
    series_styles,
)
from poc_lib.metrics import LEVEL, MEASURES, Baseline, add_derived

RATES = {"frames_per_s": "frames per second", "output_tok_per_s": "output tokens per second"}
MANY_POINTS = 60  # above it, only the tails are drawn as points
SHORT_MEASURES = {
    "ttft_s": "Time to first token",
    "tpot_s": "Time per output token",
    "total_s": "Total time per request",
}


@mpl.rc_context(STYLE)
def draw_throughput(
    speed: pd.DataFrame, baseline: Baseline, rates: Sequence[str] = tuple(RATES)
) -> PocFigure:
    """Each rate against concurrency, one panel a rate, with the baseline as a line across.

    Args:
        speed: metrics.summarize_speed, one row per (server, level).
        baseline: what the line across stands for.
        rates: columns of ``speed``, each a key of RATES.
    """
    simulated = bool(speed["simulated"].any())
    title = "Throughput" if len(rates) > 1 else f"Throughput, {RATES[rates[0]]}"
    size = (PANEL_WIDTH_IN * len(rates), 3.7)
    figure, panels = new_figure(title, _throughput_caption(speed), simulated, size, len(rates))
    for axes, rate in zip(panels, rates, strict=True):
        _draw_rate(axes, speed, baseline, rate)
    figure.alt_text += " " + _throughput_in_words(speed, rates[0])
    return figure


def _throughput_caption(speed: pd.DataFrame) -> str:
    fewest, most = int(speed["n_ok"].min()), int(speed["n_ok"].max())
    n = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
    caption = f"{n} answered requests per level; work ÷ wall clock of the level; strokes: 95 % intervals."
    if not speed["complete"].all():
        caption += " Hollow: incomplete, frames were lost."
    return caption


def _throughput_in_words(speed: pd.DataFrame, rate: str) -> str:
    known = speed[speed[rate].notna()]
    points = [f"{r.server} at {r.concurrency}: {format_value(getattr(r, rate))}" for r in known.itertuples()]
    return f"{RATES[rate].capitalize()}: {'; '.join(points)}."


def _draw_rate(axes: Axes, speed: pd.DataFrame, baseline: Baseline, rate: str) -> None:
    levels = sorted(set(speed["concurrency"]))
    place = {level: i for i, level in enumerate(levels)}
    styles = series_styles(speed)
    for server, rows in speed.groupby("server", sort=False):
        known = rows[rows[rate].notna()].sort_values("concurrency")
        if known.empty:
            continue
        _draw_series(axes, known, [place[c] for c in known["concurrency"]], rate, styles[server])
    reference = getattr(baseline, rate)
    if pd.notna(reference):
        style = ROLE_STYLES["baseline"]
        linestyle = style.linestyle if baseline.measured else ":"
        axes.axhline(reference, color=style.color, linestyle=linestyle, linewidth=1.2, label=baseline.label)
    axes.set_xticks(range(len(levels)), [str(level) for level in levels])
    axes.set_xlim(-0.35, len(levels) - 0.65)
    top = np.nanmax([*speed[rate], *speed.get(f"{rate}_high", []), reference, 0])
    axes.set_ylim(0, top * 1.18 if top > 0 else 1)
    axes.set_xlabel("concurrency [requests in flight]")
    axes.set_ylabel(f"{RATES[rate]} [{'frames/s' if rate == 'frames_per_s' else 'tok/s'}]")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=1, borderpad=0.2, handlelength=2.6)


def _draw_series(axes: Axes, rows: pd.DataFrame, x: list[int], rate: str, style: SeriesStyle) -> None:
    name, role = rows[["server", "role"]].iloc[0]
    axes.plot(x, rows[rate], color=style.color, linestyle=style.linestyle, marker=style.marker, label=name)
    if f"{rate}_low" in rows:
        ends = [rows[f"{rate}_low"], rows[f"{rate}_high"]]
        axes.vlines(x, *ends, color=style.color, linewidth=1.0)
    lift = 7 if role == "candidate" else -13
    for place, value, complete in zip(x, rows[rate], rows["complete"], strict=True):
        if not complete:
            axes.plot(place, value, style.marker, color=GROUND, markeredgecolor=style.color, zorder=3)
        text = format_value(value) if complete else f"{format_value(value)}\nincomplete"
        axes.annotate(text, (place, value), (0, lift), textcoords="offset points", ha="center", fontsize=8)


@mpl.rc_context(STYLE)
def draw_latency(requests: pd.DataFrame, measures: Sequence[str] = ("ttft_s", "total_s")) -> PocFigure:
    """Every answered request as a point, one row per server and level, with the middle half and the median.

    Args:
        requests: one row a reply (records.Reply), warm-up rows are left out.
        measures: "ttft_s", "tpot_s" or "total_s"; one panel each.
    """
    measured = add_derived(requests)
    answered = measured[measured["ok"]]
    groups, styles = list(answered.groupby(LEVEL, sort=False)), series_styles(measured)
    simulated = bool(measured["simulated"].any())
    counts = sorted({len(group) for _, group in groups})
    n = f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}" if counts else "n = 0"
    points = "one point a request" if max(counts, default=0) <= MANY_POINTS else "points: the outer tenth"
    caption = f"{n} answered requests per row; {points}; bar: middle half; stroke: median; triangle: p95."
    title = "Latency" if len(measures) > 1 else SHORT_MEASURES[measures[0]]
    size = (PANEL_WIDTH_IN * len(measures), max(2.4, 1.45 + 0.36 * len(groups)))
    figure, panels = new_figure(title, caption, simulated, size, len(measures), sharey=True)
    for axes, measure in zip(panels, measures, strict=True):
        _draw_distribution(axes, groups, measure, styles)
    panels[0].set_yticks(range(len(groups)), [f"{key[0]} · {key[2]} in flight" for key, _ in groups])
    panels[0].invert_yaxis()
    return figure


def _draw_distribution(axes: Axes, groups: list, measure: str, styles: dict[str, SeriesStyle]) -> None:
    for row, (key, group) in enumerate(groups):
        values = np.sort(pd.to_numeric(group[measure]).dropna().to_numpy(dtype=float))
        if values.size:
            _draw_row(axes, row, values, styles[key[0]])
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.set_xlabel(f"{MEASURES[measure]} [s]")


def _draw_row(axes: Axes, row: int, values: np.ndarray, style) -> None:
    p5, p25, p50, p75, p95 = np.percentile(values, (5, 25, 50, 75, 95))
    axes.barh(row, p75 - p25, left=p25, height=0.5, color=style.color, alpha=0.28, hatch=style.hatch)
    axes.plot([p50, p50], [row - 0.34, row + 0.34], color=INK, linewidth=1.8, solid_capstyle="butt", zorder=4)
    axes.plot(p95, row - 0.34, "v", color=INK, markersize=4, zorder=4)
    shown = values if values.size <= MANY_POINTS else values[(values < p5) | (values > p95)]
    spread = row + 0.2 * np.sin(np.arange(shown.size) * 2.4)  # fixed jitter: the same table, the same figure
    axes.plot(shown, spread, style.marker, color=style.color, markersize=3.2, markeredgewidth=0, alpha=0.85)

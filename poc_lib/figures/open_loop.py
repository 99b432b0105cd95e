"""Latency and goodput against the rate of arrivals."""

from collections.abc import Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from poc_lib.figures.style import (
    BLUE,
    GREEN,
    GROUND,
    INK,
    ORANGE,
    PANEL_WIDTH_IN,
    SKY,
    STYLE,
    VERMILLION,
    PocFigure,
    new_figure,
)
from poc_lib.goodput import describe_level

LATENCIES = {"ttft": "first token", "total": "whole answer"}
COLORS = {"candidate": (BLUE, GREEN, SKY), "baseline": (VERMILLION, ORANGE)}
MARKERS = {"candidate": ("o", "^", "D", "v", "P", "X"), "baseline": ("s", "h", "p", "8")}
MANY_SERIES = 3  # above it, only lines are drawn: no shade between median and tail, no shares
LOG_ABOVE = 20  # largest ÷ smallest latency from which a linear axis hides the small ones


@mpl.rc_context(STYLE)
def draw_open_loop(open_loop: pd.DataFrame, latencies: Sequence[str] = ("total",)) -> PocFigure:
    """Latency from the moment of being due, and goodput, against the offered rate; one panel each.

    Args:
        open_loop: goodput.summarize_open_loop, one row per (server, role, arrivals, rate).
        latencies: keys of LATENCIES, one panel each.
    """
    if open_loop.empty:
        none = "No arrival rate was asked for (open_loop_rates), so there is nothing to draw."
        figure, (axes,) = new_figure("Open loop", none, False, (PANEL_WIDTH_IN, 0.9))
        axes.set_axis_off()
        return figure
    panels = len(latencies) + 1
    caption = _caption(open_loop)
    simulated = bool(open_loop["simulated"].any())
    figure, axes = new_figure("Open loop", caption, simulated, (PANEL_WIDTH_IN * panels, 4.2), panels)
    series = _series(open_loop)
    for panel, latency in zip(axes, latencies, strict=False):
        _draw_latency(panel, series, latency)
        _draw_limit(panel, open_loop, latency)
        _finish(panel, open_loop, f"{LATENCIES[latency]} from due [s]")
    _draw_goodput(axes[-1], series)
    limited = open_loop[["slo_ttft_s", "slo_total_s"]].to_numpy().any()
    _finish(axes[-1], open_loop, f"{'goodput, in time' if limited else 'answered'} [requests/s]")
    figure.alt_text += " " + _in_words(open_loop)
    return figure


def _caption(table: pd.DataFrame) -> str:
    fewest, most = int(table["n_sent"].min()), int(table["n_sent"].max())
    n = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
    level = table.iloc[0]
    asked = describe_level(level["slo_ttft_s"], level["slo_total_s"], level["slo_share"])
    in_time = asked if asked != "no limit" else "answered at all"
    return (
        f"{n} requests per rate; times count from when a request was due; dashed: from sending, without "
        f"the wait for one of {table['slots'].max()} connections. In time: {in_time}."
        + (" Hollow: not held." if table["holds"].eq(False).any() else "")
    )


def _series(table: pd.DataFrame) -> list[tuple[str, str, str, str, pd.DataFrame]]:
    """(label, role, color, marker, rows by rate) of each server and kind of arrivals."""
    kinds = table["arrivals"].nunique()
    colors: dict[str, str] = {}
    found = []
    for (server, role, arrivals), rows in table.groupby(["server", "role", "arrivals"], sort=False):
        before = {one: color for one, color in colors.items() if color in COLORS[role]}
        colors.setdefault(server, COLORS[role][len(before) % len(COLORS[role])])
        label = f"{server}, {arrivals}" if kinds > 1 else server
        marker = MARKERS[role][sum(one[1] == role for one in found) % len(MARKERS[role])]
        found.append((label, role, colors[server], marker, rows.sort_values("rate_per_s")))
    return found


def _draw_latency(axes: Axes, series: list, latency: str) -> None:
    for label, _, color, marker, rows in series:
        rate = rows["rate_per_s"]
        middle, tail = rows[f"{latency}_from_due_p50_s"], rows[f"{latency}_from_due_p95_s"]
        if len(series) <= MANY_SERIES:
            axes.fill_between(rate, middle, tail, color=color, alpha=0.12, linewidth=0)
        axes.plot(rate, middle, color=color, marker=marker, label=label)
        axes.plot(rate, tail, color=color, marker=marker, markersize=3.5, linewidth=0.9)
        axes.plot(rate, rows[f"{latency}_p50_s"], color=color, linestyle="--", linewidth=1.2)
    axes.plot([], [], color=INK, label="median")
    axes.plot([], [], color=INK, linewidth=0.9, marker="o", markersize=3, label="95th percentile")
    axes.plot([], [], color=INK, linewidth=1.2, linestyle="--", label="median from sending")


def _draw_limit(axes: Axes, table: pd.DataFrame, latency: str) -> None:
    limit_s = table[f"slo_{latency}_s"].iloc[0]
    if limit_s:
        axes.axhline(limit_s, color=INK, linestyle=":", linewidth=1.2, label=f"limit, {limit_s:g} s")
    points = (f"{latency}_p50_s", f"{latency}_from_due_p50_s", f"{latency}_from_due_p95_s")
    drawn = table[list(points)]
    smallest, largest = drawn.min(axis=None), drawn.max(axis=None)
    if smallest > 0 and largest / smallest > LOG_ABOVE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, max(largest if largest > 0 else 1, limit_s) * 1.12)


def _draw_goodput(axes: Axes, series: list) -> None:
    top = max(rows["rate_per_s"].max() for *_, rows in series)
    axes.plot([0, top], [0, top], color=INK, linestyle=":", linewidth=1.2, label="all in time")
    for label, role, color, marker, rows in series:
        axes.plot(rows["rate_per_s"], rows["goodput_per_s"], color=color, marker=marker, label=label)
        for row in rows.itertuples():
            place = (row.rate_per_s, row.goodput_per_s)
            if row.holds is False:
                axes.plot(*place, marker, color=GROUND, markeredgecolor=color, zorder=3)
            if row.good_share < 1 and len(series) <= MANY_SERIES:
                below = role == "baseline" and row.goodput_per_s > 0.1 * top
                words = {"text": f"{100 * row.good_share:.0f} %", "ha": "center", "fontsize": 8}
                axes.annotate(xy=place, xytext=(0, -13 if below else 7), textcoords="offset points", **words)
    axes.set_ylim(0, top * 1.15)


def _finish(axes: Axes, table: pd.DataFrame, what: str) -> None:
    rates = sorted(set(table["rate_per_s"]))
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
    axes.set_xlim(0, rates[-1] * 1.07)
    axes.set_xlabel("offered rate [requests/s]")
    axes.set_ylabel(what)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, borderpad=0.2, handlelength=2.2)


def _in_words(table: pd.DataFrame) -> str:
    words = []
    for (server, arrivals), rows in table.groupby(["server", "arrivals"], sort=False):
        shares = [f"{100 * row.good_share:.0f} % at {row.rate_per_s:g}" for row in rows.itertuples()]
        words.append(f"{server}, {arrivals} arrivals, in time: {', '.join(shares)} requests/s")
    return "; ".join(words) + "."

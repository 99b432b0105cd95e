"""Agreement per level, what it is worth, and what load and model cost of it."""

from collections.abc import Mapping

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes

from poc_lib.figures.style import (
    BLUE,
    GREEN,
    GROUND,
    INK,
    PANEL_WIDTH_IN,
    STYLE,
    VERMILLION,
    PocFigure,
    new_figure,
)

# (colour, marker, line): one for each thing that answers are held against
LOOKS = ((BLUE, "o", "-"), (GREEN, "D", "--"), (VERMILLION, "s", ":"))
LEVEL_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINE_IN = 0.42  # height of one line of a figure whose lines are named


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
def draw_calibration(rows: pd.DataFrame, names: Mapping[str, str], server: str, simulated: bool) -> PocFigure:
    """One line a measure: floor, this server's own agreement per level with its interval, and ceiling.

    Args:
        rows: accuracy.summarize_calibration of one server against one reference, with own_low and own_high of
            accuracy.own_means beside it.
        names: what to call the measures.
        server: its name, for the title.
    """
    known = rows[rows["n_own"] > 0]
    measures, levels = list(dict.fromkeys(known["measure"])), sorted(set(known["concurrency"]))
    counts = sorted(set(known["n_own"].astype(int)))
    n = f"n = {counts[0]}" if len(counts) < 2 else f"n = {counts[0]} to {counts[-1]}"
    caption = (
        f"{n if counts else 'n = 0'} answers per mark; whiskers: 95 % interval of the mean. Grey "
        "bar: from the "
        "floor (answers against other frames) to the ceiling (the baseline against itself)."
    )
    height = 1.9 + max(1, len(measures)) * (LINE_IN + 0.09 * len(levels))
    title = f"Agreement between floor and ceiling, {server}"
    figure, (axes,) = new_figure(title, caption, simulated, (PANEL_WIDTH_IN, height))
    for place, measure in enumerate(measures):
        _draw_measure(axes, known[known["measure"] == measure], place, levels)
    _name_lines(axes, [names.get(measure, measure) for measure in measures])
    axes.set_xlim(-0.04, 1.06)
    axes.set_xlabel("similarity of answer and reference [0 to 1]")
    if measures:
        handles, labels = axes.get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes.legend(
            unique.values(),
            unique.keys(),
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=3,
            borderpad=0.2,
        )
    return figure


def _draw_measure(axes: Axes, rows: pd.DataFrame, place: int, levels: list[int]) -> None:
    first = rows.iloc[0]
    floor, ceiling = first["other_mean"], first["ceiling_mean"]
    if pd.notna(floor) and pd.notna(ceiling):
        axes.barh(place, ceiling - floor, left=floor, height=0.78, color=INK, alpha=0.09, zorder=0)
    ends = ((floor, "|", "floor"), (ceiling, "d", "ceiling"))
    for value, marker, name in ends:
        axes.plot([value], [place], marker, color=INK, markersize=13 if marker == "|" else 8, label=name,
                  ls="", markerfacecolor=GROUND, markeredgewidth=1.6, zorder=2)  # fmt: skip
    step = 0.62 / max(1, len(levels))
    for row in rows.itertuples():
        i = levels.index(row.concurrency)
        y = place + step * (i - (len(levels) - 1) / 2)
        spread = [[max(0.0, row.own_mean - row.own_low)], [max(0.0, row.own_high - row.own_mean)]]
        axes.errorbar(
            [row.own_mean],
            [y],
            xerr=None if pd.isna(row.own_low) else spread,
            color=BLUE,
            marker=LEVEL_MARKERS[i % len(LEVEL_MARKERS)],
            markersize=5,
            elinewidth=1.1,
            capsize=2,
            linestyle="",
            label=f"{row.concurrency} in flight",
            zorder=3,
        )


@mpl.rc_context(STYLE)
def draw_differences(rows: pd.DataFrame, title: str, measure: str, simulated: bool) -> PocFigure:
    """Differences with their intervals beside zero and the margin of non-inferiority, one line each.

    Args:
        rows: accuracy.compare_levels or compare_models, each with a ``label`` of its own; rows without an
            interval show their difference alone.
        measure: what differs, for the axis.
    """
    counts = sorted(set(rows["n_frames"].astype(int)))
    n = f"n = {counts[0]}" if len(counts) < 2 else f"n = {counts[0]} to {counts[-1]}"
    margin = float(rows["margin"].iloc[0])
    caption = (
        f"{n} frames per line, paired; whiskers: 95 % interval; right is better. Hatched: a loss "
        "beyond the margin of "
        f"{margin:g}. Filled: not worse; hollow: inconclusive; cross: worse; plus: not judgeable."
    )
    height = 1.8 + LINE_IN * len(rows)
    figure, (axes,) = new_figure(title, caption, simulated, (PANEL_WIDTH_IN, height))
    for place, row in enumerate(rows.itertuples()):
        _draw_difference(axes, row, place)
    ends = pd.concat([rows["low"], rows["high"], rows["difference"]]).dropna()
    reach = 1.15 * max([2.5 * margin, *ends.abs()])
    axes.set_xlim(-reach, reach)
    axes.axvspan(-reach, -margin, fill=False, edgecolor=INK, hatch="///", alpha=0.25, linewidth=0)
    axes.axvline(-margin, color=VERMILLION, linewidth=1.4, linestyle=(0, (5, 2)), label=f"margin −{margin:g}")
    axes.axvline(0, color=INK, linewidth=0.8, label="no difference")
    _name_lines(axes, list(rows["label"]))
    axes.set_xlabel(f"difference in {measure} [−1 to 1]")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderpad=0.2)
    return figure


VERDICT_LOOKS = {
    "not worse": {"marker": "o", "markerfacecolor": BLUE},
    "inconclusive": {"marker": "o", "markerfacecolor": GROUND},
    "worse": {"marker": "X", "markerfacecolor": VERMILLION},
    "not judgeable": {"marker": "+", "markerfacecolor": GROUND},
}


def _draw_difference(axes: Axes, row, place: int) -> None:
    if pd.isna(row.difference):
        return
    color = VERMILLION if row.verdict == "worse" else BLUE
    if pd.notna(row.low):
        axes.plot([row.low, row.high], [place, place], color=color, linewidth=1.4, marker="|", markersize=7)
    look = VERDICT_LOOKS[row.verdict]
    axes.plot([row.difference], [place], color=color, linestyle="", markersize=7, markeredgewidth=1.4, **look)


def _name_lines(axes: Axes, names: list[str]) -> None:
    """Lines from top to bottom, each with its name beside it."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")

"""The ceiling that prefill sets, and where the time of a request goes at each level."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from poc_lib.figures.style import (
    BLUE,
    INK,
    PANEL_WIDTH_IN,
    ROLE_STYLES,
    SKY,
    STYLE,
    PocFigure,
    format_value,
    new_figure,
)
from poc_lib.phases import ceiling_frames_per_s

BAR = 0.62
LOW = 0.25  # of the panel's height: a label below a lower point would leave it
# (colour, alpha, hatch): light, middle and dark also in greyscale
QUEUE_LOOK, PREFILL_LOOK, DECODE_LOOK, AFTER_LOOK = (
    ("none", 1.0, "////"),
    (SKY, 0.5, ""),
    (BLUE, 1.0, ""),
    ("none", 1.0, "...."),
)
NAMES = {
    "queue": "queue and loading",
    "prefill": "prefill",
    "ttft": "waiting and prefill",
    "decode": "decoding",
    "after": "end held back",
}
LOOKS = {
    "queue": QUEUE_LOOK,
    "prefill": PREFILL_LOOK,
    "ttft": PREFILL_LOOK,
    "decode": DECODE_LOOK,
    "after": AFTER_LOOK,
}
SMALL = 0.02  # of the longest bar: parts below it are not drawn nor named


@mpl.rc_context(STYLE)
def draw_ceiling(ceiling: pd.DataFrame, server: str) -> PocFigure:
    """Measured frames/s of one server against concurrency, under the curve that Amdahl's law allows it.

    Args:
        ceiling: phases.summarize_ceiling; levels without a ceiling show their measured rate alone.
        server: its name there.
    """
    rows = ceiling[ceiling["server"] == server].sort_values("concurrency")
    known = rows[rows["frames_per_s"].notna()]
    simulated = bool(rows["simulated"].any())
    figure, (axes,) = new_figure(
        f"What batching could give, {server}", _ceiling_caption(rows), simulated, (PANEL_WIDTH_IN, 3.9)
    )
    levels = sorted(set(rows["concurrency"]))
    top = _draw_bounds(axes, rows, levels)
    style = ROLE_STYLES[rows["role"].iloc[0]] if len(rows) else ROLE_STYLES["candidate"]
    axes.plot(
        known["concurrency"],
        known["frames_per_s"],
        color=style.color,
        linestyle="-",
        marker=style.marker,
        label="measured",
    )
    top = max(top, known["frames_per_s"].max() if len(known) else 0, 1e-9) * 1.15
    for row in known.itertuples():
        _label_level(axes, row, above=row.frames_per_s < LOW * top)
    axes.set_ylim(0, top)
    _scale_levels(axes, levels)
    axes.set_ylabel("frames per second [frames/s]")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=1, borderpad=0.2, handlelength=2.6)
    points = [f"{format_value(r.frames_per_s)} at {r.concurrency}" for r in known.itertuples()]
    figure.alt_text += f" Measured frames per second: {', '.join(points)}."
    return figure


def _ceiling_caption(rows: pd.DataFrame) -> str:
    counts = sorted(set(rows["n_ok"]))
    n = "n = 0" if not counts else f"n = {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")
    bound = rows[rows["ceiling_frames_per_s"].notna()]
    if bound.empty:
        return f"{n} answered requests per level. No ceiling: no split of prefill and decode at 1 in flight."
    one = bound.iloc[0]
    return (
        f"{n} answered requests per level. Ceiling: 1 ÷ (prefill + decode ÷ slots), Amdahl 1967, with "
        f"{format_value(one['prefill_s'])} s of prefill and {format_value(one['decode_s'])} s of decode a "
        f"frame at 1 in flight (n = {one['n_at_1']}). Percent: measured ÷ ceiling."
    )


def _draw_bounds(axes: Axes, rows: pd.DataFrame, levels: list[int]) -> float:
    """The curve and its limit; returns the highest value that must be seen."""
    bound = rows[rows["ceiling_frames_per_s"].notna()]
    if bound.empty:
        return 0.0
    one = bound.iloc[0]
    slots = np.geomspace(1, max(levels), 60)
    curve = [ceiling_frames_per_s(one["prefill_s"], one["decode_s"], level) for level in slots]
    axes.plot(
        slots, curve, color=INK, linestyle="--", linewidth=1.3, label="ceiling: prefill serial, decode shared"
    )
    axes.fill_between(slots, curve, color=INK, alpha=0.05, linewidth=0)
    limit = one["limit_frames_per_s"]
    if pd.notna(limit) and limit <= 2.5 * max(curve):
        label = f"limit at any concurrency: 1 ÷ prefill = {format_value(limit)} frames/s"
        axes.axhline(limit, color=INK, linestyle=":", linewidth=1.3, label=label)
        return limit
    axes.plot([], [], " ", label=f"limit far above: 1 ÷ prefill = {format_value(limit)} frames/s")
    return max(curve)


def _label_level(axes: Axes, row, above: bool) -> None:
    text = format_value(row.frames_per_s)
    if pd.notna(row.share_of_ceiling):
        text += f"\n{row.share_of_ceiling:.0%}"
    point = (row.concurrency, row.frames_per_s)
    place = {"xytext": (0, 8), "va": "bottom"} if above else {"xytext": (0, -8), "va": "top"}
    axes.annotate(text, point, textcoords="offset points", ha="center", fontsize=8, **place)


def _scale_levels(axes: Axes, levels: list[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(levels, [str(level) for level in levels])
    axes.minorticks_off()
    if levels:
        axes.set_xlim(levels[0] / 1.25, levels[-1] * 1.25)
    axes.set_xlabel("concurrency [requests in flight]")


@mpl.rc_context(STYLE)
def draw_phases(phases: pd.DataFrame) -> PocFigure:
    """Mean seconds of a request per server and level, cut into waiting, prefill, decoding and its end.

    Args:
        phases: phases.summarize_phases. Waiting and prefill are told apart only where the server tells them.
    """
    rows = phases[phases["n"] > 0]
    counts = sorted(set(rows["n"]))
    n = "n = 0" if not counts else f"n = {counts[0]}" + (f" to {counts[-1]}" if len(counts) > 1 else "")
    caption = f"{n} answered requests per row, means of all blocks; numbers: to the first token + from it on."
    if (rows["n_told"] > 0).any():
        caption += " Prefill apart from waiting: as the server told it."
    size = (PANEL_WIDTH_IN, max(2.3, 1.6 + 0.34 * len(rows)))
    simulated = bool(rows["simulated"].any())
    figure, (axes,) = new_figure("Where a request's time goes", caption, simulated, size)
    longest_s = (rows["ttft_mean_s"] + rows["decode_mean_s"].fillna(0) + rows["after_mean_s"].fillna(0)).max()
    drawn = [_draw_level(axes, y, row, longest_s) for y, row in enumerate(rows.to_dict("records"))]
    axes.set_yticks(range(len(rows)), [f"{r.server} · {r.concurrency} in flight" for r in rows.itertuples()])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, longest_s * 1.4 if len(rows) else 1)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("mean time of a request [s]")
    parts = [part for part in NAMES if any(part in one for one in drawn)]
    handles = [_patch(part) for part in parts]
    if handles:
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderpad=0.2)
    return figure


def _patch(part: str) -> Patch:
    color, alpha, hatch = LOOKS[part]
    edge = INK if hatch else "none"
    return Patch(facecolor=color, alpha=alpha, hatch=hatch, edgecolor=edge, linewidth=0.5, label=NAMES[part])


def _parts(row: dict) -> dict[str, float]:
    told = row["n_told"] == row["n"] and not np.isnan(row["queue_mean_s"])
    queue_s = row["queue_mean_s"] + np.nan_to_num(row["load_mean_s"]) if told else np.nan
    waiting = (
        {"queue": queue_s, "prefill": row["ttft_mean_s"] - queue_s} if told else {"ttft": row["ttft_mean_s"]}
    )
    return {**waiting, "decode": row["decode_mean_s"], "after": row["after_mean_s"]}


def _draw_level(axes: Axes, y: int, row: dict, longest_s: float) -> list[str]:
    """One stacked bar; returns the parts that are large enough to be seen."""
    left, seen = 0.0, []
    for part, seconds in _parts(row).items():
        if np.isnan(seconds) or seconds < SMALL * longest_s:
            left += 0 if np.isnan(seconds) else seconds
            continue
        color, alpha, hatch = LOOKS[part]
        edge = INK if hatch else "none"
        axes.barh(
            y, seconds, BAR, left=left, color=color, alpha=alpha, hatch=hatch, edgecolor=edge, linewidth=0.5
        )
        left += seconds
        seen.append(part)
    rest_s = np.nansum([row["decode_mean_s"], row["after_mean_s"]])
    text = format_value(row["ttft_mean_s"])
    if not np.isnan(row["decode_mean_s"]):
        text += f" + {format_value(rest_s)}"
    label = axes.annotate(f"{text} s", (left, y), (4, 0), textcoords="offset points", va="center", fontsize=8)
    label.set_in_layout(False)  # the axes leave it room; else each drawing would shrink them once more
    return seen

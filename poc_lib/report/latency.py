"""Latency: percentiles with intervals, distributions, and requests over time."""

from collections.abc import Callable

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.figures import draw_latency, draw_timeline
from poc_lib.metrics import MEASURES
from poc_lib.report.blocks import Cell, Figures, NamedFigure, Section, Table
from poc_lib.report.choice import chosen_level, measured_baseline
from poc_lib.report.wording import NOT_KNOWN, cells, columns, milliseconds, seconds

LATENCY_COLUMNS = columns(
    "measure", "server", "in flight", "n", "mean", "p50", "p50, 95 % interval", "p90", "p95",
    "p95, 95 % interval", "p99", text=("measure", "server"),
)  # fmt: skip
SHORT_NAMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "total_s": "total"}
_UNITS = {"ttft_s": seconds, "tpot_s": milliseconds, "itl_s": milliseconds, "total_s": seconds}
FEW = 100  # below it, p99 is the slowest value or close to it


def latency_section(analysis: Analysis) -> Section:
    """Percentiles of every latency measure, their distributions, and one level's requests over time."""
    table = Table(_latency_caption(analysis), LATENCY_COLUMNS, tuple(_latency_rows(analysis.latency)))
    level = chosen_level(analysis)
    timeline = draw_timeline(analysis.requests, analysis.verdict.candidate, level)
    figures = [
        NamedFigure(
            "timeline",
            timeline,
            "Bars that start together were sent together; a wave of equal ends is a batch.",
        )
    ]
    if len(measured_baseline(analysis)):
        name, low = analysis.baseline.name, analysis.baseline.concurrency
        drawn = draw_timeline(analysis.requests, name, low)
        figures.append(NamedFigure("timeline_baseline", drawn, "The baseline's requests, for comparison."))
    pair = tuple(
        NamedFigure(
            f"latency_{SHORT_NAMES[measure].lower()}", draw_latency(analysis.requests, [measure]), reading
        )
        for measure, reading in (
            ("ttft_s", "Waiting for the first token: queue, image encoding and prefill."),
            ("total_s", "From sending to the last byte."),
        )
    )
    return Section("latency", "Latency", (table, Figures(pair), Figures(tuple(figures))))


def _latency_caption(analysis: Analysis) -> str:
    meanings = "; ".join(f"{SHORT_NAMES[name]}: {meaning}" for name, meaning in MEASURES.items())
    requests = analysis.latency[analysis.latency["measure"] == "total_s"]["n"]
    caption = f"Over answered requests; ITL pools the gaps of all answers. {meanings}."
    if len(requests) and requests.min() < FEW:
        caption += f" With n below {FEW}, p99 is the slowest request or close to it."
    return caption


def _latency_rows(latency: pd.DataFrame) -> list[tuple[Cell, ...]]:
    points = ("mean", "p50", "p50_", "p90", "p95", "p95_", "p99")
    return [
        cells(
            SHORT_NAMES[row["measure"]],
            row["server"],
            str(row["concurrency"]),
            f"{int(row['n']):,}",
            *(_point(row, point, _UNITS[measure]) for point in points),
        )
        for measure in MEASURES
        for _, row in latency[latency["measure"] == measure].iterrows()
    ]


def _point(row: pd.Series, point: str, unit: Callable[[float], str]) -> str:
    """A percentile, or the interval of one ("p50_"); an end that so few answers do not give is open."""
    if not point.endswith("_"):
        return unit(row[point])
    low, high = row[f"{point}low"], row[f"{point}high"]
    if pd.isna(low) and pd.isna(high):
        return NOT_KNOWN
    return f"{'open' if pd.isna(low) else unit(low)} to {'open' if pd.isna(high) else unit(high)}"

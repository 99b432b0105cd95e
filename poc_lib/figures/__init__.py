"""Figures: tables in, ``matplotlib.figure.Figure`` out. Pure: no pyplot state, no file, no statistic."""

from poc_lib.figures.open_loop import draw_open_loop
from poc_lib.figures.phases import draw_ceiling, draw_phases
from poc_lib.figures.quality import draw_agreement, draw_calibration, draw_differences
from poc_lib.figures.similarity import FitMap, draw_similarities, draw_similarity
from poc_lib.figures.speed import draw_latency, draw_throughput
from poc_lib.figures.speedup import draw_speedups
from poc_lib.figures.style import PocFigure
from poc_lib.figures.svg import figure_to_svg
from poc_lib.figures.timeline import draw_timeline

__all__ = [
    "FitMap",
    "PocFigure",
    "draw_agreement",
    "draw_calibration",
    "draw_ceiling",
    "draw_differences",
    "draw_latency",
    "draw_open_loop",
    "draw_phases",
    "draw_similarities",
    "draw_similarity",
    "draw_speedups",
    "draw_throughput",
    "draw_timeline",
    "figure_to_svg",
]

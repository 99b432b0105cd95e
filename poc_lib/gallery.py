"""Frames beside their texts: what people judge by eye. Model text is always escaped."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from IPython.display import HTML
from matplotlib.figure import Figure

from poc_lib.analysis import Analysis
from poc_lib.records import Frame
from poc_lib.report import make_thumbnail
from poc_lib.report.choice import chosen_level
from poc_lib.report.html import gallery_styles, render_gallery
from poc_lib.report.quality import questions
from poc_lib.report.quality.calibration import draw_calibration_of
from poc_lib.report.quality.heat_maps import draw_fit_at, draw_fit_levels
from poc_lib.report.samples import choose_samples, of_kinds
from poc_lib.report.writing import describe_samples

_CARD = "display:inline-block;vertical-align:top;width:20em;max-width:100%;margin:0 1em 1em 0"
# A notebook has no page of ours around it: half-transparent colours go with its light and its dark theme.
_COLORS = (
    "--muted:#888;--line:#8886;--soft:#8882;--good:#0b8a52;--good-soft:#0b8a5226;--bad:#d0463d;"
    "--bad-soft:#d0463d26;--warn:#b07d00;--warn-soft:#e69f0033;line-height:1.5;max-width:64rem"
)
KINDS = {"worst": ("worst",), "random": ("random",), "suspicious": ("leak", "suspicious")}


def frame_gallery(frames: Sequence[Frame], n: int, screenshots: bool = True) -> HTML:
    """n frames, evenly chosen: the image (unless screenshots are left out) over its stored description."""
    step = max(1, len(frames) // n)
    cards = []
    for frame in frames[::step][:n]:
        stored = frame.reference.description if frame.reference else f"({frame.reference_problem})"
        size = f"{html.escape(frame.frame_id)}, {frame.width} × {frame.height} pixels"
        image = _image(frame.image_path, frame.frame_id, screenshots)
        cards.append(f'<div style="{_CARD}">{image}<b>{size}</b><br>{html.escape(stored)}</div>')
    return HTML("".join(cards) or "<p>No frame can be shown.</p>")


def answer_gallery(
    analysis: Analysis, which: Literal["worst", "random", "suspicious"], screenshots: bool = True
) -> HTML:
    """Answers as the report's gallery shows them: images, texts with their differences marked, scores, flags.

    "worst" and "random" are the candidate's at the level of the verdict, or at its highest level where there
    is none; "suspicious" are proven leaks and suspicions of every level.
    """
    seed = analysis.run.facts["params"]["seed"]
    chosen = of_kinds(choose_samples(analysis, seed), KINDS[which])
    if not chosen:
        return HTML("<p>No such answer.</p>")
    shown = render_gallery(describe_samples(analysis, chosen, screenshots))
    return HTML(f'<div style="{_COLORS}"><style>{gallery_styles()}</style>{shown}</div>')


def draw_fit(analysis: Analysis) -> Figure:
    """Heat map of the candidate's answers against all references, at the level of the verdict."""
    return draw_fit_at(analysis, chosen_level(analysis))


def draw_fits(analysis: Analysis) -> Figure:
    """The same at every level of the candidate, in small panels."""
    return draw_fit_levels(analysis)


def draw_calibrated(analysis: Analysis) -> Figure:
    """Floor, agreement per level and ceiling of the verdict's candidate."""
    return draw_calibration_of(analysis)


def draw_level_cost(analysis: Analysis) -> Figure | HTML:
    """What each level loses against its server's lowest one, beside the margin."""
    if analysis.quality.levels.empty:
        return HTML("<p>One level only: there is nothing to draw.</p>")
    return questions.draw_level_cost(analysis)


def draw_model_cost(analysis: Analysis) -> Figure | HTML:
    """What each candidate loses against the baseline, beside the margin."""
    if not analysis.quality.models["n_frames"].sum():
        return HTML("<p>Nothing to hold the model against: there is nothing to draw.</p>")
    return questions.draw_model_cost(analysis)


def _image(path: Path, alt: str, screenshots: bool) -> str:
    if not screenshots:
        return "<p>(screenshot left out)</p>"
    if not Path(path).is_file():
        return "<p>(the image is no longer there)</p>"
    data = base64.b64encode(make_thumbnail(path)).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" style="width:100%">'

"""Frames beside their texts, and answers against references as a heat map: what people judge by eye."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from poc_lib.accuracy import STORED_REFERENCE, pick_samples
from poc_lib.analysis import Analysis
from poc_lib.records import Frame
from poc_lib.report import make_thumbnail
from poc_lib.report.choice import chosen_level
from poc_lib.report.quality import draw_fit_at

SCORES = {
    "difflib_ratio": "difflib",
    "tfidf_cosine": "TF-IDF",
    "activity_agrees": "activity",
    "apps_jaccard": "apps",
    "topics_jaccard": "topics",
}
_CARD = "display:inline-block;vertical-align:top;width:20em;max-width:100%;margin:0 1em 1em 0"
_ROW = "display:flex;flex-wrap:wrap;gap:1em;margin-bottom:1.5em;align-items:flex-start"


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
    analysis: Analysis, n: int, which: Literal["worst", "random"], screenshots: bool = True
) -> HTML:
    """n frames with their image, stored reference, baseline's and candidate's answer, and scores.

    Answers are the candidate's at the level of the verdict, or at its highest level where there is none.
    """
    level = chosen_level(analysis)
    scores = analysis.scores
    stored = scores[
        (scores["server"] == analysis.verdict.candidate)
        & (scores["concurrency"] == level)
        & (scores["against"] == STORED_REFERENCE)
    ]
    samples = pick_samples(stored, n, seed=analysis.run.facts["params"]["seed"])
    chosen = samples.worst if which == "worst" else (samples.random or samples.worst)
    rows = [_answer_row(analysis, frame_id, level, stored, screenshots) for frame_id in chosen]
    return HTML("".join(rows) or "<p>No answer could be compared with a reference.</p>")


def draw_fit(analysis: Analysis) -> Figure:
    """Heat map of the candidate's answers against all references, at the level of the verdict."""
    return draw_fit_at(analysis, chosen_level(analysis))


def _answer_row(
    analysis: Analysis, frame_id: str, level: int, stored: pd.DataFrame, screenshots: bool
) -> str:
    frame = analysis.frames.set_index("frame_id").loc[frame_id]
    scores = stored[stored["frame_id"] == frame_id].iloc[0]
    shown = ", ".join(
        f"{label} {scores[name]:.2f}" for name, label in SCORES.items() if pd.notna(scores[name])
    )
    texts = [("stored reference", frame["ref_description"])]
    texts += [
        (f"{row.server} at {row.concurrency}", row.text) for row in _answers_to(analysis, frame_id, level)
    ]
    body = "".join(f"<p><b>{html.escape(who)}</b><br>{html.escape(str(text))}</p>" for who, text in texts)
    image = _image(frame["image_path"], frame_id, screenshots)
    return (
        f'<div style="{_ROW}"><div style="{_CARD}">{image}<br>{html.escape(frame_id)}: {shown}</div>'
        f'<div style="flex:1 1 20em;min-width:0;overflow-wrap:anywhere">{body}</div></div>'
    )


def _answers_to(analysis: Analysis, frame_id: str, level: int) -> list:
    requests = analysis.requests
    answered = requests[
        (requests["phase"] == "measure")
        & (requests["frame_id"] == frame_id)
        & requests["error_class"].isna()
        & ((requests["role"] == "baseline") | (requests["concurrency"] == level))
    ]
    return list(answered.drop_duplicates("server").itertuples())


def _image(path: Path, alt: str, screenshots: bool) -> str:
    if not screenshots:
        return "<p>(screenshot left out)</p>"
    if not Path(path).is_file():
        return "<p>(the image is no longer there)</p>"
    data = base64.b64encode(make_thumbnail(path)).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" style="width:100%">'

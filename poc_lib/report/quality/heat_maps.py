"""The heat maps of the confusion section: every level small, the chosen and the worst large."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.confusion import LOOKS_DIFFERENT_BITS, fit_matrix, hash_distance
from poc_lib.figures import FitMap, PocFigure, draw_similarities, draw_similarity
from poc_lib.report.blocks import Block, Figures, NamedFigure
from poc_lib.report.choice import chosen_level, of_candidate

MOST_PANELS = 6
READING = "A row that is bright in another frame's column is a mix-up; the outline is where it was found."
SMALL_READING = "Bright on the diagonal alone: every answer is like its own frame's reference."


def heat_map_blocks(analysis: Analysis) -> list[Block]:
    """All levels of the verdict's candidate in one figure, then the chosen and the worst on their own."""
    levels = _levels(analysis)
    large = [level for level in dict.fromkeys((chosen_level(analysis), *_worst(analysis))) if level in levels]
    figures = tuple(
        NamedFigure(f"similarity_{level}", draw_fit_at(analysis, level), READING) for level in large
    )
    if len(levels) < 2:
        return [Figures(figures)]
    small = NamedFigure("similarity_levels", draw_fit_levels(analysis), SMALL_READING)
    return [Figures((small,), wide=True), Figures(figures)]


def draw_fit_at(analysis: Analysis, level: int) -> PocFigure:
    """The candidate's answers at a level, in its most suspicious block, against every stored reference."""
    one = _fit_map(analysis, level, f"Answer × reference, {analysis.verdict.candidate} at {level} in flight")
    return draw_similarity(one, analysis.run.simulated)


def draw_fit_levels(analysis: Analysis) -> PocFigure:
    """The candidate's answers at every level, in small panels."""
    maps = [_fit_map(analysis, level, f"{level} in flight") for level in _levels(analysis)]
    title = f"Answer × reference at every level, {analysis.verdict.candidate}"
    return draw_similarities(maps, title, analysis.run.simulated)


def _levels(analysis: Analysis) -> list[int]:
    """At most MOST_PANELS levels: the chosen, the worst and the highest are kept."""
    levels = sorted(set(of_candidate(analysis, analysis.confusion)["concurrency"]))
    if len(levels) <= MOST_PANELS:
        return levels
    first = [chosen_level(analysis), *_worst(analysis), levels[0], *reversed(levels)]
    return sorted(list(dict.fromkeys(first))[:MOST_PANELS])


def _worst(analysis: Analysis) -> list[int]:
    """The level with the most suspicious answers, if any."""
    found = of_candidate(analysis, analysis.suspicious)["concurrency"].value_counts()
    return [int(level) for level in found.index[:1]]


def _fit_map(analysis: Analysis, level: int, title: str) -> FitMap:
    requests = of_candidate(analysis, analysis.requests)
    cells = requests[(requests["concurrency"] == level) & (requests["phase"] == "measure")]
    odd = of_candidate(analysis, analysis.suspicious)
    odd = odd[odd["concurrency"] == level]
    block = _worst_block(odd, cells)
    matrix, frame_ids = fit_matrix(cells[cells["block"] == block], analysis.frames)
    here = odd[odd["block"] == block]
    return FitMap(
        title=f"{title}, block {block + 1}",
        matrix=matrix,
        frame_ids=tuple(frame_ids),
        flagged=tuple(zip(here["frame_id"], here["other_frame_id"], strict=True)),
        alike=_alike(analysis.frames, frame_ids),
    )


def _worst_block(odd: pd.DataFrame, cells: pd.DataFrame) -> int:
    counts = odd["block"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    return int(counts.index[0]) if len(counts) else int(cells["block"].min())


def _alike(frames: pd.DataFrame, frame_ids: list[str]) -> tuple[tuple[int, int], ...]:
    """Places of pairs of frames that look alike, the diagonal left out."""
    hashes = dict(zip(frames["frame_id"], frames["phash"], strict=True))
    known = [hashes.get(frame_id) for frame_id in frame_ids]
    return tuple(
        (i, j)
        for i, one in enumerate(known)
        for j, other in enumerate(known)
        if i != j and one and other and hash_distance(one, other) < LOOKS_DIFFERENT_BITS
    )

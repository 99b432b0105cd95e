"""What similarity means in this run: the top (a server against itself) and the bottom (another frame)."""

import numpy as np
import pandas as pd

from poc_lib.accuracy.sides import Side, answer_side, measured, reference_sides
from poc_lib.accuracy.similarity import cosine_pairs, difflib_ratio, vectorize_texts

YARDSTICK_COLUMNS = (
    "server",
    "compared",
    "n_pairs",
    "match_rate",
    "difflib_mean",
    "difflib_median",
    "tfidf_mean",
)

Texts = list[tuple[str, str]]


def summarize_yardsticks(
    requests: pd.DataFrame, frames: pd.DataFrame, match_threshold: float
) -> pd.DataFrame:
    """Per server, how alike its texts are where they should be alike, and where they should not.

    A match rate means little alone: paraphrases of one screen score far below 1, other screens far above 0.

    Args: as for ``score_answers``.

    Returns:
        Two rows per server with YARDSTICK_COLUMNS. "itself, same frame": the answers of the server's first
        two cells (lowest level, two blocks; with one block the two lowest levels). "another frame's
        reference": the first cell's answers against the stored reference half the recording away. NaN and
        n 0 where the run has no such pairs.
    """
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=list(YARDSTICK_COLUMNS))
    references = reference_sides(frames.sort_values("timestamp_s")) if len(frames) else {}
    table = []
    for server, of_server in rows.groupby("server", sort=False):
        cells = _first_two_cells(of_server)
        pairs = {
            "itself, same frame": [(cells[0][f], cells[1][f]) for f in cells[0] if f in cells[1]],
            "another frame's reference": _half_way_pairs(cells[0], references),
        }
        table += [_yardstick(server, what, texts, match_threshold) for what, texts in pairs.items()]
    return pd.DataFrame(table, columns=list(YARDSTICK_COLUMNS))


def _first_two_cells(rows: pd.DataFrame) -> tuple[dict[str, str], dict[str, str]]:
    """Two times frame_id -> text, of the answered requests in the first cells by level and block."""
    cells = [
        {
            frame_id: side.text
            for frame_id, side in zip(cell["frame_id"], _sides(cell), strict=True)
            if not side.problem
        }
        for _, cell in rows.groupby(["concurrency", "block"])
    ]
    return cells[0], cells[1] if len(cells) > 1 else {}


def _sides(cell: pd.DataFrame) -> list[Side]:
    return [answer_side(text, error) for text, error in zip(cell["text"], cell["error_class"], strict=True)]


def _half_way_pairs(answers: dict[str, str], references: dict[str, Side]) -> Texts:
    ids = list(references)
    far = {frame_id: ids[(i + len(ids) // 2) % len(ids)] for i, frame_id in enumerate(ids)}
    return [
        (references[far[frame_id]].text, text)
        for frame_id, text in answers.items()
        if far.get(frame_id, frame_id) != frame_id
    ]


def _yardstick(server: str, what: str, texts: Texts, match_threshold: float) -> dict:
    ratios = pd.Series([difflib_ratio(a, b) for a, b in texts], dtype=float)
    vectors = vectorize_texts(text for pair in texts for text in pair)
    cosines = cosine_pairs(vectors, [a for a, _ in texts], [b for _, b in texts]) if texts else np.array([])
    return {
        "server": server,
        "compared": what,
        "n_pairs": len(texts),
        "match_rate": (ratios > match_threshold).mean() if texts else float("nan"),
        "difflib_mean": ratios.mean(),
        "difflib_median": ratios.median(),
        "tfidf_mean": cosines.mean() if texts else float("nan"),
    }

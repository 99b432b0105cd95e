"""Agreement with the stored reference and with the live baseline, per level."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.figures import draw_agreement
from poc_lib.params import Params
from poc_lib.report.blocks import Block, Cell, Figures, Heading, NamedFigure, Table
from poc_lib.report.wording import NOT_KNOWN, cells, columns, interval, number, share

TITLES = columns(
    "server", "in flight", "held against", "match", "95 % interval", "n", "TF-IDF", "difflib", "activity (n)",
    "apps (n)", "topics (n)", text=("server", "held against"),
)  # fmt: skip


def agreement_blocks(analysis: Analysis, params: Params) -> list[Block]:
    """The table of all levels and the match rates as a figure."""
    ordered = analysis.agreement.sort_values(["role", "server", "against", "concurrency"], kind="stable")
    rows = tuple(_row(row) for _, row in ordered.iterrows())
    caption = (
        f"Match: difflib ratio above {params.match_threshold:g}, as planned. TF-IDF, difflib: "
        "means. Apps and "
        "topics: mean Jaccard overlap. n counts what could be scored; a failed request is not scored as a "
        "wrong answer."
    )
    drawn = draw_agreement(analysis.agreement, params.target_match_rate, analysis.run.simulated)
    figure = NamedFigure("agreement", drawn, "Where whiskers overlap, the levels cannot be told apart.")
    return [Heading("Agreement per level"), Table(caption, TITLES, rows), Figures((figure,))]


def _row(row: pd.Series) -> tuple[Cell, ...]:
    return cells(
        row["server"],
        str(row["concurrency"]),
        row["against"],
        share(row["match_rate"]),
        interval(row) if row["n_scored"] else NOT_KNOWN,
        str(int(row["n_scored"])),
        number(row["tfidf_mean"]),
        number(row["difflib_mean"]),
        f"{share(row['activity_rate'])} ({int(row['activity_n'])})",
        f"{number(row['apps_jaccard_mean'])} ({int(row['apps_n'])})",
        f"{number(row['topics_jaccard_mean'])} ({int(row['topics_n'])})",
    )

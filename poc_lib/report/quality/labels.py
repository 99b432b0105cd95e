"""What people have said that an answer must hold: where there are labels, they lead."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Block, Cell, Heading, Note, Table, Text
from poc_lib.report.quality.words import at_level, percent_range, with_n
from poc_lib.report.wording import cells, columns, count, number, share

COLUMNS = columns(
    "server", "in flight", "correct", "95 % interval", "n", "of what they must hold", "n", "activity (n)",
    "apps overlap (n)", "failed", text=("server",),
)  # fmt: skip
CAPTION = (
    "Correct: the answer holds everything that its label asks for and nothing that it forbids. A failed "
    "request is not a wrong answer, and stands apart."
)


def label_blocks(analysis: Analysis) -> list[Block]:
    """One sentence a level and the table; nothing without human labels."""
    labels = analysis.quality.labels
    if labels.empty:
        return []
    n_frames = int(labels["n_frames"].max())
    lead = f"Held against human labels of {count(n_frames, 'frame')}: these count more than all that follows."
    said = [_note(row) for _, row in labels.iterrows()]
    rows = tuple(_row(row) for _, row in labels.iterrows())
    wrong = _wrong_table(analysis.quality.label_scores)
    return [
        Heading("By human labels"),
        Text(lead),
        *said,
        Table(CAPTION, COLUMNS, rows),
        *([wrong] if wrong else []),
    ]


def _note(row: pd.Series) -> Note:
    if not row["correct_n"]:
        return Note(f"{at_level(row)}: no labelled frame was answered.", "warn")
    correct = f"{share(row['correct_rate'])} of {with_n('answer', row['correct_n'])} correct"
    return Note(f"{at_level(row)}: {correct} (95 % interval {percent_range(row, 'correct')}).", "muted")


def _row(row: pd.Series) -> tuple[Cell, ...]:
    return cells(
        row["server"],
        str(row["concurrency"]),
        share(row["correct_rate"]),
        percent_range(row, "correct"),
        str(int(row["correct_n"])),
        f"{share(row['contained_mean'])} ({percent_range(row, 'contained')})",
        str(int(row["contained_n"])),
        f"{share(row['activity_rate'])} ({int(row['activity_n'])})",
        f"{number(row['apps_jaccard_mean'])} ({int(row['apps_n'])})",
        Cell(str(int(row["n_failed"])), "bad" if row["n_failed"] else "plain"),
    )


def _wrong_table(scored: pd.DataFrame, most: int = 20) -> Table | None:
    wrong = scored[scored["correct"] == 0]
    rows = tuple(
        cells(
            row.server,
            str(row.concurrency),
            str(row.block + 1),
            row.frame_id,
            ", ".join(row.missing) or "–",
            ", ".join(row.forbidden) or "–",
        )
        for row in wrong.head(most).itertuples()
    )
    titles = columns(
        "server", "in flight", "block", "answer to", "lacks", "says wrongly",
        text=("server", "answer to", "lacks", "says wrongly"),
    )  # fmt: skip
    more = f" Of {len(wrong):,}, the first {most}." if len(wrong) > most else ""
    return Table(f"The answers that are not correct.{more}", titles, rows, as_cards=True) if rows else None

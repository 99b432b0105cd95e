"""Is each answer sound in itself: whole, in form, in the right language, of a usual length?"""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.health.scores import FLAGS
from poc_lib.report.blocks import Block, Bullets, Cell, Note, Section, Table, Text
from poc_lib.report.quality.words import at_level, p_value, percent_range
from poc_lib.report.wording import cells, columns, count, number, share

PHRASES = {
    "failed": "failed",
    "empty": "empty",
    "truncated": "cut off at `max_tokens`",
    "not_well_formed": "not in the app's one-line format",
    "looping": "repeating themselves",
    "refusal": "refusals",
    "wrong_language": "in another language",
    "too_short": "far too short",
    "too_long": "far too long",
}
OF_REQUESTS = ("failed", "empty")
CLEARLY = 0.05
TITLES = columns(
    "server", "in flight", "answers", "parsed (95 %)", "failed", "empty", "cut off", "looping", "refusals",
    "other language", "too short", "too long", "median length", "× reference (n)",
    text=("server",),
)  # fmt: skip
CAPTION = (
    "Counts among the answers; failed and empty among all requests sent. Parsed: in the "
    "app's one-line format. "
    "Too short and too long: less than a third, or more than three times, of the stored reference's length. "
    "Median length in characters."
)


def health_section(analysis: Analysis) -> Section:
    """Problems in words, each with n and interval; then the table of all levels."""
    table = analysis.quality.health
    if table.empty:
        return Section("health", "Health of the answers", (Note("No answer came.", "warn"),))
    problems = [sentence for _, row in table.iterrows() for sentence in _problems(row)]
    blocks: list[Block] = [Text("Each answer by itself, whatever the reference says.")]
    if problems:
        blocks += [Note(f"{_unsound(table)} in themselves:", "warn"), Bullets(tuple(problems))]
    else:
        blocks.append(
            Note(f"All {count(int(table['n_requests'].sum()), 'answer')} are sound in themselves.", "good")
        )
    blocks.append(Table(CAPTION, TITLES, tuple(_row(row) for _, row in table.iterrows())))
    return Section("health", "Health of the answers", tuple(blocks))


def _unsound(table: pd.DataFrame) -> str:
    n_sent = int(table["n_requests"].sum())
    n_unsound = n_sent - int(table["healthy"].sum())
    return f"{n_unsound:,} of {n_sent:,} answers are not sound"


def _problems(row: pd.Series) -> list[str]:
    """One sentence for a level with unsound answers, with every problem it has."""
    found = [
        f"{int(row[flag])} of {int(row['n_requests' if flag in OF_REQUESTS else 'n_answers'])} "
        f"{PHRASES[flag]} "
        f"({percent_range(row, flag)})"
        for flag in FLAGS
        if row[flag]
    ]
    if not found:
        return []
    text = f"{at_level(row)}: {'; '.join(found)}"
    worse = row["unhealthy_p_value"]
    if pd.notna(worse) and worse < CLEARLY:
        text += f". More frames are affected than at this server's lowest level ({p_value(worse)})"
    return [f"{text}."]


def _row(row: pd.Series) -> tuple[Cell, ...]:
    parsed = f"{share(row['parse_rate'])} ({percent_range(row, 'parse_rate')})"
    flags = (*OF_REQUESTS, "truncated", "looping", "refusal", "wrong_language", "too_short", "too_long")
    return cells(
        row["server"],
        str(row["concurrency"]),
        f"{int(row['n_answers'])} of {int(row['n_requests'])}",
        Cell(parsed, "warn" if row["not_well_formed"] else "plain"),
        *(Cell(str(int(row[flag])), "warn" if row[flag] else "plain") for flag in flags),
        number(row["median_chars"], 0),
        f"{number(row['median_chars_vs_reference'])} ({int(row['n_vs_reference'])})",
    )

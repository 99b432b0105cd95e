"""The section that holds runs together: what changed, what came of it, and what it can be put down to."""

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from poc_lib.comparison import (
    Difference,
    attribution_sentence,
    comparison_sentence,
    drift_sentences,
    leading_ratio,
    reason_sentence,
    unlike_sentence,
)
from poc_lib.comparison.differences import MUST
from poc_lib.figures.comparison import draw_comparison
from poc_lib.report.blocks import Block, Cell, Column, Figures, NamedFigure, Note, Section, Table, Text
from poc_lib.report.wording import NOT_KNOWN, cells, columns, number, share, times

WHO = ("run", "server", "in flight")
SPEED_COLUMNS = columns(
    *WHO,
    "frames/s",
    "× normalised (95 % interval)",
    "× as measured (95 % interval)",
    "reading",
    "lost",
    text=(*WHO, "reading"),
)
TOKEN_COLUMNS = columns(*WHO, "output tok/s", "× in tok/s (95 % interval)", "TTFT p50 [s]", text=WHO)
QUALITY_COLUMNS = columns(
    *WHO,
    "match (n)",
    "suspicious",
    "similarity, change (95 % interval)",
    "n frames",
    "reading",
    text=(*WHO, "reading"),
)
YARDSTICK = "held against"


def comparison_section(comparison: pd.DataFrame, differences: Mapping[str, Sequence[Difference]]) -> Section:
    """What changed between the runs, their speed and quality side by side, and the ratios as a figure.

    Args:
        comparison: comparison.compare_runs.
        differences: comparison.refuse_unlike: each later run's differences from the first.
    """
    first = comparison["first_run_id"].iloc[0]
    blocks: list[Block] = [*_warnings(comparison, differences, first), *_sentences(comparison)]
    for run_id, found in differences.items():
        blocks.append(_changes_table(run_id, found, first))
        blocks.append(Text(f"'{run_id}': {attribution_sentence(found)}"))
    shown = _shown(comparison)
    blocks += [_speed_table(shown, first), Text(reason_sentence(comparison))]
    blocks += [_tokens_table(shown), _quality_table(shown, first)]
    if (comparison["scope"].eq("level") & comparison["frames_ratio"].notna()).any():
        reading = "A stroke that crosses the dashed line at 1 leaves open whether there is a difference."
        blocks.append(Figures((NamedFigure("comparison", draw_comparison(comparison), reading),)))
    return Section("comparison", "Compared runs", tuple(blocks))


def _warnings(
    comparison: pd.DataFrame, differences: Mapping[str, Sequence[Difference]], first: str
) -> list[Note]:
    unlike = [unlike_sentence(run_id, first, found) for run_id, found in differences.items()]
    notes = [Note(sentence, "bad") for sentence in unlike if sentence]
    return notes + [Note(sentence, "warn") for sentence in drift_sentences(comparison)]


def _sentences(comparison: pd.DataFrame) -> list[Text]:
    best = comparison[(comparison["scope"] == "best") & comparison["first_concurrency"].notna()]
    sentences = [
        Text(f"Best level against best level: {comparison_sentence(row)}") for _, row in best.iterrows()
    ]
    return sentences or [
        Text("No two runs have a level each that answered every frame: see the table by level.")
    ]


def _changes_table(run_id: str, found: Sequence[Difference], first: str) -> Table:
    rows = tuple(
        cells(
            difference.what,
            difference.first,
            difference.other,
            Cell("✗ should be equal", "bad") if difference.kind == MUST else "may differ",
        )
        for difference in found
    )
    titles = ("what changed", first, run_id, "for a comparison")
    caption = f"Everything on record that is not the same in {first} and {run_id}."
    return Table(caption, columns(*titles, text=titles), rows, as_cards=True)


def _shown(comparison: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table with ``best``: a best level has a row of its own only against another level."""
    is_best = comparison["scope"] == "best"
    best = {(row.run_id, row.server, row.concurrency) for row in comparison[is_best].itertuples()}
    other_level = comparison["first_concurrency"].notna() & (
        comparison["first_concurrency"] != comparison["concurrency"]
    )
    shown = comparison[~is_best | other_level]
    keys = zip(shown["run_id"], shown["server"], shown["concurrency"], strict=True)
    return shown.assign(best=[key in best for key in keys])


def _speed_table(shown: pd.DataFrame, first: str) -> Table:
    caption = (
        f"×: rate divided by that of {first} at the same level, or at the level named. Intervals take blocks "
        "of different runs as independent and frames as paired. Normalised: divided by what the common "
        "baseline did. Lost: requests that failed or were never sent. Marked: each run's best level."
    )
    return _table(caption, SPEED_COLUMNS, shown, _speed_cells)


def _tokens_table(shown: pd.DataFrame) -> Table:
    caption = "Output tokens only. Where answers grew longer or shorter, frames/s and tok/s part."
    return _table(caption, TOKEN_COLUMNS, shown, _token_cells)


def _quality_table(shown: pd.DataFrame, first: str) -> Table:
    caption = (
        f"Similarity: difflib ratio to the stored reference, 0 to 1; its change from {first} is paired by "
        "frame, over the frames whose reference is the same text in both runs."
    )
    return _table(caption, QUALITY_COLUMNS, shown, _quality_cells)


def _table(
    caption: str,
    titles: tuple[Column, ...],
    shown: pd.DataFrame,
    cells_of: Callable[[pd.Series], tuple[Cell, ...]],
) -> Table:
    rows = tuple(cells_of(row) for _, row in shown.iterrows())
    return Table(
        caption, titles, rows, marked_rows=frozenset(i for i, best in enumerate(shown["best"]) if best)
    )


def _who(row: pd.Series) -> tuple[str, str, str]:
    level, first = row["concurrency"], row["first_concurrency"]
    against = f", against {int(first)}" if pd.notna(first) and int(first) != level else ""
    return row["run_id"], row["server"], f"{level}{against}"


def _speed_cells(row: pd.Series) -> tuple[Cell, ...]:
    lost = int(row["n_lost"])
    return cells(
        *_who(row),
        number(row["frames_per_s"], 3),
        _ratio(row, "normalised", "normalised"),
        _ratio(row, "frames_ratio", "frames"),
        _reading(row, leading_ratio(row), ("slower", "faster"), 1.0),
        Cell(f"✗ {lost}", "bad") if lost else "0",
    )


def _token_cells(row: pd.Series) -> tuple[Cell, ...]:
    return cells(
        *_who(row),
        number(row["output_tok_per_s"], 1),
        _ratio(row, "tokens_ratio", "tokens"),
        number(row["ttft_p50_s"]),
    )


def _ratio(row: pd.Series, value: str, ends: str) -> str:
    if pd.isna(row[value]):
        return NOT_KNOWN
    return f"{times(row[value])} ({_interval(row, ends, 2)})"


def _interval(row: pd.Series, ends: str, digits: int) -> str:
    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    return "no interval" if pd.isna(low) else f"{number(low, digits)} to {number(high, digits)}"


def _reading(
    row: pd.Series, found: tuple[float, float, float], words: tuple[str, str], neutral: float
) -> Cell:
    """What an interval says, in words: its tone only underlines them."""
    value, low, high = found
    if row["run_id"] == row["first_run_id"]:
        return Cell(YARDSTICK, "muted")
    if pd.isna(value) or pd.isna(low):
        return Cell("cannot be told", "muted")
    if low <= neutral <= high:
        return Cell("no difference seen")
    return Cell(words[1], "good") if value > neutral else Cell(words[0], "bad")


def _quality_cells(row: pd.Series) -> tuple[Cell, ...]:
    change = tuple(float(row[f"similarity_{name}"]) for name in ("change", "low", "high"))
    known = pd.notna(row["similarity_change"])
    suspicious = row["suspicious"]
    return cells(
        *_who(row),
        f"{share(row['match_rate'])} ({int(row['match_n'])})",
        Cell(number(suspicious, 0), "bad" if suspicious and pd.notna(suspicious) else "plain"),
        f"{change[0]:+.3f} ({_interval(row, 'similarity', 3)})" if known else NOT_KNOWN,
        number(row["similarity_n"], 0),
        _reading(row, change, ("worse", "better"), 0.0),
    )

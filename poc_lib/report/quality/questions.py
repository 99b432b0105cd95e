"""Two questions kept apart: does parallelism cost quality, and does the model or its quantisation?"""

from collections.abc import Callable, Sequence

import pandas as pd

from poc_lib.accuracy import JUDGED_BY, MEASURE_NAMES, level_sentence, model_sentence
from poc_lib.analysis import Analysis
from poc_lib.figures import PocFigure, draw_differences
from poc_lib.report.blocks import Block, Bullets, Cell, Figures, Heading, NamedFigure, Note, Table, Text, Tone
from poc_lib.report.quality.words import at_level, decimal_range
from poc_lib.report.wording import cells, columns, list_words, number, share

PARALLELISM = "Does parallelism cost quality?"
MODEL = "Does the model or its quantisation cost quality?"
TONES: dict[str, Tone] = {
    "not worse": "good",
    "worse": "bad",
    "inconclusive": "warn",
    "not judgeable": "warn",
}
WORST_FIRST = ("worse", "inconclusive", "not judgeable", "not worse")
READING = (
    "Right of the margin line with its whole interval: not worse. Left with all of it: worse. Across it: the "
    "run is too small to tell."
)
SHOWN = ("difflib_ratio", "embedding_cosine", "fidelity_f1", "activity_agrees", "apps_jaccard")


def level_blocks(analysis: Analysis) -> list[Block]:
    """Each server's levels against its own lowest one."""
    table = analysis.quality.levels
    judged = table[table["measure"] == JUDGED_BY]
    if judged.empty:
        note = Note(
            "Not asked: every server was measured at one level only, so there is no calmer one.", "muted"
        )
        return [Heading(PARALLELISM), note]
    return [
        Heading(PARALLELISM),
        _verdict(judged, _levels_words),
        Bullets(tuple(level_sentence(row) for _, row in judged.iterrows())),
        _levels_table(table),
        Text(_same_text_words(judged)),
        Figures((NamedFigure("quality_levels", draw_level_cost(analysis), READING),)),
    ]


def model_blocks(analysis: Analysis) -> list[Block]:
    """Each candidate, without load, against each measured baseline."""
    table = analysis.quality.models
    judged = table[table["measure"] == JUDGED_BY]
    if judged.empty:
        why = "Cannot be answered: no baseline was measured, so there is nothing to hold the model against."
        return [Heading(MODEL), Note(why, "muted")]
    blocks: list[Block] = [
        Heading(MODEL),
        _verdict(judged, _models_words),
        Bullets(tuple(model_sentence(row) for _, row in judged.iterrows())),
        Text("Both without load, so that this is not about parallelism. Zero: as like the baseline as the "
             "baseline is to itself in another block."),
        _models_table(table),
    ]  # fmt: skip
    if judged["n_frames"].sum():
        blocks.append(Figures((NamedFigure("quality_models", draw_model_cost(analysis), READING),)))
    return blocks


def draw_level_cost(analysis: Analysis) -> PocFigure:
    """Each level's difference from its server's lowest one, beside the margin; there must be such a level."""
    table = analysis.quality.levels
    judged = table[table["measure"] == JUDGED_BY]
    named = judged.assign(label=[f"{row.server} at {row.concurrency}" for row in judged.itertuples()])
    return draw_differences(named, "Cost of parallelism", MEASURE_NAMES[JUDGED_BY], analysis.run.simulated)


def draw_model_cost(analysis: Analysis) -> PocFigure:
    """Each candidate's difference from the baselines by every measure; there must be a baseline."""
    table = analysis.quality.models
    n_pairs = len(table[["server", "baseline"]].drop_duplicates())
    named = table[table["n_frames"] > 0].sort_values(
        "measure", key=lambda names: names != JUDGED_BY, kind="stable"
    )
    named = named.assign(label=[_model_label(row, n_pairs) for row in named.itertuples()])
    return draw_differences(named, "Cost of the model", "each measure", analysis.run.simulated)


def _verdict(judged: pd.DataFrame, words: Callable[[pd.DataFrame], str]) -> Note:
    """The worst verdict gives the tone; every verdict is named with what it is about."""
    found = [verdict for verdict in WORST_FIRST if (judged["verdict"] == verdict).any()]
    parts = [f"{verdict}: {words(judged[judged['verdict'] == verdict])}" for verdict in found]
    text = "; ".join(parts)
    margin = f"by {MEASURE_NAMES[JUDGED_BY]}, margin {judged['margin'].iloc[0]:g}"
    return Note(f"{text[0].upper()}{text[1:]} ({margin}).", TONES[found[0]])


def _levels_words(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{server} at {list_words([str(level) for level in levels['concurrency']])} in flight"
        for server, levels in rows.groupby("server", sort=False)
    )


def _models_words(rows: pd.DataFrame) -> str:
    return list_words([f"{row.server} against {row.baseline}" for row in rows.itertuples()])


def _model_label(row, n_pairs: int) -> str:
    name = MEASURE_NAMES.get(row.measure, row.measure)
    return name if n_pairs == 1 else f"{row.server} – {row.baseline}: {name}"


def _levels_table(table: pd.DataFrame) -> Table:
    leading = set(table.index[table["measure"] == JUDGED_BY])
    ordered = pd.concat(
        [
            level.sort_values("measure", key=lambda names: names != JUDGED_BY, kind="stable")
            for _, level in table.groupby(["server", "concurrency"], sort=False)
        ]
    )
    shown = ordered[ordered["measure"].isin((JUDGED_BY, *SHOWN))]
    rows = [
        cells(
            row["server"],
            str(row["concurrency"]),
            MEASURE_NAMES.get(row["measure"], row["measure"]),
            _verdict_cell(row),
            f"{number(row['mean_at_level'])} ({number(row['mean_at_lowest'])})",
            _difference(row),
            f"{row['n_frames']} in {row['n_groups']}",
            str(row["n_missing"]),
        )
        for _, row in shown.iterrows()
    ]
    titles = columns(
        "server", "in flight", "measure", "verdict", "mean (at lowest level)", "difference, 95 % interval",
        "frames in groups", "lost here", text=("server", "measure", "verdict"),
    )  # fmt: skip
    caption = (
        "Each level against the same server's lowest one, on the same frames, by likeness to the stored "
        f"reference; the marked measure judges, with a margin of {table['margin'].iloc[0]:g}. Groups: frames "
        "that look alike count together. Lost here: scored at the lowest level only."
    )
    return Table(caption, titles, tuple(rows), marked_rows=_marked(shown.index, leading))


def _same_text_words(judged: pd.DataFrame) -> str:
    """Equality of texts: a diagnostic, and no verdict."""
    known = judged[judged["same_text"].notna()]
    said = [
        f"{at_level(row)} {share(row['same_text'])} of {int(row['n_same_text'])} answers are "
        "letter for letter "
        f"those at {row['lowest_concurrency']} in flight, which itself repeats "
        f"{share(row['same_text_at_lowest'])}"
        for _, row in known.iterrows()
    ]
    lead = "A diagnostic, no verdict, since batching rounds differently and sampling draws anew"
    return f"{lead}: {'; '.join(said)}." if said else ""


def _models_table(table: pd.DataFrame) -> Table:
    ordered = table.sort_values("measure", key=lambda names: names != JUDGED_BY, kind="stable")
    rows = [
        cells(
            f"{row['server']} at {row['concurrency']}",
            f"{row['baseline']} at {row['baseline_concurrency']}",
            MEASURE_NAMES.get(row["measure"], row["measure"]),
            _verdict_cell(row),
            f"{number(row['with_baseline'])} ({number(row['baseline_with_itself'])})",
            _difference(row),
            f"{row['n_frames']} in {row['n_groups']}",
        )
        for _, row in ordered.iterrows()
    ]
    titles = columns(
        "server", "baseline", "measure", "verdict", "with baseline (baseline with itself)",
        "difference, 95 % interval", "frames in groups",
        text=("server", "baseline", "measure", "verdict"),
    )  # fmt: skip
    same = share(table["baseline_same_text"].iloc[0])
    caption = (
        "Likeness of answers to the same frame, at each server's lowest level. The marked measure judges. "
        f"Diagnostic: {same} of the baseline's repeated answers are letter for letter the same."
    )
    leading = set(ordered.index[ordered["measure"] == JUDGED_BY])
    return Table(caption, titles, tuple(rows), marked_rows=_marked(ordered.index, leading))


def _marked(order: Sequence[int], leading: set[int]) -> frozenset[int]:
    return frozenset(place for place, index in enumerate(order) if index in leading)


def _verdict_cell(row: pd.Series) -> Cell:
    return Cell(row["verdict"], TONES[row["verdict"]])


def _difference(row: pd.Series) -> str:
    if pd.isna(row["difference"]):
        return "n/a"
    return f"{row['difference']:+.3f} ({decimal_range(row['low'], row['high'], 3, '+')})"

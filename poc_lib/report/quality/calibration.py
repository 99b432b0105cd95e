"""What a similarity is worth on these frames: between another screen's and the best that can be."""

import pandas as pd

from poc_lib.accuracy import JUDGED_BY, MEASURE_NAMES, STORED_REFERENCE, calibration_sentence, frame_groups
from poc_lib.accuracy.own_means import summarize_own_means
from poc_lib.analysis import Analysis
from poc_lib.figures import PocFigure, draw_calibration
from poc_lib.params import Params
from poc_lib.report.blocks import Block, Bullets, Cell, Figures, Heading, NamedFigure, Note, Table, Text
from poc_lib.report.choice import chosen_level
from poc_lib.report.quality.words import decimal_range, percent_range
from poc_lib.report.wording import NOT_KNOWN, cells, columns, number, share

LEADING = (JUDGED_BY, "embedding_cosine", "difflib_ratio", "fidelity_f1", "activity_agrees")
SHORT_NAMES = {
    JUDGED_BY: "TF-IDF",
    "embedding_cosine": "embedding",
    "difflib_ratio": "difflib",
    "fidelity_f1": "facts (F1)",
    "activity_agrees": "activity",
}
ABOUT = (
    "The floor is what answers score against the references of other frames, the ceiling what the baseline "
    "scores against itself. A score means nothing without them: on screens that look alike "
    "the floor is high, "
    "and a correct paraphrase stays far below 1."
)
READING = "The nearer a mark is to the ceiling, the better; at the floor an answer could be about any frame."
TITLES = columns(
    "measure", "at", "own (n)", "floor (n)", "ceiling (n)", "way up", "AUC (95 %)", "match, planned",
    "match, separating (95 %)", "threshold", "others above it", text=("measure", "at"),
)  # fmt: skip


def calibration_blocks(analysis: Analysis, params: Params) -> list[Block]:
    """Floor, own and ceiling per measure; match rates at the plan's and at the separating threshold."""
    table = stored_calibration(analysis)
    heading = Heading("What is an agreement worth?")
    if table.empty or not table["n_own"].sum():
        return [heading, Note("Nothing to calibrate: no answer could be held against a reference.", "warn")]
    shown = _shown(analysis, table)
    caption = (
        "Against the stored reference. Way up: where the mean lies from floor (0 %) to ceiling "
        "(100 %). AUC: "
        "how often an answer is more like its own frame's reference than another's like that, 0.5 is chance. "
        f"Match, planned: above {params.match_threshold:g}. Match, separating: above the "
        "threshold that tells "
        "own from other frames best, taken without the frame it judges; of pairs with other frames the last "
        "column lies above it. Facts: names, numbers and quotes. All measures: tables/calibration.csv."
    )
    figure = NamedFigure("calibration", draw_calibration_of(analysis), READING)
    return [
        heading,
        Text(ABOUT),
        Bullets(tuple(_sentences(analysis, table))),
        Table(caption, TITLES, tuple(_row(row) for _, row in shown.iterrows())),
        Figures((figure,)),
    ]


def stored_calibration(analysis: Analysis) -> pd.DataFrame:
    """The calibration against stored references, by the leading measures."""
    table = analysis.quality.calibration
    return table[(table["against"] == STORED_REFERENCE) & table["measure"].isin(LEADING)]


def draw_calibration_of(analysis: Analysis) -> PocFigure:
    """Floor, own per level and ceiling of the verdict's candidate, one line a measure."""
    candidate = analysis.verdict.candidate
    table = stored_calibration(analysis)
    means = summarize_own_means(analysis.scores, frame_groups(analysis.frames))
    means = means[means["against"] == STORED_REFERENCE].drop(columns=["own_mean", "n_own", "n_groups"])
    rows = table[table["server"] == candidate].merge(
        means, on=["server", "role", "concurrency", "against", "measure"], how="left"
    )
    order = {measure: i for i, measure in enumerate(LEADING)}
    rows = rows.sort_values("measure", key=lambda names: names.map(order), kind="stable")
    return draw_calibration(rows, MEASURE_NAMES, candidate, analysis.run.simulated)


def _shown(analysis: Analysis, table: pd.DataFrame) -> pd.DataFrame:
    """Every level by the measure that judges; the others at the chosen and the baselines' lowest level."""
    candidate = (table["server"] == analysis.verdict.candidate) & (
        table["concurrency"] == chosen_level(analysis)
    )
    lowest = table["concurrency"] == table.groupby("server")["concurrency"].transform("min")
    kept = (table["measure"] == JUDGED_BY) | candidate | ((table["role"] == "baseline") & lowest)
    order = {measure: i for i, measure in enumerate(LEADING)}
    ordered = table[kept].assign(order=table["measure"].map(order))
    return ordered.sort_values(["order", "role", "server", "concurrency"], kind="stable")


def _sentences(analysis: Analysis, table: pd.DataFrame) -> list[str]:
    at = table[(table["server"] == analysis.verdict.candidate)]
    at = at[at["concurrency"] == chosen_level(analysis)].set_index("measure", drop=False)
    return [calibration_sentence(at.loc[name]) for name in (JUDGED_BY, "difflib_ratio") if name in at.index]


def _row(row: pd.Series) -> tuple[Cell, ...]:
    found = f"{share(row['match_rate_calibrated'])} ({percent_range(row, 'match_rate')})"
    return cells(
        SHORT_NAMES[row["measure"]],
        f"{row['server']} at {row['concurrency']}",
        f"{number(row['own_mean'])} ({int(row['n_own'])})",
        f"{number(row['other_mean'])} ({int(row['n_other']):,})",
        f"{number(row['ceiling_mean'])} ({int(row['n_ceiling'])})" if row["n_ceiling"] else NOT_KNOWN,
        share(row["position"]),
        f"{number(row['auc'])} ({decimal_range(row['auc_low'], row['auc_high'])})",
        share(row["match_rate_plan"]),
        NOT_KNOWN if pd.isna(row["match_rate_calibrated"]) else found,
        number(row["threshold"]),
        share(row["false_match_rate"]),
    )

"""The sections about quality: accuracy per level, image confusion, samples."""

from collections.abc import Sequence

import pandas as pd

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.confusion import fit_matrix
from poc_lib.figures import PocFigure, draw_agreement, draw_similarity
from poc_lib.params import Params
from poc_lib.report.blocks import (
    Block,
    Cell,
    Figures,
    Gallery,
    NamedFigure,
    Note,
    Sample,
    Section,
    Table,
    Text,
)
from poc_lib.report.choice import (
    chosen_level,
    count_suspicious,
    of_candidate,
)
from poc_lib.report.wording import NOT_KNOWN, cells, columns, count, interval, number, share

MANY_ROWS = 40


def accuracy_section(analysis: Analysis, params: Params) -> Section:
    """Agreement with the stored reference and with the live baseline, per level."""
    rows = [_agreement_cells(row) for _, row in analysis.agreement.iterrows()]
    titles = columns(
        "server",
        "in flight",
        "held against",
        "match",
        "95 % interval",
        "n",
        "difflib mean",
        "TF-IDF mean",
        "activity (n)",
        "apps (n)",
        "topics (n)",
        "well formed (n)",
        text=("server", "held against"),
    )
    caption = (
        f"Match: difflib ratio above {params.match_threshold:g}. Apps and topics: mean Jaccard overlap. "
        "n counts what could be scored; a failed request is not scored as a wrong answer."
    )
    drawn = draw_agreement(analysis.agreement, params.target_match_rate, analysis.run.simulated)
    figure = NamedFigure("agreement", drawn, "Where whiskers overlap, the levels cannot be told apart.")
    blocks: list[Block] = [Table(caption, titles, tuple(rows)), Figures((figure,))]
    if not analysis.agreement["n_scored"].sum():
        blocks.insert(0, Note("Nothing could be scored: no frame has a usable stored reference.", "warn"))
    return Section("accuracy", "Accuracy per level", tuple(blocks))


def _agreement_cells(row: pd.Series) -> tuple[Cell, ...]:
    whiskers = NOT_KNOWN
    if row["n_scored"]:
        whiskers = interval(row)
    return cells(
        row["server"],
        str(row["concurrency"]),
        row["against"],
        share(row["match_rate"]),
        whiskers,
        str(int(row["n_scored"])),
        number(row["difflib_mean"]),
        number(row["tfidf_mean"]),
        f"{share(row['activity_rate'])} ({int(row['activity_n'])})",
        f"{number(row['apps_jaccard_mean'])} ({int(row['apps_n'])})",
        f"{number(row['topics_jaccard_mean'])} ({int(row['topics_n'])})",
        f"{share(row['well_formed_share'])} ({int(row['well_formed_n'])})",
    )


def confusion_section(analysis: Analysis) -> Section:
    """Is every answer still about its own image? Counts, the rows behind them, and the heat map."""
    found = count_total(analysis)
    judged = int(analysis.confusion["n_judged"].sum())
    blocks: list[Block] = [_confusion_note(found, judged), _confusion_table(analysis.confusion)]
    if len(analysis.suspicious):
        blocks.append(_suspicious_table(analysis.suspicious))
    level = chosen_level(analysis)
    levels = [level, *_worse_levels(analysis, level)]
    figures = tuple(
        NamedFigure(
            f"similarity_{at}",
            draw_fit_at(analysis, at),
            "A row that is bright in another frame's column is a mix-up.",
        )
        for at in levels
    )
    return Section("confusion", "Image confusion", (*blocks, Figures(figures)))


def count_total(analysis: Analysis) -> int:
    """Signs of a mix-up over all servers and levels."""
    return sum(count_suspicious(row) for _, row in analysis.confusion.iterrows())


def _confusion_note(found: int, judged: int) -> Note:
    if found:
        return Note(
            f"{count(found, 'sign')} of answers about another image: see the rows and samples below.",
            "bad",
        )
    if not judged:
        return Note("No answer could be judged, so no sign of confusion is no evidence either.", "warn")
    return Note(
        f"No sign of confusion among {count(judged, 'judged answer')}; the bound says what could be missed.",
        "good",
    )


def _confusion_table(confusion: pd.DataFrame) -> Table:
    rows = [
        cells(
            row.server,
            str(row.concurrency),
            str(row.n_answers),
            str(row.n_judged),
            *(
                Cell(str(n), "bad" if n else "plain")
                for n in (row.wrong_neighbours, row.duplicates, row.replays)
            ),
            share(row.wrong_rate_high),
        )
        for row in confusion.itertuples()
    ]
    titles = columns(
        "server", "in flight", "answers", "judged", "wrong neighbours", "duplicates", "replays",
        "upper bound", text=("server",),
    )  # fmt: skip
    caption = (
        "Wrong neighbour: fits another frame's reference and not its own. Duplicate: one answer to two "
        "frames that look different. Replay: an earlier answer again, too fast. Upper bound: exact 95 % "
        "bound on the share of wrong neighbours among judged answers."
    )
    return Table(caption, titles, tuple(rows))


def _suspicious_table(suspicious: pd.DataFrame) -> Table:
    rows = [
        cells(
            row.server,
            str(row.concurrency),
            str(row.block + 1),
            row.frame_id,
            row.sign,
            row.other_frame_id,
            row.evidence,
        )
        for row in suspicious.head(MANY_ROWS).itertuples()
    ]
    titles = columns(
        "server", "in flight", "block", "answer to", "sign", "resembles", "evidence",
        text=("server", "answer to", "sign", "resembles", "evidence"),
    )  # fmt: skip
    left = len(suspicious) - len(rows)
    more = f" {left:,} more are in tables/suspicious.csv." if left else ""
    return Table(f"Every suspicious answer.{more}", titles, tuple(rows), as_cards=True)


def _worse_levels(analysis: Analysis, level: int) -> list[int]:
    """The candidate's other levels with signs of a mix-up: one more heat map, of the worst."""
    rows = of_candidate(analysis, analysis.suspicious)
    others = rows[rows["concurrency"] != level]["concurrency"].value_counts()
    return [int(at) for at in others.index[:1]]


def draw_fit_at(analysis: Analysis, level: int) -> PocFigure:
    """Heat map of the candidate's answers at a level, first block, against every stored reference."""
    requests, suspicious = analysis.requests, analysis.suspicious
    candidate = requests["server"] == analysis.verdict.candidate
    cell = requests[candidate & (requests["concurrency"] == level) & (requests["block"] == 0)]
    matrix, frame_ids = fit_matrix(cell[cell["phase"] == "measure"], analysis.frames)
    flagged = suspicious[
        (suspicious["server"] == analysis.verdict.candidate) & (suspicious["concurrency"] == level)
    ]
    title = f"Answer × reference, {analysis.verdict.candidate} at {level} in flight"
    return draw_similarity(matrix, frame_ids, title, analysis.run.simulated, list(flagged["frame_id"]))


def samples_section(samples: Sequence[Sample], screenshots: bool) -> Section:
    """Answers beside their image and reference."""
    lead = (
        "Suspicious answers first, then those least like their reference, then some drawn at random. "
        f"The similarity is with the {STORED_REFERENCE}, which an earlier model wrote: it is not the truth."
    )
    blocks: list[Block] = [Text(lead)]
    if not screenshots:
        blocks.append(
            Note(
                "Screenshots are left out (`screenshots: false`); the texts still describe them.",
                "warn",
            )
        )
    blocks.append(Gallery(tuple(samples)) if samples else Text("There is no answer to show."))
    return Section("samples", "Samples", tuple(blocks))

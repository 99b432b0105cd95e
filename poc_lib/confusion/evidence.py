"""Everything that is found out about each answer of a run, once for all tables."""

from dataclasses import dataclass

import pandas as pd

from poc_lib.accuracy.sides import measured
from poc_lib.accuracy.similarity import vectorize_texts
from poc_lib.confusion.fits import judged_by, wrong_neighbours
from poc_lib.confusion.limits import ConfusionLimits
from poc_lib.confusion.placing import place_answers
from poc_lib.confusion.references import collect_references
from poc_lib.confusion.repeats import duplicates_of, repeats_of
from poc_lib.confusion.tables import LEVEL, answers_table, first_answers


@dataclass(frozen=True, slots=True)
class Evidence:
    """One row per answer, or per sign; every table has the index of ``answers``."""

    levels: pd.DataFrame  # LEVEL of everything that was measured, baselines first, by level
    answers: pd.DataFrame  # tables.answers_table
    first: pd.DataFrame  # tables.first_answers
    judged: pd.DataFrame  # fits.judge_answers
    wrong: pd.DataFrame  # fits.find_wrong_neighbours
    duplicates: pd.DataFrame  # repeats.find_duplicates
    repeats: pd.DataFrame  # repeats.repeats_of
    placed: pd.DataFrame  # placing.place_answers


def gather_evidence(requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits) -> Evidence:
    """Judge, compare and place every answer of the run."""
    answers, first = answers_table(requests), first_answers(requests)
    references = collect_references(requests, frames, answers)
    vectors = vectorize_texts([*answers["compared"], *references.stored, *first["compared"]])
    judged = judged_by(answers, references, frames, vectors, limits)
    return Evidence(
        levels=_levels(requests),
        answers=answers,
        first=first,
        judged=judged,
        wrong=wrong_neighbours(judged, requests),
        duplicates=duplicates_of(answers, frames, vectors, limits),
        repeats=repeats_of(answers, judged, first, frames, vectors, limits),
        placed=place_answers(answers, judged, references, frames, vectors, limits),
    )


def _levels(requests: pd.DataFrame) -> pd.DataFrame:
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=LEVEL)
    return rows[LEVEL].drop_duplicates().sort_values(LEVEL[1:] + LEVEL[:1]).reset_index(drop=True)

"""Which rows of the tables the report speaks of."""

import pandas as pd

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.verdict import SUSPICIONS


def chosen_level(analysis: Analysis) -> int:
    """The verdict's level; where none answered every frame, the candidate's level with the most answers."""
    if analysis.verdict.concurrency is not None:
        return analysis.verdict.concurrency
    rows = candidate_rows(analysis)
    return int(rows.sort_values(["n_ok", "frames_per_s"])["concurrency"].iloc[-1])


def candidate_rows(analysis: Analysis) -> pd.DataFrame:
    """The candidate's rows of the speed table, by level."""
    return of_candidate(analysis, analysis.speed).sort_values("concurrency")


def of_candidate(analysis: Analysis, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are about the candidate of the verdict."""
    return table[table["server"] == analysis.verdict.candidate]


def measured_baseline(analysis: Analysis) -> pd.DataFrame:
    """The measured baseline's rows of the speed table; empty where none was measured."""
    rows = analysis.speed[analysis.speed["role"] == "baseline"]
    return rows[rows["frames_per_s"].notna()]


def speed_row(analysis: Analysis, level: int) -> pd.Series:
    """The candidate's row of the speed table at a level."""
    rows = candidate_rows(analysis)
    return rows[rows["concurrency"] == level].iloc[0]


def agreement_row(analysis: Analysis, level: int, server: str | None = None) -> pd.Series | None:
    """A server's row against the stored reference; the candidate's where no server is named."""
    table = analysis.agreement
    chosen = (
        (table["server"] == (server or analysis.verdict.candidate))
        & (table["concurrency"] == level)
        & (table["against"] == STORED_REFERENCE)
    )
    return table[chosen].iloc[0] if chosen.any() else None


def confusion_row(analysis: Analysis, level: int, server: str | None = None) -> pd.Series | None:
    """A server's row of the confusion table; the candidate's where no server is named."""
    table = analysis.confusion
    chosen = (table["server"] == (server or analysis.verdict.candidate)) & (table["concurrency"] == level)
    return table[chosen].iloc[0] if chosen.any() else None


def count_suspicious(row: pd.Series | None) -> int | None:
    """Signs of a mix-up in a row of the confusion table; 0 where chance explains them."""
    if row is None:
        return None
    return int(sum(row[kind] for kind in SUSPICIONS)) if row["state"] == "suspicion" else 0

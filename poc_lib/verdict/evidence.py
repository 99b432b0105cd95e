"""Which rows a verdict rests on."""

import pandas as pd

from poc_lib.verdict.steps import SUSPICIONS


def choose_level(speed: pd.DataFrame, candidate: str) -> pd.Series | None:
    """The candidate's level that the verdict speaks of; None: no level answered every frame.

    Of the levels that answered every frame the one with the highest lower bound of the speed-up. Choosing
    so is not luck, since the bounds hold for all levels at once (simultaneous_low). Without bounds: the
    fastest in frames/s.

    Args:
        speed: Analysis.speed, with the columns of metrics.add_speedup and, where known, simultaneous_low.
    """
    rows = speed[(speed["server"] == candidate) & speed["complete"]]
    if rows.empty:
        return None
    best_first = rows.sort_values(["simultaneous_low", "frames_per_s"], ascending=False, na_position="last")
    return best_first.iloc[0]


def count_leaks(canaries: pd.DataFrame, candidate: str) -> int:
    """Answers that hold another screenshot's code, over all levels."""
    return int(canaries.loc[canaries["server"] == candidate, "n_leaks"].sum()) if len(canaries) else 0


def count_suspicions(confusion: pd.DataFrame, candidate: str, level: int | None = None) -> int:
    """Signs of a mix-up at levels where they are more than chance explains."""
    rows = confusion[(confusion["server"] == candidate) & (confusion["state"] == "suspicion")]
    if level is not None:
        rows = rows[rows["concurrency"] == level]
    return int(rows[list(SUSPICIONS)].to_numpy().sum())

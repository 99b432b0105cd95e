"""The three signs per server and level, and the rows to look at."""

import pandas as pd
from scipy.stats import binomtest

from poc_lib.accuracy.sides import measured
from poc_lib.confusion.fits import (
    NOT_JUDGED,
    OTHER,
    OWN,
    find_wrong_neighbours,
    judge_answers,
    wrong_neighbours,
)
from poc_lib.confusion.limits import DEFAULT_LIMITS, ConfusionLimits
from poc_lib.confusion.repeats import find_duplicates, find_replays
from poc_lib.confusion.tables import CELL, LEVEL, answers_table

CONFUSION_COLUMNS = (
    *LEVEL,
    "n_answers",
    "n_judged",
    "n_undecided",
    "duplicates",
    "wrong_neighbours",
    "wrong_in_flight_together",
    "wrong_also_unloaded",
    "wrong_rate",
    "wrong_rate_high",
    "replays",
)
SUSPICIOUS_COLUMNS = (*CELL, "frame_id", "other_frame_id", "sign", "evidence")


def summarize_confusion(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Count the signs of mixed-up images per server and level.

    Returns:
        One row per (server, role, concurrency) that was measured, with CONFUSION_COLUMNS. ``n_judged`` are
        answers that clearly fit one image, their own or another; ``n_undecided`` could not be told. Only
        the judged bear on ``wrong_rate`` = wrong_neighbours ÷ n_judged and on ``wrong_rate_high``, its exact
        one-sided 95 % upper bound (Clopper and Pearson 1934): 1 - 0.05^(1/n) with none wrong among n. Both
        are NaN when nothing was judged: no sign of confusion is then no evidence either.
    """
    levels = _levels(requests)
    judged = judge_answers(requests, frames, limits)
    wrong = wrong_neighbours(judged, requests)
    counts = {
        "n_answers": answers_table(requests),
        "n_judged": judged[judged["judgement"].isin([OWN, OTHER])],
        "n_undecided": judged[~judged["judgement"].isin([OWN, OTHER, NOT_JUDGED])],
        "duplicates": find_duplicates(requests, frames, limits),
        "wrong_neighbours": wrong,
        "wrong_in_flight_together": wrong[wrong["in_flight_together"].astype(bool)],
        "wrong_also_unloaded": wrong[wrong["also_unloaded"].astype(bool)],
        "replays": find_replays(requests, frames, limits),
    }
    table = levels.assign(**{name: _count(rows, levels) for name, rows in counts.items()})
    pairs = list(zip(table["wrong_neighbours"], table["n_judged"], strict=True))
    table["wrong_rate"] = [k / n if n else float("nan") for k, n in pairs]
    table["wrong_rate_high"] = [_upper_bound(k, n) for k, n in pairs]
    return table[list(CONFUSION_COLUMNS)]


def list_suspicious(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Every row behind the counts of ``summarize_confusion``, for showing beside its images.

    Returns:
        One row per sign with SUSPICIOUS_COLUMNS: ``sign`` is "wrong neighbour", "duplicate" or "replay",
        ``other_frame_id`` the frame whose answer or reference it is like, ``evidence`` a phrase with numbers.
    """
    signs = [
        (
            "wrong neighbour",
            find_wrong_neighbours(requests, frames, limits),
            "fits_frame_id",
            _neighbour_phrase,
        ),
        ("duplicate", find_duplicates(requests, frames, limits), "same_as", _duplicate_phrase),
        ("replay", find_replays(requests, frames, limits), "repeats", _replay_phrase),
    ]
    rows = [
        (*(getattr(row, key) for key in CELL), row.frame_id, getattr(row, other), sign, phrase(row))
        for sign, found, other, phrase in signs
        for row in found.itertuples(index=False)
    ]
    return pd.DataFrame(rows, columns=list(SUSPICIOUS_COLUMNS))


def _levels(requests: pd.DataFrame) -> pd.DataFrame:
    rows = measured(requests)
    if rows.empty:
        return pd.DataFrame(columns=LEVEL)
    return rows[LEVEL].drop_duplicates().sort_values(LEVEL[1:] + LEVEL[:1]).reset_index(drop=True)


def _count(rows: pd.DataFrame, levels: pd.DataFrame) -> list[int]:
    sizes = rows.groupby(LEVEL).size().to_dict() if len(rows) else {}
    return [int(sizes.get(key, 0)) for key in levels.itertuples(index=False, name=None)]


def _upper_bound(wrong: int, n: int) -> float:
    if n == 0:
        return float("nan")
    interval = binomtest(wrong, n, alternative="less").proportion_ci(confidence_level=0.95, method="exact")
    return float(interval.high)


def _neighbour_phrase(row) -> str:
    together = ", in flight together" if row.in_flight_together else ""
    unloaded = ", also without load" if row.also_unloaded else ""
    return f"fits {row.other:.2f}, its own image {row.own:.2f}{together}{unloaded}"


def _duplicate_phrase(row) -> str:
    return f"same words; the frames differ in {row.distance} of 64 bits"


def _replay_phrase(row) -> str:
    return (
        f"nearly the same words ({row.cosine:.2f}) after {row.ttft_s:.2f} s; usual {row.usual_ttft_s:.2f} s"
    )

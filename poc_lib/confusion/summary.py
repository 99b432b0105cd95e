"""The signs per server and level, and the rows to look at."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from poc_lib.confusion.causes import NONE_FOUND, NOT_TOLD, SUSPICION, name_causes
from poc_lib.confusion.evidence import Evidence, gather_evidence
from poc_lib.confusion.fits import NOT_JUDGED, OTHER, OWN
from poc_lib.confusion.levels import SIGNS, WRONG, weigh_signs
from poc_lib.confusion.limits import DEFAULT_LIMITS, ConfusionLimits
from poc_lib.confusion.tables import LEVEL, hashes_of, row_chunks
from poc_lib.looks import hash_distances, paired_distances

_PER_SIGN = ("rate", "high", "expected", "p_value", "held_against")
CONFUSION_COLUMNS = (
    *LEVEL,
    "n_answers",
    "n_judged",
    "n_undecided",
    "n_unloaded_references",
    "n_look_alike_pairs",
    "n_frame_pairs",
    *SIGNS,
    "wrong_in_flight_together",
    "wrong_also_unloaded",
    "wrong_rate",
    "wrong_rate_high",
    *(f"{sign}_{name}" for sign in SIGNS for name in _PER_SIGN),
    "p_adjusted",
    "clearest_sign",
    "state",
)


@dataclass(frozen=True, slots=True)
class ConfusionTables:
    """What is found about mixed-up images in a run."""

    summary: pd.DataFrame  # summarize_confusion
    suspicious: pd.DataFrame  # list_suspicious
    signs: pd.DataFrame  # levels.SIGN_COLUMNS: one row per level and sign


def examine_confusion(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> ConfusionTables:
    """All tables about mixed-up images at once; the work behind them is done once."""
    evidence = gather_evidence(requests, frames, limits)
    signs = weigh_signs(evidence, limits)
    summary = _summary(evidence, frames, signs, limits)
    at_suspicion = summary[summary["state"] == SUSPICION]
    levels = set(at_suspicion[LEVEL].itertuples(index=False, name=None))
    return ConfusionTables(summary, name_causes(evidence, frames, levels, limits), signs)


def summarize_confusion(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Count the signs of mixed-up images per server and level, and test them against chance.

    Returns:
        One row per (server, role, concurrency) that was measured, with CONFUSION_COLUMNS. ``n_judged`` are
        answers that clearly fit one image, their own or another; ``n_undecided`` could not be told;
        ``n_unloaded_references`` of all were held against an answer without load for want of a stored
        reference. ``n_look_alike_pairs`` of the ``n_frame_pairs`` pairs of frames look alike and never count.
        For each sign (wrong_neighbours, duplicates, replays, misplaced) its count, and ``_rate``, ``_high``
        (exact two-sided 95 % upper bound, Clopper and Pearson 1934), ``_expected`` by chance, ``_p_value``
        (one-sided; NaN: not tested) and what it was ``_held_against``, see ``levels``. wrong_rate and
        wrong_rate_high are wrong_neighbours_rate and _high. ``p_adjusted``: the level's smallest p-value by
        Holm over the run, of ``clearest_sign``. ``state``: "suspicion" where that is at most family_error,
        "cannot be judged" where no answer could be told to fit an image, else "none found".
    """
    return examine_confusion(requests, frames, limits).summary


def list_suspicious(
    requests: pd.DataFrame, frames: pd.DataFrame, limits: ConfusionLimits = DEFAULT_LIMITS
) -> pd.DataFrame:
    """Every answer behind the counts of ``summarize_confusion``, once, for showing beside its images.

    Returns:
        One row per answer with SUSPICIOUS_COLUMNS: ``sign`` is the most specific of its ``signs`` (replay,
        wrong neighbour, misplaced, duplicate), ``cause`` what it is put down to (see ``name_causes``),
        ``state`` "suspicion" or "within chance", ``other_frame_id`` the frame whose answer or reference it is
        like, ``evidence`` phrases with numbers.
    """
    return examine_confusion(requests, frames, limits).suspicious


def _summary(
    evidence: Evidence, frames: pd.DataFrame, signs: pd.DataFrame, limits: ConfusionLimits
) -> pd.DataFrame:
    levels, judged, wrong = evidence.levels, evidence.judged, evidence.wrong
    if levels.empty:
        return pd.DataFrame(columns=list(CONFUSION_COLUMNS))
    counts = {
        "n_answers": evidence.answers,
        "n_judged": judged[judged["judgement"].isin([OWN, OTHER])],
        "n_undecided": judged[~judged["judgement"].isin([OWN, OTHER, NOT_JUDGED])],
        "n_unloaded_references": judged[judged["held_against"] == "unloaded answer"],
        "wrong_in_flight_together": wrong[wrong["in_flight_together"].astype(bool)],
        "wrong_also_unloaded": wrong[wrong["also_unloaded"].astype(bool)],
    }
    table = levels.assign(**{name: _count(rows, levels) for name, rows in counts.items()})
    for sign, rows in signs.groupby("sign", sort=False):
        columns = {sign: rows["count"]} | {f"{sign}_{name}": rows[name] for name in _PER_SIGN}
        table = table.assign(**{name: values.to_numpy() for name, values in columns.items()})
    pairs = [_frame_pairs(rows, frames, limits) for rows in _frames_of(evidence)]
    table[["n_look_alike_pairs", "n_frame_pairs"]] = pairs
    table = table.assign(wrong_rate=table[f"{WRONG}_rate"], wrong_rate_high=table[f"{WRONG}_high"])
    return _with_states(table, signs, limits)[list(CONFUSION_COLUMNS)]


def _with_states(table: pd.DataFrame, signs: pd.DataFrame, limits: ConfusionLimits) -> pd.DataFrame:
    p_values = signs["p_adjusted"].to_numpy(dtype=float).reshape(-1, len(SIGNS))
    filled = np.where(np.isnan(p_values), np.inf, p_values)
    smallest = filled.min(axis=1)
    clearest = np.where(np.isfinite(smallest), np.array(SIGNS, dtype=object)[filled.argmin(axis=1)], None)
    conditions = [smallest <= limits.family_error, table["n_judged"] == 0]
    return table.assign(
        p_adjusted=np.where(np.isfinite(smallest), smallest, np.nan),
        clearest_sign=clearest,
        state=np.select(conditions, [SUSPICION, NOT_TOLD], default=NONE_FOUND),
    )


def _frames_of(evidence: Evidence) -> list[list[str]]:
    by_level = dict(list(evidence.answers.groupby(LEVEL, sort=False)["frame_id"]))
    keys = evidence.levels.itertuples(index=False, name=None)
    return [sorted(set(by_level.get(key, ()))) for key in keys]


def _frame_pairs(frame_ids: list[str], frames: pd.DataFrame, limits: ConfusionLimits) -> tuple[int, int]:
    """How many pairs of these frames look alike, and how many pairs there are."""
    hashes = hashes_of(frames)
    known = [hashes.get(frame_id) for frame_id in frame_ids]
    alike = sum(
        int((hash_distances(known[part], known) < limits.looks_different_bits).sum())
        for part in row_chunks(len(known))
    )
    n_known = int((paired_distances(known, known) == 0).sum())
    return (alike - n_known) // 2, len(known) * (len(known) - 1) // 2


def _count(rows: pd.DataFrame, levels: pd.DataFrame) -> list[int]:
    sizes = rows.groupby(LEVEL).size().to_dict() if len(rows) else {}
    return [int(sizes.get(key, 0)) for key in levels.itertuples(index=False, name=None)]

"""Is a level worse than chance explains? Each sign at each level, tested; Holm's adjustment over the run.

Wrong neighbours and duplicates are held against the calm levels: the same server's lower levels, as far as
they were not found suspicious themselves. At a server's lowest level there is nothing calmer: wrong
neighbours are then held against another server's lowest level (it saw the same images and references), or
else against the share of stored references that may be wrong; duplicates are not tested, since a terse model
repeats itself. Replays (same text, too fast) and misplaced answers carry their own yardstick.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from poc_lib.confusion.chance import (
    allowed_p_value,
    association_p_value,
    holm,
    paired_p_value,
    rare_p_value,
    upper_bound,
)
from poc_lib.confusion.evidence import Evidence
from poc_lib.confusion.fits import NOT_JUDGED, OTHER, OWN
from poc_lib.confusion.limits import ConfusionLimits
from poc_lib.confusion.placing import MISPLACED_CHANCE
from poc_lib.confusion.repeats import replays_among
from poc_lib.confusion.tables import LEVEL

WRONG, DUPLICATES, REPLAYS, MISPLACED = "wrong_neighbours", "duplicates", "replays", "misplaced"
SIGNS = (WRONG, DUPLICATES, REPLAYS, MISPLACED)
SIGN_COLUMNS = (
    *LEVEL,
    "sign",
    "count",
    "n",
    "rate",
    "high",
    "expected",
    "p_value",
    "held_against",
    "p_adjusted",
)
OWN_YARDSTICK = "this level itself"


@dataclass(slots=True)
class _Tested:
    """One sign at one level, as it is tested."""

    expected: float = float("nan")
    p_value: float = float("nan")
    held_against: str = "nothing"


def weigh_signs(evidence: Evidence, limits: ConfusionLimits) -> pd.DataFrame:
    """One row per level and sign with SIGN_COLUMNS.

    ``count`` of ``n`` answers show the sign; ``rate`` and ``high`` are their share and its exact 95 % upper
    bound; ``expected`` is the number that chance explains, ``p_value`` the probability of at least ``count``
    by chance (NaN: not tested), ``p_adjusted`` the same by Holm over all levels and signs of the run.
    """
    keys = list(evidence.levels.itertuples(index=False, name=None))
    threshold = limits.family_error / max(1, len(SIGNS) * len(keys))
    calm: dict[tuple, dict[str, pd.Series]] = {}
    rows = []
    for key in keys:
        flags = _flags_at(evidence, key)
        tested = _tested_at(evidence, key, flags, calm, limits)
        if not any(one.p_value <= threshold for one in tested.values()):
            calm[key] = flags
        rows += [_sign_row(key, sign, *_count_of(evidence, key, sign), tested[sign]) for sign in SIGNS]
    table = pd.DataFrame(rows, columns=list(SIGN_COLUMNS[:-1]))
    return table.assign(p_adjusted=holm(table["p_value"].to_numpy(dtype=float)))


weigh_signs.__test__ = False  # not a test of pytest's


def _sign_row(key: tuple, sign: str, count: int, n: int, tested: _Tested) -> tuple:
    rate = count / n if n else float("nan")
    bound = upper_bound(count, n)
    return (*key, sign, count, n, rate, bound, tested.expected, tested.p_value, tested.held_against)


def _tested_at(
    evidence: Evidence,
    key: tuple,
    flags: dict[str, pd.Series],
    calm: dict[tuple, dict[str, pd.Series]],
    limits: ConfusionLimits,
) -> dict[str, _Tested]:
    same_server = [at for at in calm if at[:2] == key[:2] and at[2] < key[2]]
    others = [at for at in calm if at[:2] != key[:2]]
    others = [min(others, key=lambda at: (at[1] != "baseline", at[2]))] if others else []
    return {
        WRONG: _against(flags[WRONG], same_server or others, calm, WRONG)
        if same_server or others
        else _allowed(flags[WRONG], limits),
        DUPLICATES: _against(flags[DUPLICATES], same_server, calm, DUPLICATES),
        REPLAYS: _too_fast(_at(evidence.repeats, key)),
        MISPLACED: _misplaced(_at(evidence.placed, key, evidence), _at(evidence.answers, key)),
    }


def _against(flagged: pd.Series, at: list[tuple], calm: dict, sign: str) -> _Tested:
    yardsticks = [calm[key][sign] for key in at]
    p_value = paired_p_value(flagged, yardsticks)
    if np.isnan(p_value):
        return _Tested()
    seen = pd.concat(yardsticks).astype(float)
    by_frame = seen.groupby(level="frame_id").mean()
    frame_ids = flagged.index.get_level_values("frame_id")
    expected = by_frame.reindex(frame_ids).fillna(seen.mean()).sum()
    return _Tested(float(expected), p_value, ", ".join(f"{server} at {level}" for server, _, level in at))


def _allowed(flagged: pd.Series, limits: ConfusionLimits) -> _Tested:
    share = limits.wrong_reference_share
    p_value = allowed_p_value(flagged, share)
    return _Tested(share * len(flagged), p_value, f"{share:.0%} wrong references")


def _too_fast(repeats: pd.DataFrame) -> _Tested:
    p_value, expected = association_p_value(_marks_by_cell(repeats))
    return _Tested(expected, p_value, OWN_YARDSTICK)


def _marks_by_cell(repeats: pd.DataFrame) -> Iterator[tuple[int, int, int, int]]:
    timed = repeats[repeats["ttft_s"].notna()]
    for _, cell in timed.groupby("block", sort=False):
        alike, fast = cell["alike"].to_numpy(bool), cell["fast"].to_numpy(bool)
        yield len(cell), int(alike.sum()), int(fast.sum()), int((alike & fast).sum())


def _misplaced(placed: pd.DataFrame, answers: pd.DataFrame) -> _Tested:
    scored = placed[placed["surplus"].notna()]
    chances = scored["chance"].set_axis(_by_answer(answers.loc[scored.index]))
    return _Tested(MISPLACED_CHANCE * len(scored), rare_p_value(chances), "the run's other answers")


def _flags_at(evidence: Evidence, key: tuple) -> dict[str, pd.Series]:
    judged = _at(evidence.judged, key)
    judged = judged[judged["judgement"] != NOT_JUDGED]
    answers = _at(evidence.answers, key)
    repeated = answers.index.isin(evidence.duplicates.index)
    return {
        WRONG: pd.Series((judged["judgement"] == OTHER).to_numpy(bool), index=_by_answer(judged)),
        DUPLICATES: pd.Series(repeated, index=_by_answer(answers)),
    }


def _count_of(evidence: Evidence, key: tuple, sign: str) -> tuple[int, int]:
    if sign == WRONG:
        judged = _at(evidence.judged, key)["judgement"]
        return int((judged == OTHER).sum()), int(judged.isin([OWN, OTHER]).sum())
    if sign == DUPLICATES:
        return len(_at(evidence.duplicates, key)), len(_at(evidence.answers, key))
    if sign == REPLAYS:
        return len(replays_among(_at(evidence.repeats, key))), len(_at(evidence.answers, key))
    placed = _at(evidence.placed, key, evidence)
    return int((placed["chance"] <= MISPLACED_CHANCE).sum()), int(placed["surplus"].notna().sum())


def _at(table: pd.DataFrame, key: tuple, evidence: Evidence | None = None) -> pd.DataFrame:
    """The rows of a level; the level is looked up in the answers where the table does not name it."""
    named = table if evidence is None else evidence.answers
    here = np.ones(len(named), dtype=bool)
    for name, value in zip(LEVEL, key, strict=True):
        here &= named[name].to_numpy() == value
    return table[here]


def _by_answer(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([rows["frame_id"], rows["block"]], names=["frame_id", "block"])

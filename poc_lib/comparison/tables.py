"""Runs side by side, level by level and best level against best level. Pure: analyses in, a table out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.comparison.differences import same_baseline
from poc_lib.comparison.facts import pair_candidates
from poc_lib.comparison.ratios import NAN, Measured, Ratio, rate_ratio
from poc_lib.intervals import paired_mean_interval
from poc_lib.intervals.groups import group_for_intervals
from poc_lib.intervals.shares import answered_shares
from poc_lib.verdict import SUSPICIONS, choose_level

NORMALISED, AS_MEASURED = "normalised", "as measured"
COMPARISON_COLUMNS = (
    *("run_id", "server", "scope", "concurrency", "first_run_id", "first_server", "first_concurrency"),
    *("simulated", "n_frames", "blocks", "n_ok", "n_lost", "complete"),
    *("frames_per_s", "output_tok_per_s", "ttft_p50_s", "match_rate", "match_n", "suspicious"),
    *("frames_ratio", "frames_low", "frames_high", "tokens_ratio", "tokens_low", "tokens_high"),
    *("normalised", "normalised_low", "normalised_high", "baseline", "baseline_ratio", "baseline_low"),
    *("baseline_high", "drift", "leads", "n_blocks", "n_groups"),
    *("similarity_change", "similarity_low", "similarity_high", "similarity_n"),
)


@dataclass(frozen=True, slots=True)
class Side:
    """A run's part in the comparison of one pair of candidates."""

    analysis: Analysis
    answered: pd.DataFrame  # intervals.shares.answered_shares
    server: str
    levels: dict[int, pd.Series]  # the candidate's rows of analysis.speed

    @property
    def run_id(self) -> str:
        return self.analysis.run.run_id

    def cell(self, server: str, level: int) -> pd.DataFrame:
        """The answered requests of a server at a level."""
        return _of_level(self.answered, server, level)


def compare_runs(analyses: Sequence[Analysis]) -> pd.DataFrame:
    """Every run's candidates per level, and their ratios to the first run's; COMPARISON_COLUMNS.

    Args:
        analyses: at least one, the run that the others are held against first; all with equal thresholds.

    One row per run, candidate and level (``scope`` "level"), and one per run and candidate for its fastest
    complete level against the first run's (``scope`` "best"; the two levels may differ). Candidates pair by
    name, or as the only ones. ``frames_ratio``, ``tokens_ratio``: rate ÷ the first run's rate, with a 95 %
    interval (ratios). ``normalised``: speed-up over speed-up, where both runs measured the same complete
    baseline at the same level; then it ``leads``, else the ratio as measured does. ``baseline_ratio`` is the
    baseline against itself, ``drift`` whether its interval leaves out 1. ``similarity_change``: mean
    difference of the difflib ratio to the stored reference, paired by frame, over ``similarity_n`` frames.
    ``n_lost``: requests that failed or were not sent. NaN where there is nothing to hold against.
    """
    first, *others = analyses
    rows = [row for side in _sides_of(first) for row in _rows(None, side)]
    rows += [row for other in others for row in _rows_of_pair(first, other)]
    table = pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    return table.astype({"leads": object, "first_server": object, "baseline": object})


def _sides_of(analysis: Analysis) -> list[Side]:
    candidates = analysis.speed[analysis.speed["role"] == "candidate"]
    return [_side(analysis, name) for name in dict.fromkeys(candidates["server"])]


def _side(analysis: Analysis, server: str) -> Side:
    rows = analysis.speed[analysis.speed["server"] == server].sort_values("concurrency")
    levels = {int(row["concurrency"]): row for _, row in rows.iterrows()}
    return Side(analysis, answered_shares(analysis.requests), server, levels)


def _rows_of_pair(first: Analysis, other: Analysis) -> Iterator[dict]:
    for left, right in pair_candidates(first.run.facts, other.run.facts):
        if right is not None:
            yield from _rows(_side(first, left) if left else None, _side(other, right))


def _rows(first: Side | None, other: Side) -> Iterator[dict]:
    for level in other.levels:
        yield _row(first, other, "level", level if first and level in first.levels else None, level)
    best, first_best = _best_level(other), _best_level(first) if first else None
    if best is not None and (first is None or first_best is not None):
        yield _row(first, other, "best", first_best, best)


def _best_level(side: Side) -> int | None:
    """The level that a verdict on this run speaks of; None: it answered every frame at none."""
    speed = side.analysis.speed
    if "simultaneous_low" not in speed:
        speed = speed.assign(simultaneous_low=NAN)
    best = choose_level(speed, side.server)
    return None if best is None else int(best["concurrency"])


def _row(first: Side | None, other: Side, scope: str, first_level: int | None, level: int) -> dict:
    row = {
        "run_id": other.run_id,
        "server": other.server,
        "scope": scope,
        "concurrency": level,
        "first_run_id": first.run_id if first else other.run_id,
        "first_server": first.server if first else None,
        "first_concurrency": first_level,
        **_measured(other, level),
        "drift": False,
        "leads": None,
    }
    if first and first_level is not None:
        row |= _against(first, first_level, other, level)
    return row


def _measured(side: Side, level: int) -> dict:
    speed = side.levels[level]
    agreement = _of_level(side.analysis.agreement, side.server, level)
    agreement = agreement[agreement["against"] == STORED_REFERENCE]
    confusion = _of_level(side.analysis.confusion, side.server, level)
    kept = ("simulated", "blocks", "n_ok", "complete", "frames_per_s", "output_tok_per_s", "ttft_p50_s")
    return {
        **{name: speed[name] for name in kept},
        "n_frames": len(side.analysis.frames),
        "n_lost": int(speed["n_failed"] + speed["n_not_sent"]),
        "match_rate": float(agreement["match_rate"].iloc[0]) if len(agreement) else NAN,
        "match_n": int(agreement["n_scored"].sum()),
        "suspicious": int(confusion[list(SUSPICIONS)].to_numpy().sum()) if len(confusion) else NAN,
    }


def _of_level(table: pd.DataFrame, server: str, level: int) -> pd.DataFrame:
    return table[(table["server"] == server) & (table["concurrency"] == level)]


def _against(first: Side, first_level: int, other: Side, level: int) -> dict:
    frames, in_flight = first.analysis.frames, max(first_level, level)
    mine, theirs = first.cell(first.server, first_level), other.cell(other.server, level)
    ratio, tokens = (
        rate_ratio(Measured(mine), Measured(theirs), frames, in_flight, work) for work in ("frames", "tokens")
    )
    normalised, itself, label = Ratio(), Ratio(), None
    if key := _shared_baseline(first.analysis, other.analysis):
        before, after = first.cell(*key), other.cell(*key)
        label = f"{key[0]} at {key[1]} in flight"
        itself = rate_ratio(Measured(before), Measured(after), frames, key[1])
        in_flight = max(in_flight, key[1])
        normalised = rate_ratio(Measured(mine, before), Measured(theirs, after), frames, in_flight)
    return {
        **_named(ratio, "frames_ratio", "frames"),
        **_named(tokens, "tokens_ratio", "tokens"),
        **_named(normalised, "normalised", "normalised"),
        **_named(itself, "baseline_ratio", "baseline"),
        "baseline": label,
        "drift": itself.leaves_out_1,
        "leads": NORMALISED if pd.notna(normalised.value) else AS_MEASURED if pd.notna(ratio.value) else None,
        "n_blocks": ratio.n_blocks,
        "n_groups": ratio.n_groups,
        **_similarity_change(first, first_level, other, level),
    }


def _named(ratio: Ratio, value: str, ends: str) -> dict:
    return {value: ratio.value, f"{ends}_low": ratio.low, f"{ends}_high": ratio.high}


def _shared_baseline(first: Analysis, other: Analysis) -> tuple[str, int] | None:
    """Name and level of the first run's baseline, if both runs measured it and it answered every frame."""
    name, level = first.baseline.name, first.baseline.concurrency
    rows = [_of_level(analysis.speed, name, level) for analysis in (first, other)]
    whole = all(len(row) and row["complete"].all() for row in rows)
    is_same = first.baseline.measured and same_baseline(first.run.facts, other.run.facts)
    return (name, level) if whole and is_same else None


def _similarity_change(first: Side, first_level: int, other: Side, level: int) -> dict:
    """Over the frames whose stored reference both runs share, each frame's answers averaged over blocks."""
    frames = first.analysis.frames
    mine, theirs = _similarities(first, first_level), _similarities(other, level)
    change = (theirs - mine)[_same_references(frames, other.analysis.frames)].dropna()
    groups = group_for_intervals(frames, 1)
    found = paired_mean_interval(change, groups.reindex(change.index))
    return {
        "similarity_change": float(change.mean()) if len(change) else NAN,
        "similarity_low": found.low,
        "similarity_high": found.high,
        "similarity_n": len(change),
    }


def _similarities(side: Side, level: int) -> pd.Series:
    scores = _of_level(side.analysis.scores, side.server, level)
    scores = scores[scores["against"] == STORED_REFERENCE]
    wanted = side.analysis.frames["frame_id"]
    return scores.groupby("frame_id")["difflib_ratio"].mean().reindex(wanted)


def _same_references(first: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    texts = first.set_index("frame_id")["ref_description"]
    shared = texts.index.intersection(other["frame_id"])
    same = texts[shared] == other.set_index("frame_id")["ref_description"][shared]
    return list(shared[same])

"""What a similarity means on these frames: another screen's is the floor, the baseline again the ceiling."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from poc_lib.accuracy.own_other import (
    RunSides,
    agreement_with_itself,
    by_frame,
    lowest_level,
    pairs_of_level,
    read_sides,
)
from poc_lib.accuracy.pairs import Embeddings
from poc_lib.accuracy.scores import STORED_REFERENCE
from poc_lib.accuracy.separation import OwnOther, separating_thresholds, summarize_auc
from poc_lib.accuracy.sides import Side, measured, reference_sides
from poc_lib.intervals.simple import share_interval

CALIBRATION_COLUMNS = (
    *("server", "role", "concurrency", "against", "measure"),
    *("n_own", "n_other", "n_frames", "n_groups"),
    *("own_mean", "other_mean", "ceiling_mean", "n_ceiling", "ceiling_of", "ceiling_same_text", "position"),
    *("auc", "auc_low", "auc_high"),
    *("match_rate_plan", "threshold", "match_rate_calibrated", "match_rate_low", "match_rate_high"),
    "false_match_rate",
)


def summarize_calibration(
    requests: pd.DataFrame,
    frames: pd.DataFrame,
    match_threshold: float,
    embeddings: Embeddings | None = None,
) -> pd.DataFrame:
    """Per server, level and measure: where its agreement lies between another screen's and the best possible.

    Args: as for ``score_answers``; the frames need ``phash``, to tell which look different.

    Returns:
        One row per (server, role, concurrency, against, measure) with CALIBRATION_COLUMNS; ``against`` as in
        ``score_answers``. ``own_mean``: answers with their own frame's reference (n_own answers to n_frames
        frames in n_groups groups of near-duplicates). ``other_mean``, the floor: each frame's first answer
        with the references of frames that look different (n_other pairs; for difflib a sample, see
        ``difflib_sample``). ``ceiling_mean``: the baseline's answers to one frame in different blocks at its
        lowest level, with each other (n_ceiling frames; with several baselines the first that has two
        blocks, without any the server itself; ``ceiling_of`` names it). ``ceiling_same_text`` is the share of
        these pairs that are letter for letter equal: near 1, as at temperature 0, such a ceiling is 1 and
        out of reach. ``position`` = (own - other) ÷ (ceiling - other), not cut at 0 or 1. ``auc`` with its
        95 % interval: ``summarize_auc``. ``match_rate_plan``: share of own values above ``match_threshold``.
        ``threshold``: the one that best separates own from other at the server's lowest level;
        ``match_rate_calibrated``, its 95 % interval and ``false_match_rate`` (of other pairs) judge each
        frame by a threshold from other frames (``separating_thresholds``). NaN: nothing to score.
    """
    rows = measured(requests)
    if rows.empty or frames.empty:
        return pd.DataFrame(columns=list(CALIBRATION_COLUMNS))
    rows = rows[rows["frame_id"].isin(frames["frame_id"])].reset_index(drop=True)
    references = reference_sides(frames)
    run = read_sides(rows, frames, references, embeddings)
    table = []
    for server in rows["server"].unique():
        for against, others, ceiling_of in _comparisons(run, server, references):
            ceiling = _ceiling(run, ceiling_of)
            table += _server_rows(run, server, against, others, ceiling, match_threshold)
    return pd.DataFrame(table, columns=list(CALIBRATION_COLUMNS))


def _comparisons(
    run: RunSides, server: str, references: Mapping[str, Side]
) -> Iterator[tuple[str, Mapping[str, Side], str]]:
    """What a server's answers are held against: its name, the texts by frame_id, whose ceiling applies."""
    is_baseline = run.rows["role"] == "baseline"
    baselines = list(run.rows.loc[is_baseline, "server"].unique())
    repeated = [name for name in baselines if len(_ceiling(run, name)["means"])]
    own_ceiling = server if server in baselines or not baselines else (repeated or baselines)[0]
    yield STORED_REFERENCE, references, own_ceiling
    for name in baselines if server not in baselines else []:
        answers = by_frame(run, lowest_level(run.rows, name))
        yield f"baseline {name}", {frame: blocks[min(blocks)] for frame, blocks in answers.items()}, name


def _ceiling(run: RunSides, server: str) -> dict:
    table = agreement_with_itself(run, by_frame(run, lowest_level(run.rows, server)))
    same_text = table["same_text"].mean() if len(table) else np.nan
    return {"of": server, "means": table, "same_text": same_text}


def _server_rows(
    run: RunSides,
    server: str,
    against: str,
    others: Mapping[str, Side],
    ceiling: dict,
    match_threshold: float,
) -> Iterator[dict]:
    of_server = run.rows[run.rows["server"] == server]
    thresholds: dict[str, tuple[float, np.ndarray]] = {}
    for concurrency, level in of_server.groupby("concurrency"):
        key = {
            "server": server,
            "role": level["role"].iloc[0],
            "concurrency": concurrency,
            "against": against,
        }
        for measure, found in pairs_of_level(run, level, others, with_ocr=against == STORED_REFERENCE):
            if measure not in thresholds:  # the lowest level comes first
                thresholds[measure] = separating_thresholds(found)
            yield (
                key
                | {"measure": measure}
                | _means(found, measure, ceiling)
                | _separation(found, match_threshold, *thresholds[measure])
            )


def _means(pairs: OwnOther, measure: str, ceiling: dict) -> dict:
    judged = pairs.own_frame[~np.isnan(pairs.own)]
    own, other = _mean(pairs.own), _mean(pairs.other)
    best = ceiling["means"][measure] if measure in ceiling["means"] else pd.Series(dtype=float)
    span = best.mean() - other
    return {
        "n_own": pairs.n_own,
        "n_other": pairs.n_other,
        "n_frames": np.unique(judged).size,
        "n_groups": np.unique(pairs.group[judged]).size,
        "own_mean": own,
        "other_mean": other,
        "ceiling_mean": best.mean(),
        "n_ceiling": int(best.count()),
        "ceiling_of": ceiling["of"] if best.count() else None,
        "ceiling_same_text": ceiling["same_text"] if best.count() else np.nan,
        "position": (own - other) / span if span > 0 else np.nan,
    }


def _separation(
    pairs: OwnOther, match_threshold: float, threshold: float, by_frame_threshold: np.ndarray
) -> dict:
    auc = summarize_auc(pairs)
    matches = _above(pairs.own, by_frame_threshold[pairs.own_frame])
    found = share_interval(matches, pairs.group[pairs.own_frame])
    return {
        "auc": auc.value,
        "auc_low": auc.low,
        "auc_high": auc.high,
        "match_rate_plan": _mean(_above(pairs.own, match_threshold, strictly=True)),
        "threshold": threshold,
        "match_rate_calibrated": _mean(matches),
        "match_rate_low": found.low,
        "match_rate_high": found.high,
        "false_match_rate": _mean(_above(pairs.other, by_frame_threshold[:, None])),
    }


def _above(values: np.ndarray, threshold: float | np.ndarray, strictly: bool = False) -> np.ndarray:
    passed = values > threshold if strictly else values >= threshold
    return np.where(np.isnan(values) | np.isnan(threshold), np.nan, passed)


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else np.nan

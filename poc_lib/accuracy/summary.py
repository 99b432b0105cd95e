"""Scores per server and level, and the frames worth looking at."""

import random
from dataclasses import dataclass

import pandas as pd
from scipy.stats import binomtest

LEVEL_KEY = ["server", "role", "concurrency", "against"]
AGREEMENT_COLUMNS = (
    "n_requests",
    "n_scored",
    "n_frames",
    "match_rate",
    "match_rate_low",
    "match_rate_high",
    "difflib_mean",
    "difflib_median",
    "tfidf_mean",
    "activity_rate",
    "activity_n",
    "apps_jaccard_mean",
    "apps_match_rate",
    "apps_n",
    "topics_jaccard_mean",
    "topics_n",
    "well_formed_share",
    "well_formed_n",
)


@dataclass(frozen=True, slots=True)
class Samples:
    """Frame ids for a gallery; no frame is in both."""

    worst: list[str]  # lowest similarity first
    random: list[str]  # drawn by seed from the others


def summarize_agreement(scores: pd.DataFrame) -> pd.DataFrame:
    """Agreement per (server, role, concurrency, against), each rate and mean beside its n.

    Args:
        scores: the table of ``score_answers``.

    Returns:
        One row per group with AGREEMENT_COLUMNS. ``n_scored`` is the n of match_rate, difflib_* and
        tfidf_mean; ``n_frames`` counts the distinct frames in it. ``match_rate_low`` and ``_high`` are
        Wilson's 95 % interval (Wilson 1927, scipy's ``binomtest``); it takes the answers as independent, so
        with several repeats of one frame it is too narrow: read it with n_frames. ``well_formed_share`` is
        over the answered requests, scorable or not. A statistic of nothing is NaN, its n is 0.
    """
    columns = [*LEVEL_KEY, *AGREEMENT_COLUMNS]
    rows = [
        dict(zip(LEVEL_KEY, key, strict=True)) | _agreement(group)
        for key, group in scores.groupby(LEVEL_KEY, sort=False)
    ]
    return pd.DataFrame(rows, columns=columns)


def pick_samples(scores: pd.DataFrame, n: int, seed: int, by: str = "tfidf_cosine") -> Samples:
    """The n worst and n random frames for a gallery.

    Args:
        scores: rows of ``score_answers``, cut by the caller to the server, level and ``against`` to be shown.
        n: frames of each kind, at most.
        seed: of the random draw; the same scores and seed give the same frames.
        by: the column that ranks; a frame with several rows counts with its lowest.

    Rows that could not be scored are left out: a failed request is not a bad answer.
    """
    scored = scores.dropna(subset=[by])
    lowest = scored.groupby("frame_id")[by].min().reset_index().sort_values([by, "frame_id"])
    worst = lowest["frame_id"].tolist()[:n]
    others = sorted(set(lowest["frame_id"]) - set(worst))
    return Samples(worst, random.Random(seed).sample(others, min(n, len(others))))


def _agreement(group: pd.DataFrame) -> dict:
    match = group["match"].dropna()
    low, high = _wilson(int(match.sum()), len(match))
    return {
        "n_requests": len(group),
        "n_scored": len(match),
        "n_frames": group.loc[match.index, "frame_id"].nunique(),
        "match_rate": match.mean(),
        "match_rate_low": low,
        "match_rate_high": high,
        "difflib_mean": group["difflib_ratio"].mean(),
        "difflib_median": group["difflib_ratio"].median(),
        "tfidf_mean": group["tfidf_cosine"].mean(),
        "activity_rate": group["activity_agrees"].mean(),
        "activity_n": group["activity_agrees"].count(),
        "apps_jaccard_mean": group["apps_jaccard"].mean(),
        "apps_match_rate": group["apps_match"].mean(),
        "apps_n": group["apps_jaccard"].count(),
        "topics_jaccard_mean": group["topics_jaccard"].mean(),
        "topics_n": group["topics_jaccard"].count(),
        "well_formed_share": group["well_formed"].mean(),
        "well_formed_n": group["well_formed"].count(),
    }


def _wilson(successes: int, n: int) -> tuple[float, float]:
    if n == 0:
        return float("nan"), float("nan")
    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)

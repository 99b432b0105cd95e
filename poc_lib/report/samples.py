"""Which answers are shown: proven leaks, suspicions, those least like their reference, and some drawn.

Pure. Each kind is bounded; what is left out is in the run's tables.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from poc_lib.accuracy import STORED_REFERENCE, pick_samples
from poc_lib.analysis import Analysis
from poc_lib.report.choice import chosen_level

SUSPICION = "suspicion"
Kind = Literal["leak", "suspicious", "worst", "random"]
N_OF_KIND: dict[Kind, int] = {"leak": 4, "suspicious": 6, "worst": 3, "random": 3}


@dataclass(frozen=True, slots=True)
class Chosen:
    """One answer to be shown."""

    kind: Kind
    server: str
    concurrency: int
    block: int
    frame_id: str
    reason: str
    phase: str = "measure"
    other_frame_id: str | None = None  # the frame that the answer may be about
    sign: str | None = None


def choose_samples(analysis: Analysis, seed: int) -> list[Chosen]:
    """The answers worth a look, the most serious first; no frame twice but for leaks."""
    chosen = [*_leaks(analysis), *_suspicious(analysis)]
    level = chosen_level(analysis)
    shown = _scored(analysis, level, {one.frame_id for one in chosen})
    n_worst, n_random = N_OF_KIND["worst"], N_OF_KIND["random"]
    picked = pick_samples(shown, max(n_worst, n_random), seed)
    chosen += _at_level(analysis, level, "worst", "Least like its reference", picked.worst[:n_worst])
    drawn = picked.random[:n_random] if picked.worst else _drawn(analysis, level, n_random, seed)
    return chosen + _at_level(analysis, level, "random", "Drawn at random", drawn)


def of_kinds(chosen: Iterable[Chosen], kinds: Iterable[Kind]) -> list[Chosen]:
    """The samples of these kinds."""
    return [one for one in chosen if one.kind in set(kinds)]


def _leaks(analysis: Analysis) -> list[Chosen]:
    return [
        Chosen(
            "leak",
            row.server,
            row.concurrency,
            row.block,
            row.frame_id,
            "Proven leak: it holds the code of another image",
            row.phase,
            row.donor_frame_id,
            "leak",
        )
        for row in analysis.leaks.head(N_OF_KIND["leak"]).itertuples()
    ]


def _suspicious(analysis: Analysis) -> list[Chosen]:
    rows = analysis.suspicious
    first = rows.assign(later=rows["state"] != SUSPICION).sort_values("later", kind="stable")
    kept = first.drop_duplicates("frame_id").head(N_OF_KIND["suspicious"])
    return [
        Chosen(
            "suspicious",
            row.server,
            row.concurrency,
            row.block,
            row.frame_id,
            f"{'Suspicious' if row.state == SUSPICION else 'Odd, but within chance'}: {row.sign}",
            other_frame_id=row.other_frame_id,
            sign=row.sign,
        )
        for row in kept.itertuples()
    ]


def _scored(analysis: Analysis, level: int, shown_already: set[str]) -> pd.DataFrame:
    scores = analysis.scores
    return scores[
        (scores["server"] == analysis.verdict.candidate)
        & (scores["concurrency"] == level)
        & (scores["block"] == 0)
        & (scores["against"] == STORED_REFERENCE)
        & ~scores["frame_id"].isin(shown_already)
    ]


def _drawn(analysis: Analysis, level: int, n: int, seed: int) -> list[str]:
    """Answered frames of the first block, where nothing could be scored."""
    requests = analysis.requests
    here = (requests["server"] == analysis.verdict.candidate) & (requests["concurrency"] == level)
    here &= (requests["phase"] == "measure") & (requests["block"] == 0) & requests["error_class"].isna()
    frame_ids = sorted(set(requests.loc[here, "frame_id"]))
    return random.Random(seed).sample(frame_ids, min(n, len(frame_ids)))


def _at_level(
    analysis: Analysis, level: int, kind: Kind, reason: str, frame_ids: Iterable[str]
) -> list[Chosen]:
    candidate = analysis.verdict.candidate
    return [Chosen(kind, candidate, level, 0, frame_id, reason) for frame_id in frame_ids]

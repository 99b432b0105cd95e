"""Everything about the quality of answers in one run, from its files; embeddings alone may ask a server."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from poc_lib.accuracy import (
    compare_levels,
    compare_models,
    frame_groups,
    score_answers,
    score_labels,
    summarize_agreement,
    summarize_calibration,
    summarize_labels,
    texts_of,
)
from poc_lib.health import score_health, summarize_health
from poc_lib.labels import read_labels
from poc_lib.params import Params
from poc_lib.runs import Run
from poc_lib.servers_embeddings import send_embeddings
from poc_lib.sync import run_now

NO_LABELS = pd.DataFrame(columns=["frame_id"])


@dataclass(frozen=True, slots=True)
class Quality:
    """The tables about single answers; each is described where it is computed."""

    scores: pd.DataFrame  # accuracy.score_answers: one row per answer and reference
    agreement: pd.DataFrame  # accuracy.summarize_agreement
    calibration: pd.DataFrame  # accuracy.summarize_calibration: against what is possible
    levels: pd.DataFrame  # accuracy.compare_levels: does load cost quality?
    models: pd.DataFrame  # accuracy.compare_models: does the model cost quality?
    labels: pd.DataFrame  # accuracy.summarize_labels; empty without human labels
    label_scores: pd.DataFrame  # accuracy.score_labels
    health_scores: pd.DataFrame  # health.score_health: one row an answer
    health: pd.DataFrame  # health.summarize_health


def analyse_quality(run: Run, params: Params, requests: pd.DataFrame, frames: pd.DataFrame) -> Quality:
    """Compute every table about single answers.

    Raises:
        SetupProblem: the labels' file, or the server of embeddings, cannot be used.
    """
    labels = NO_LABELS
    if params.labels:
        labels = read_labels(Path(params.labels).expanduser(), set(frames["frame_id"]))
    embeddings = read_embeddings(run, params, requests, frames, labels)
    scores = score_answers(requests, frames, params.match_threshold, embeddings)
    groups = frame_groups(frames)
    label_scores = score_labels(requests, labels, embeddings)
    health_scores = score_health(requests, frames)
    return Quality(
        scores=scores,
        agreement=summarize_agreement(scores, groups),
        calibration=summarize_calibration(requests, frames, params.match_threshold, embeddings),
        levels=compare_levels(requests, frames, params.quality_margin, scores),
        models=compare_models(requests, frames, params.quality_margin, embeddings),
        labels=summarize_labels(label_scores, groups),
        label_scores=label_scores,
        health_scores=health_scores,
        health=summarize_health(health_scores),
    )


def read_embeddings(
    run: Run, params: Params, requests: pd.DataFrame, frames: pd.DataFrame, labels: pd.DataFrame
) -> Mapping[str, np.ndarray] | None:
    """Vectors of every text that is compared, kept in the run folder; None: no embedding model was named."""
    if not params.embeddings_url:
        return None
    return run_now(
        send_embeddings(
            params.embeddings_url,
            params.embeddings_api,
            params.embeddings_model,
            texts_of(requests, frames, labels if len(labels) else None),
            params.api_key(),
            cache=run.folder / "embeddings.npz",
        )
    )

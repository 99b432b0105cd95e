"""Answers against human labels: do they hold what they must?"""

import re

import pandas as pd

from poc_lib.accuracy.clusters import Groups, group_labels
from poc_lib.accuracy.facts import fold_text, read_facts
from poc_lib.accuracy.names import fold_apps
from poc_lib.accuracy.pairs import Embeddings, score_pairs
from poc_lib.accuracy.sides import Side, answer_sides, measured
from poc_lib.answers import strip_thinking
from poc_lib.intervals.simple import mean_interval, share_interval

NAN = float("nan")
CELL = ["server", "role", "concurrency", "block"]
_COMPARED = (
    *("difflib_ratio", "tfidf_cosine", "embedding_cosine"),
    *("fidelity_f1", "fidelity_precision", "fidelity_recall"),
    *("activity_agrees", "apps_jaccard"),
)
LABEL_SCORE_COLUMNS = (
    *CELL,
    "frame_id",
    "correct",
    "share_contained",
    "n_must",
    "n_must_not",
    "missing",
    "forbidden",
    *_COMPARED,
    "why_not_scored",
)
LABEL_SUMMARY_COLUMNS = (
    *CELL[:3],
    *("n_requests", "n_failed", "n_frames"),
    *("correct_rate", "correct_low", "correct_high", "correct_n"),
    *("contained_mean", "contained_low", "contained_high", "contained_n"),
    *("activity_rate", "activity_low", "activity_high", "activity_n"),
    *("apps_jaccard_mean", "apps_n", "tfidf_mean", "tfidf_n", "fidelity_f1", "fidelity_n"),
)


def score_labels(
    requests: pd.DataFrame, labels: pd.DataFrame, embeddings: Embeddings | None = None
) -> pd.DataFrame:
    """Hold every measured answer to a labelled frame against its label.

    Args:
        requests: one row per Reply.
        labels: of ``labels.read_labels``: one row a frame with frame_id, description, must_contain,
            must_not_contain (tuples), activity, apps; None: not labelled.

    Returns:
        One row per (server, role, concurrency, block, frame_id) with LABEL_SCORE_COLUMNS. ``correct``: 1.0
        where the whole answer, its thinking left out, holds every must_contain and no must_not_contain as
        whole words, case ignored ("a|b": either); ``missing`` and ``forbidden`` list the others (tuples);
        ``share_contained``: of the n_must. The description, activity and apps are compared as
        ``score_answers`` compares those of a stored reference. NaN: not labelled, or the request failed.
    """
    rows = measured(requests)
    if rows.empty or labels.empty:
        return pd.DataFrame(columns=list(LABEL_SCORE_COLUMNS))
    rows = rows[rows["frame_id"].isin(labels["frame_id"])].reset_index(drop=True)
    by_frame = {label.frame_id: label for label in labels.itertuples(index=False)}
    answers = answer_sides(rows)
    asked = [by_frame[frame_id] for frame_id in rows["frame_id"]]
    held = [
        _held(strip_thinking(text), side, label)
        for text, side, label in zip(rows["text"], answers, asked, strict=True)
    ]
    references = {frame_id: _label_side(label) for frame_id, label in by_frame.items()}
    compared = score_pairs(answers, [references[one.frame_id] for one in asked], embeddings=embeddings)
    table = pd.concat([rows[[*CELL, "frame_id"]], pd.DataFrame(held), compared[list(_COMPARED)]], axis=1)
    return table[list(LABEL_SCORE_COLUMNS)]


def summarize_labels(scored: pd.DataFrame, groups: Groups | None = None) -> pd.DataFrame:
    """Per (server, role, concurrency) the share of answers that hold what they must, with 95 % intervals.

    Args:
        scored: of ``score_labels``.
        groups: near-duplicate frames (``frame_groups``); None: only the answers to one frame go together.

    Returns:
        One row a level with LABEL_SUMMARY_COLUMNS, each rate or mean with its n. Shares have the interval of
        intervals.share_interval, the mean of ``share_contained`` that of mean_interval. NaN: not labelled.
    """
    rows = [
        dict(zip(CELL[:3], key, strict=True)) | _label_summary(level, groups)
        for key, level in scored.groupby(CELL[:3], sort=False)
    ]
    return pd.DataFrame(rows, columns=list(LABEL_SUMMARY_COLUMNS))


def contains(text: str, wanted: str) -> bool:
    """Whether a text has a phrase as whole words, case and white space ignored; "a|b": either."""
    folded = fold_text(text)
    options = [fold_text(option) for option in wanted.split("|")]
    return any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", folded) for one in options if one)


def _held(answer: str, side: Side, label) -> dict:
    must, must_not = label.must_contain or (), label.must_not_contain or ()
    scores = {"n_must": len(must), "n_must_not": len(must_not), "missing": (), "forbidden": ()}
    scores |= {"correct": NAN, "share_contained": NAN, "why_not_scored": None}
    if side.problem:
        return scores | {"why_not_scored": f"request {side.problem}"}
    if not (must or must_not):
        return scores | {"why_not_scored": "the label names nothing that an answer must hold"}
    missing = tuple(one for one in must if not contains(answer, one))
    forbidden = tuple(one for one in must_not if contains(answer, one))
    return scores | {
        "correct": float(not missing and not forbidden),
        "share_contained": 1 - len(missing) / len(must) if must else NAN,
        "missing": missing,
        "forbidden": forbidden,
    }


def _label_side(label) -> Side:
    description = label.description
    return Side(
        text=description or "",
        activity=label.activity,
        apps=fold_apps(label.apps),
        problem=None if description else "the label has no description",
        facts=read_facts(description or ""),
    )


def _label_summary(level: pd.DataFrame, groups: Groups | None) -> dict:
    labels = group_labels(level["frame_id"], groups)
    failed = level["why_not_scored"].astype(str).str.startswith("request ")
    summary = {"n_requests": len(level), "n_failed": int(failed.sum())}
    summary["n_frames"] = level.loc[level["correct"].notna(), "frame_id"].nunique()
    for name, column in (("correct", "correct"), ("activity", "activity_agrees")):
        found = share_interval(level[column], labels)
        summary |= {f"{name}_rate": level[column].mean(), f"{name}_low": found.low}
        summary |= {f"{name}_high": found.high, f"{name}_n": found.n}
    found = mean_interval(level["share_contained"], labels)
    contained = {"mean": level["share_contained"].mean(), "n": found.n}
    contained |= {"low": max(found.low, 0.0), "high": min(found.high, 1.0)}
    means = {
        "apps_jaccard_mean": level["apps_jaccard"].mean(),
        "apps_n": int(level["apps_jaccard"].count()),
        "tfidf_mean": level["tfidf_cosine"].mean(),
        "tfidf_n": int(level["tfidf_cosine"].count()),
        "fidelity_f1": level["fidelity_f1"].mean(),
        "fidelity_n": int(level["fidelity_f1"].count()),
    }
    return summary | {f"contained_{name}": value for name, value in contained.items()} | means

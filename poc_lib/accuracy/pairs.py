"""Every similarity of pairs of texts: one row a pair."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from poc_lib.accuracy.facts import fidelity
from poc_lib.accuracy.sides import Side, is_missing
from poc_lib.accuracy.similarity import (
    TextVectors,
    cosine_pairs,
    difflib_ratios,
    embedding_cosine,
    jaccard,
    same_set,
    vectorize_texts,
)

NAN = float("nan")
Embeddings = Mapping[str, Any]  # text -> its vector, all of one length

# Measures of likeness, 0 to 1 (an embedding's cosine may be negative): higher is more alike.
MEASURES = (
    "difflib_ratio",
    "tfidf_cosine",
    "embedding_cosine",
    "fidelity_f1",
    "activity_agrees",
    "apps_jaccard",
    "topics_jaccard",
)
PAIR_COLUMNS = (
    *MEASURES,
    "apps_match",
    "fidelity_precision",
    "fidelity_recall",
    "n_facts_answer",
    "n_facts_reference",
)


def score_pairs(
    answers: Sequence[Side],
    others: Sequence[Side],
    vectors: TextVectors | None = None,
    embeddings: Embeddings | None = None,
) -> pd.DataFrame:
    """Score each answer against its partner: n rows with PAIR_COLUMNS, NaN where there is nothing to score.

    Args:
        answers, others: n sides each; where either has a problem, its texts are not compared.
        vectors: TF-IDF vectors that hold every text; None: fitted on the texts given.
        embeddings: vectors by text; None: embedding_cosine is NaN.
    """
    pairs = list(zip(answers, others, strict=True))
    fields = [_field_scores(answer, other) for answer, other in pairs]
    table = pd.DataFrame(fields, columns=list(PAIR_COLUMNS), dtype=float)
    known = [i for i, pair in enumerate(pairs) if not (pair[0].problem or pair[1].problem)]
    left, right = ([side.text for side in (pairs[i][k] for i in known)] for k in (0, 1))
    if vectors is None:
        vectors = vectorize_texts([*left, *right])
    table.loc[known, "difflib_ratio"] = difflib_ratios(right, left)
    table.loc[known, "tfidf_cosine"] = cosine_pairs(vectors, left, right)
    if embeddings is not None:
        table.loc[known, "embedding_cosine"] = embedding_cosine(
            [embeddings.get(text) for text in left], [embeddings.get(text) for text in right]
        )
    return table


def run_vectors(sides: Iterable[Side]) -> TextVectors:
    """TF-IDF vectors fitted on the texts of all sides that have one."""
    return vectorize_texts(side.text for side in sides if not side.problem)


def agrees(left: str | None, right: str | None) -> float:
    """1.0 where two known words are equal, else 0.0; NaN where one is not known."""
    return NAN if is_missing(left) or is_missing(right) else float(left == right)


def _field_scores(answer: Side, other: Side) -> dict[str, float]:
    scores = {
        "activity_agrees": agrees(answer.activity, other.activity),
        "apps_jaccard": jaccard(answer.apps, other.apps),
        "apps_match": same_set(answer.apps, other.apps),
        "topics_jaccard": jaccard(answer.topics, other.topics),
    }
    if answer.problem or other.problem:
        return scores
    met = fidelity(answer.facts, other.facts)
    return scores | {
        "fidelity_precision": met.precision,
        "fidelity_recall": met.recall,
        "fidelity_f1": met.f1,
        "n_facts_answer": met.n_answer,
        "n_facts_reference": met.n_reference,
    }

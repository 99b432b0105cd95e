"""Every similarity of many answers with many references: one matrix a measure."""

from collections.abc import Sequence

import numpy as np

from poc_lib.accuracy.facts import fidelity_matrix
from poc_lib.accuracy.pairs import Embeddings
from poc_lib.accuracy.sides import Side
from poc_lib.accuracy.similarity import TextVectors, cosine_matrix, difflib_ratios, indicator

DIFFLIB_PAIRS = 5_000  # difflib knows no matrices: beyond these, a sample of the other frames an answer


def similarity_matrix(
    measure: str,
    answers: Sequence[Side],
    references: Sequence[Side],
    vectors: TextVectors,
    embeddings: Embeddings | None = None,
) -> np.ndarray:
    """A measure of pairs.MEASURES, but difflib's ratio, for each answer with each reference.

    Returns:
        n × m, the values of ``pairs.score_pairs``; NaN where there is nothing to score.
    """
    if measure in ("activity_agrees", "apps_jaccard", "topics_jaccard"):  # these need no text
        return _MATRICES[measure](answers, references, vectors, embeddings)
    rows, columns = ([i for i, one in enumerate(sides) if not one.problem] for sides in (answers, references))
    matrix = np.full((len(answers), len(references)), np.nan)
    if rows and columns:
        texts = [answers[i] for i in rows], [references[j] for j in columns]
        matrix[np.ix_(rows, columns)] = _MATRICES[measure](*texts, vectors, embeddings)
    return matrix


def difflib_sample(
    answers: Sequence[Side], references: Sequence[Side], wanted: np.ndarray, seed: int = 0
) -> np.ndarray:
    """difflib's ratio of wanted pairs, NaN elsewhere; beyond DIFFLIB_PAIRS of a sample drawn by seed.

    Args:
        wanted: n × m truth values.

    Of each answer equally many references are drawn, without replacement and at random, so that means and
    AUC over the sample estimate those over all pairs.
    """
    usable = ~np.array([bool(one.problem) for one in answers])[:, None] & wanted
    usable &= ~np.array([bool(one.problem) for one in references])[None, :]
    if np.count_nonzero(usable) > DIFFLIB_PAIRS:
        each = max(1, DIFFLIB_PAIRS // len(answers))
        ranks = np.where(usable, np.random.default_rng(seed).random(usable.shape, dtype=np.float32), np.inf)
        last = np.partition(ranks, min(each, ranks.shape[1]) - 1, axis=1)[:, [min(each, ranks.shape[1]) - 1]]
        usable &= ranks <= last
    matrix = np.full(usable.shape, np.nan)
    rows, columns = np.nonzero(usable)
    texts = [references[j].text for j in columns], [answers[i].text for i in rows]
    matrix[rows, columns] = difflib_ratios(*texts)
    return matrix


def _tfidf(answers, references, vectors, _) -> np.ndarray:
    return cosine_matrix(vectors, [one.text for one in answers], [one.text for one in references])


def _embedding(answers, references, _, embeddings: Embeddings | None) -> np.ndarray:
    known = embeddings or {}
    width = next((len(vector) for vector in known.values()), 1)
    unknown = np.full(width, np.nan)
    a, b = (
        np.array([known.get(one.text, unknown) for one in sides], dtype=float).reshape(len(sides), width)
        for sides in (answers, references)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return a @ b.T


def _fidelity(answers, references, *_) -> np.ndarray:
    return fidelity_matrix([one.facts for one in answers], [one.facts for one in references])


def _activity(answers, references, *_) -> np.ndarray:
    left, right = (np.array([one.activity or "" for one in sides]) for sides in (answers, references))
    same = (left[:, None] == right[None, :]).astype(float)
    same[left == ""] = np.nan
    same[:, right == ""] = np.nan
    return same


def _jaccard(left: Sequence[frozenset | None], right: Sequence[frozenset | None]) -> np.ndarray:
    names = {name: i for i, name in enumerate(sorted(set().union(*(x for x in (*left, *right) if x))))}
    a, b = (indicator([[names[n] for n in one or ()] for one in sets], len(names)) for sets in (left, right))
    both = (a @ b.T).toarray()
    sizes = [np.array([np.nan if one is None else len(one) for one in sets]) for sets in (left, right)]
    either = sizes[0][:, None] + sizes[1][None, :] - both
    return both / np.where(either > 0, either, np.nan)


_MATRICES = {
    "tfidf_cosine": _tfidf,
    "embedding_cosine": _embedding,
    "fidelity_f1": _fidelity,
    "activity_agrees": _activity,
    "apps_jaccard": lambda a, r, *_: _jaccard([one.apps for one in a], [one.apps for one in r]),
    "topics_jaccard": lambda a, r, *_: _jaccard([one.topics for one in a], [one.topics for one in r]),
}

"""Similarity of two texts and of two sets of names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

try:
    from cydifflib import SequenceMatcher  # difflib's own values, ten times faster
except ImportError:
    from difflib import SequenceMatcher


@dataclass(frozen=True, slots=True)
class TextVectors:
    """TF-IDF vectors of the distinct texts of a run."""

    matrix: csr_matrix  # one unit row per distinct text; a zero row where a text has no word
    row_of: dict[str, int]  # text -> its row


def difflib_ratio(reference: str, answer: str) -> float:
    """``difflib.SequenceMatcher(None, reference, answer).ratio()``: 2 × matching characters ÷ all characters.

    Case counts, and so does the order of the two. Autojunk stays on, as in the plan that named this measure:
    in an answer of 200 characters or more, characters that make up over 1 % of it start no match, so the
    ratio of long texts is far lower than that of short ones with as much in common.
    """
    return SequenceMatcher(None, reference, answer).ratio()


def vectorize_texts(texts: Iterable[str]) -> TextVectors:
    """TF-IDF vectors fitted on the distinct texts: lower-case words and word pairs, sublinear term frequency
    (1 + ln tf), smoothed inverse document frequency, unit length (scikit-learn's TfidfVectorizer).

    Distinct texts only, so that measuring more levels or repeats does not change what counts as a rare word.
    """
    distinct = sorted(set(texts))
    row_of = {text: row for row, text in enumerate(distinct)}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    has_words = vectorizer.build_analyzer()
    if not any(has_words(text) for text in distinct):
        return TextVectors(csr_matrix((len(distinct), 1)), row_of)
    return TextVectors(vectorizer.fit_transform(distinct).tocsr(), row_of)


def cosine_pairs(vectors: TextVectors, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Cosine of each text of ``left`` with its partner in ``right``: n values, 0 to 1."""
    products = _rows(vectors, left).multiply(_rows(vectors, right))
    return np.clip(np.asarray(products.sum(axis=1), dtype=float).ravel(), 0.0, 1.0)


def cosine_matrix(vectors: TextVectors, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Cosine of each text of ``left`` with each of ``right``: an n × m array, 0 to 1."""
    products = _rows(vectors, left) @ _rows(vectors, right).T
    return np.clip(products.toarray(), 0.0, 1.0)


def jaccard(left: frozenset[str] | None, right: frozenset[str] | None) -> float:
    """|A ∩ B| ÷ |A ∪ B|; NaN where either is unknown or both are empty, which shows no agreement."""
    if left is None or right is None or not (left or right):
        return float("nan")
    return len(left & right) / len(left | right)


def same_set(left: frozenset[str] | None, right: frozenset[str] | None) -> float:
    """1.0 where both hold the same names, else 0.0; NaN as for ``jaccard``."""
    if left is None or right is None or not (left or right):
        return float("nan")
    return float(left == right)


def _rows(vectors: TextVectors, texts: Sequence[str]) -> csr_matrix:
    return vectors.matrix[[vectors.row_of[text] for text in texts]]

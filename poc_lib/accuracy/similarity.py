"""Similarity of two texts and of two sets of names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

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


@lru_cache(maxsize=50_000)
def difflib_ratio(reference: str, answer: str) -> float:
    """``difflib.SequenceMatcher(None, reference, answer).ratio()``: 2 × matching characters ÷ all characters.

    Case counts, and so does the order of the two. Autojunk stays on, as in the plan that named this measure:
    in an answer of 200 characters or more, characters that make up over 1 % of it start no match, so the
    ratio of long texts is far lower than that of short ones with as much in common. Computed once for equal
    pairs, of which every table of a run has the same.
    """
    return SequenceMatcher(None, reference, answer).ratio()


def difflib_ratios(references: Iterable[str], answers: Iterable[str]) -> np.ndarray:
    """``difflib_ratio`` of each reference with its partner in ``answers``: n values, 0 to 1."""
    return np.array([difflib_ratio(*pair) for pair in zip(references, answers, strict=True)])


def vectorize_texts(texts: Iterable[str]) -> TextVectors:
    """TF-IDF vectors fitted on the distinct texts: lower-case words and word pairs, sublinear term frequency
    (1 + ln tf), smoothed inverse document frequency, unit length (scikit-learn's TfidfVectorizer).

    Distinct texts only, so that measuring more levels or blocks does not change what counts as a rare word.
    """
    return _vectorize(tuple(sorted(set(texts))))


@lru_cache(maxsize=2)  # several tables of a run are fitted on the same texts
def _vectorize(distinct: tuple[str, ...]) -> TextVectors:
    row_of = {text: row for row, text in enumerate(distinct)}
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
    has_words = vectorizer.build_analyzer()
    if not any(has_words(text) for text in distinct):
        return TextVectors(csr_matrix((len(distinct), 1)), row_of)
    return TextVectors(vectorizer.fit_transform(distinct).tocsr(), row_of)


def cosine_pairs(vectors: TextVectors, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """Cosine of each text of ``left`` with its partner in ``right``: n values, 0 to 1."""
    if not len(left):
        return np.array([])
    products = _rows(vectors, left).multiply(_rows(vectors, right))
    return np.clip(np.asarray(products.sum(axis=1), dtype=float).ravel(), 0.0, 1.0)


def embedding_cosine(vectors_a: Sequence[Any], vectors_b: Sequence[Any]) -> np.ndarray:
    """Cosine of each vector with its partner: n values, -1 to 1; NaN where one is all zero or has a NaN.

    Args:
        vectors_a, vectors_b: n vectors of one length each; None stands for a vector that is not known.
    """
    width = next((len(vector) for vector in (*vectors_a, *vectors_b) if vector is not None), 1)
    a, b = (_stack(vectors, width) for vectors in (vectors_a, vectors_b))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.einsum("ij,ij->i", a, b) / np.where(lengths > 0, lengths, np.nan)


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


def indicator(rows: Sequence[Sequence[int]], n_columns: int) -> csr_matrix:
    """A sparse matrix with a 1 at each row's column numbers, else 0."""
    columns = np.array([column for row in rows for column in row], dtype=np.int32)
    ends = np.cumsum([0, *(len(row) for row in rows)])
    ones = np.ones(len(columns), dtype=np.float32)
    return csr_matrix((ones, columns, ends), shape=(len(rows), max(n_columns, 1)))


def _stack(vectors: Sequence[Any], width: int) -> np.ndarray:
    unknown = np.full(width, np.nan)
    rows = [unknown if vector is None else vector for vector in vectors]
    return np.asarray(rows, dtype=float).reshape(len(rows), width)


def _rows(vectors: TextVectors, texts: Sequence[str]) -> csr_matrix:
    return vectors.matrix[[vectors.row_of[text] for text in texts]]

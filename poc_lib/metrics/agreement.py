"""How alike two texts are: each answer against the stored reference and against the baseline's answer."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from poc_lib.records import Frame, Reference

try:
    from cydifflib import SequenceMatcher  # difflib's own values, faster
except ImportError:
    from difflib import SequenceMatcher

TIMED = ("pilot", "confirm", "measure")  # closed loop, the app's own prompt
NO_REFERENCE = Reference("", None, None, None, None)
VectorsOf = Callable[[Iterable[str]], csr_matrix]  # of texts, one row a text in their order


def vectorize_texts(fitted_on: Iterable[str], others: Iterable[str] = ()) -> VectorsOf:
    """TF-IDF of lower-case words and word pairs, sublinear term frequency (scikit-learn's TfidfVectorizer).

    Fitted on the distinct texts of ``fitted_on``, so that more levels or blocks do not change what is rare.
    The function that comes back gives any of these texts' unit rows, zero where no word is known.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second to import

    known = sorted(set(fitted_on) - {""})
    texts = [*known, *sorted({"", *others} - set(known))]
    row_of = {text: row for row, text in enumerate(texts)}
    matrix = csr_matrix((len(texts), 1))
    if any(re.search(r"\w", text) for text in known):
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+").fit(known)
        matrix = vectorizer.transform(texts).tocsr()
    return lambda asked: matrix[[row_of[text] for text in asked]]


def cosines(left: csr_matrix, right: csr_matrix) -> np.ndarray:
    """The cosine of each pair of unit rows."""
    return np.clip(np.asarray(left.multiply(right).sum(axis=1)).ravel(), 0, 1)


@lru_cache(maxsize=50_000)
def difflib_ratio(reference: str, answer: str) -> float:
    """``SequenceMatcher(None, reference, answer).ratio()``, 0 to 1, with difflib's autojunk on.

    Autojunk: in an answer of 200 characters or more, characters that make up over 1 % of it start no match,
    so long texts score far lower than short ones with as much in common.
    """
    return SequenceMatcher(None, reference, answer).ratio()


def tidy_names(names: Iterable[Any]) -> tuple[str, ...]:
    """Names of apps or topics without quotes, marks and double spaces; empty ones and "none" fall away."""
    cleaned = (" ".join(str(name).split()).strip("\"'`*“”‘’• ").strip() for name in names)
    return tuple(name for name in cleaned if name.casefold() not in {"", "none", "n/a", "na", "null", "-"})


def score_agreement(rows: pd.DataFrame, frames: Sequence[Frame], vectors_of: VectorsOf) -> pd.DataFrame:
    """ref_ratio, ref_cosine, base_ratio, base_cosine, activity_agrees of each row.

    ``compared`` is the text that counts, "" where there is none; ``vectors_of`` knows it and the references.
    """
    known = {frame.frame_id: frame.reference for frame in frames if frame.reference}
    stored = [known.get(frame_id, NO_REFERENCE) for frame_id in rows["frame_id"]]
    descriptions = [reference.description.strip() for reference in stored]
    scores = {}
    for name, others in ("ref", descriptions), ("base", baseline_texts(rows)):
        pairs = list(zip(others, rows["compared"], strict=True))
        scores[f"{name}_ratio"] = [difflib_ratio(*pair) if all(pair) else np.nan for pair in pairs]
        alike = cosines(vectors_of(rows["compared"]), vectors_of(others))
        scores[f"{name}_cosine"] = np.where([all(pair) for pair in pairs], alike, np.nan)
    activities = [(reference.activity or "").strip().lower() for reference in stored]
    scores["activity_agrees"] = [
        float(known == said) if known not in ("", "unknown") and isinstance(said, str) else np.nan
        for known, said in zip(activities, rows["activity"], strict=True)
    ]
    return pd.DataFrame(scores, index=rows.index)


def baseline_texts(rows: pd.DataFrame) -> list[str]:
    """For each row the baseline's answer to the same frame at its lowest level, "" where there is none.

    Of several the one of the same block comes first, then the pilot's. The baseline's own answers get
    another of its own, at any level or about the stamped frame: how far it agrees with itself.
    """
    usable = rows[(rows["role"] == "baseline") & (rows["compared"] != "")]
    usable = usable[usable["phase"].isin((*TIMED, "proof"))]
    lowest, is_stamped = usable.groupby("server")["concurrency"].transform("min"), usable["phase"] == "proof"
    is_loaded = usable["concurrency"] > lowest
    usable = usable.assign(loaded=is_loaded, stamped=is_stamped, later=usable["phase"] != "pilot")
    usable = usable.sort_values(["stamped", "loaded", "later"], kind="stable")
    by_frame = defaultdict(list)
    for answer in usable.itertuples():
        by_frame[answer.frame_id].append(answer)
    texts = []
    for row in rows.itertuples():
        pool, here = by_frame[row.frame_id], (row.phase, row.block)
        if row.role == "baseline":
            pool = [told for told in pool if told.server == row.server and told.Index != row.Index]
        else:
            pool = [told for told in pool if not (told.loaded or told.stamped)]
        ranks = [(told.stamped, told.loaded, (told.phase, told.block) != here) for told in pool]
        texts.append(pool[ranks.index(min(ranks))].compared if pool else "")
    return texts

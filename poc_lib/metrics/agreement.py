"""How alike two texts are: each answer against the stored reference and against the baseline's answer."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from poc_lib.records import Frame

try:
    from cydifflib import SequenceMatcher  # difflib's own values, faster
except ImportError:
    from difflib import SequenceMatcher

TIMED = ("pilot", "confirm", "measure")  # closed loop, the app's own prompt
NAN = float("nan")

# Spellings of one product; "terminal" is not iTerm, "browser" not Chrome.
SPELLINGS = """visual studio code: vs code, vscode, code, ms code, microsoft visual studio code
google chrome: chrome, chrome browser, google chrome browser | safari: apple safari, safari browser
firefox: mozilla firefox, firefox browser | microsoft edge: edge | brave: brave browser | arc: arc browser
terminal: macos terminal, terminal app, mac terminal | iterm: iterm2 | docker desktop: docker
microsoft teams: teams, ms teams | microsoft outlook: outlook | microsoft word: word, ms word
microsoft excel: excel, ms excel | microsoft powerpoint: powerpoint, ms powerpoint | github: gh, github com
zoom: zoom us, zoom meeting, zoom workplace | intellij idea: intellij | pycharm: pycharm professional"""
ALIASES = {
    spelling: name
    for name, spellings in (entry.split(": ") for entry in re.split(r"\n| \| ", SPELLINGS))
    for spelling in spellings.split(", ")
}


@dataclass(frozen=True, slots=True)
class TextVectors:
    """TF-IDF vectors of a run's distinct texts: unit rows, zero where a text has no known word."""

    matrix: csr_matrix
    row_of: dict[str, int]  # text -> its row

    def of(self, texts: Iterable[str]) -> csr_matrix:
        """The rows of these texts, in their order."""
        return self.matrix[[self.row_of[text] for text in texts]]


def vectorize_texts(fitted_on: Iterable[str], others: Iterable[str] = ()) -> TextVectors:
    """TF-IDF of lower-case words and word pairs, sublinear term frequency (scikit-learn's TfidfVectorizer).

    Fitted on the distinct texts of ``fitted_on``, so that more levels or blocks do not change what is rare.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # a second to import

    known = sorted(set(fitted_on) - {""})
    texts = [*known, *sorted({"", *others} - set(known))]
    row_of = {text: row for row, text in enumerate(texts)}
    if not any(re.search(r"\w", text) for text in known):
        return TextVectors(csr_matrix((len(texts), 1)), row_of)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+").fit(known)
    return TextVectors(vectorizer.transform(texts).tocsr(), row_of)


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


def fold_app(name: str) -> str:
    """An app's name without case, punctuation, ".app" and version; its spellings in ALIASES become one."""
    plain = re.sub(r"\.(?:app|exe)$", "", unicodedata.normalize("NFKC", name).casefold().strip())
    words = re.sub(r"[^\w+#]+", " ", plain).strip()
    words = ALIASES.get(words, words)
    unversioned = re.sub(r"(?: v?\d+)+(?: (?:beta|rc|dev))?$", "", words)
    return ALIASES.get(unversioned, unversioned) or words or plain


def apps_jaccard(left: Sequence[str] | None, right: Sequence[str] | None) -> float:
    """|A ∩ B| ÷ |A ∪ B| of two lists of apps; NaN where either is unknown or both are empty."""
    if left is None or right is None:
        return NAN
    a, b = ({fold_app(name) for name in tidy_names(names)} for names in (left, right))
    return len(a & b) / len(a | b) if a | b else NAN


def score_agreement(rows: pd.DataFrame, frames: Sequence[Frame], vectors: TextVectors) -> pd.DataFrame:
    """ref_ratio, ref_cosine, base_ratio, base_cosine, activity_agrees, apps_jaccard of each row.

    Args:
        rows: with ``compared`` (the text that counts; "" where there is none), ``activity`` and ``apps``.
        frames: with their references.
        vectors: of all texts compared and all references.
    """
    references = {frame.frame_id: frame.reference for frame in frames if frame.reference}
    stored = [references.get(frame_id) for frame_id in rows["frame_id"]]
    texts = rows["compared"].tolist()
    scores = {}
    for name, others in (
        ("ref", [reference.description.strip() if reference else "" for reference in stored]),
        ("base", baseline_texts(rows)),
    ):
        pairs = list(zip(others, texts, strict=True))
        scores[f"{name}_ratio"] = [difflib_ratio(*pair) if all(pair) else NAN for pair in pairs]
        both = np.array([bool(all(pair)) for pair in pairs])
        products = vectors.of(texts).multiply(vectors.of(others)).sum(axis=1)
        scores[f"{name}_cosine"] = np.where(both, np.clip(np.asarray(products).ravel(), 0, 1), NAN)
    known = [(one.activity or "").strip().lower().replace("unknown", "") if one else "" for one in stored]
    said = rows["activity"].tolist()
    scores["activity_agrees"] = [
        float(a == b) if a and isinstance(b, str) else NAN for a, b in zip(known, said, strict=True)
    ]
    listed = [one.apps if one else None for one in stored]
    scores["apps_jaccard"] = [apps_jaccard(a, b) for a, b in zip(rows["apps"], listed, strict=True)]
    return pd.DataFrame(scores, index=rows.index)


def baseline_texts(rows: pd.DataFrame) -> list[str]:
    """For each row the baseline's answer to the same frame at its lowest level, "" where there is none.

    Of several the one of the same block comes first, then the pilot's. The baseline's own answers get
    another of its own, at any level or about the stamped frame: how far it agrees with itself.
    """
    rows = rows[["frame_id", "server", "role", "phase", "block", "concurrency", "compared"]]
    usable = rows[(rows["role"] == "baseline") & (rows["compared"] != "")]
    usable = usable[usable["phase"].isin((*TIMED, "proof"))]
    lowest = usable.groupby("server")["concurrency"].transform("min")
    usable = usable.assign(loaded=usable["concurrency"] > lowest, stamped=usable["phase"] == "proof")
    by_frame: dict[str, list] = {}
    for one in usable.itertuples():
        by_frame.setdefault(one.frame_id, []).append(one)
    texts = []
    for row in rows.itertuples():
        pool = [one for one in by_frame.get(row.frame_id, ()) if one.Index != row.Index]
        own = row.role == "baseline"
        pool = [one for one in pool if (one.server == row.server if own else not (one.loaded or one.stamped))]
        here = (row.phase, row.block)
        ranks = [
            (one.stamped, one.loaded, (one.phase, one.block) != here, one.phase != "pilot") for one in pool
        ]
        texts.append(pool[ranks.index(min(ranks))].compared if pool else "")
    return texts

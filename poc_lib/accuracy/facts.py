"""What of a text can be checked by letter: file names, numbers, identifiers, addresses, quoted words."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from poc_lib.accuracy.similarity import indicator

_TLD = "com|org|net|io|dev|app|ai|edu|gov"
_TOKEN = re.compile(
    rf"""
    (?P<url>(?:https?://|www\.)[^\s"'<>|)\]}}]+
      |(?<![\w@.-])[\w-]+(?:\.[\w-]+)*\.(?:{_TLD})\b(?:/[^\s"'<>|)\]}}]*)?)
    |(?P<file>(?:[\w~.-]*[/\\])*(?:\.?[\w-]{{2,}}|\w(?=\.\w\w))(?:\.[\w-]+)*?\.(?:[a-z]\w{{0,7}}|[A-Z]{{1,5}})(?!\w)
      |(?<![\w/])~?\.{{0,2}}/(?:[\w.-]+/)+[\w.-]*\w
      |(?<![\w.])\.[a-z][\w-]+)
    |(?P<word>[^\W\d]\w*(?:\.\d+)*)
    |(?P<number>\d+(?:[.,:]\d+)*(?!\w))
    |(?P<mixed>\w+)
    """,
    re.VERBOSE,
)
_QUOTED = re.compile(
    r"\"([^\"\n]{2,80})\"|“([^”\n]{2,80})”|`([^`\n]{2,80})`|(?<!\w)['‘]([^'’\n]{2,80})['’](?!\w)"
)
_HUMP = re.compile(r"[a-z][A-Z]")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
REMEMBERED = 50_000  # pieces kept read: a run's texts share most of their words
_EDGES = " \t.,:;!?…-–"


class Facts(NamedTuple):
    """The checkable part of a text, and what others can be checked against."""

    named: frozenset[str]  # folded file names, numbers, identifiers, addresses and quoted strings
    words: frozenset[str]  # every folded token, named or not
    text: str  # the whole text folded, in which quoted strings of several words are looked up


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How the checkable tokens of an answer and of its reference meet; NaN: nothing to check."""

    precision: float  # share of the answer's tokens that the reference holds
    recall: float  # share of the reference's tokens that the answer holds
    f1: float
    n_answer: int  # checkable tokens in the answer
    n_reference: int


def read_facts(text: str) -> Facts:
    """Find the checkable tokens of a text.

    Folded: case, white space, the folders of a path ("src/frames.py" is "frames.py"), "https://www.",
    thousands commas. An identifier is a word with an underscore, with a capital inside (KeyError) or with
    letters and digits (Q3). A quoted string of one token is that token. Numbers in words are not seen.
    """
    plain = unicodedata.normalize("NFKC", text)
    named, words = set(), set()
    for chunk in plain.split():
        chunk_words, chunk_named = _read_chunk(chunk)
        words.update(chunk_words)
        named.update(chunk_named)
    whole = fold_text(plain)
    quoted = {fold_text("".join(parts)).strip(_EDGES) for parts in _QUOTED.findall(plain)}
    named |= {string for string in quoted if string in words or " " in string}
    return Facts(frozenset(named), frozenset(words), whole)


def fold_text(text: str) -> str:
    """A text without case and runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def holds(where: Facts, token: str) -> bool:
    """Whether a text has a token of another text's ``named``; whether it is quoted there does not matter."""
    return token in where.words or (" " in token and token in where.text)


def share_held(tokens: frozenset[str], where: Facts) -> float:
    """Share of the tokens that a text holds, 0 to 1; NaN where there is no token."""
    return sum(holds(where, token) for token in tokens) / len(tokens) if tokens else float("nan")


def fidelity(answer: Facts, reference: Facts) -> Fidelity:
    """Precision, recall and F1 = 2PR ÷ (P + R) of an answer's checkable tokens against a reference's text.

    A reference without such tokens can confirm none: all NaN. An answer without has no precision, and
    recall and F1 0: it left out all there was.
    """
    n_answer, n_reference = len(answer.named), len(reference.named)
    if not n_reference:
        return Fidelity(float("nan"), float("nan"), float("nan"), n_answer, 0)
    recall = share_held(reference.named, answer)
    precision = share_held(answer.named, reference)
    f1 = 2 * precision * recall / (precision + recall) if n_answer and precision + recall else 0.0
    return Fidelity(precision, recall, f1, n_answer, n_reference)


def fidelity_matrix(answers: Sequence[Facts], references: Sequence[Facts]) -> np.ndarray:
    """``fidelity(...).f1`` of each answer with each reference: n × m, NaN as there."""
    precision = share_held_matrix(answers, references)
    recall = share_held_matrix(references, answers).T
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * precision * recall / (precision + recall)
    f1[np.nan_to_num(precision) + np.nan_to_num(recall) == 0] = 0.0
    f1[:, [not one.named for one in references]] = np.nan
    return f1


def share_held_matrix(texts: Sequence[Facts], where: Sequence[Facts]) -> np.ndarray:
    """``share_held`` of each text's tokens in each other text: n × m, NaN for a text without tokens."""
    tokens = sorted({token for text in texts for token in text.named})
    column = {token: i for i, token in enumerate(tokens)}
    named = indicator([[column[token] for token in text.named] for text in texts], len(tokens))
    phrases = [token for token in tokens if " " in token]
    held = [
        [column[token] for token in one.words if token in column]
        + [column[phrase] for phrase in phrases if phrase in one.text]
        for one in where
    ]
    counts = (named @ indicator(held, len(tokens)).T).toarray()
    sizes = np.array([len(text.named) for text in texts], dtype=np.float32)
    return counts / np.where(sizes > 0, sizes, np.nan)[:, None]


@lru_cache(maxsize=REMEMBERED)
def _read_chunk(chunk: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All folded tokens of a piece without white space, and the named ones among them."""
    tokens = [
        (token, _is_named(found.lastgroup, found[0]))
        for found in _TOKEN.finditer(chunk)
        for token in _fold(found.lastgroup, found[0])
    ]
    return tuple(token for token, _ in tokens), tuple(token for token, named in tokens if named)


def _fold(kind: str | None, token: str) -> tuple[str, ...]:
    plain = token.casefold().rstrip(".,:;!?")
    if kind == "url":
        address = re.sub(r"^(?:https?://)?(?:www\.)?", "", plain).rstrip("/")
        return address, address.split("/")[0]
    if kind == "file":
        return (re.split(r"[/\\]", plain)[-1] or plain,)
    if kind == "number" and _THOUSANDS.fullmatch(plain):
        return (plain.replace(",", ""),)
    return (plain,)


def _is_named(kind: str | None, token: str) -> bool:
    if kind == "word":
        has_digit = any(character.isdigit() for character in token)
        return has_digit or "_" in token.strip("_") or bool(_HUMP.search(token))
    return True

"""Where two texts differ, word by word. Pure."""

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from itertools import groupby

from poc_lib.report.blocks import Piece

_TOKEN = re.compile(r"\w+|\W+")
MIN_SHARED = 4  # letters: shorter words are shared by any two texts


def mark_differences(answer: str, reference: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both texts whole: what the answer alone says is "added", what it leaves out "lacking".

    Words are compared without case; what stands beside marked words alone is marked with them.
    """
    ours, theirs = _TOKEN.findall(answer), _TOKEN.findall(reference)
    left, right = _words(ours), _words(theirs)
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    same = [block for block in matcher.get_matching_blocks() if block.size]
    in_left = {i for block in same for i in range(block.a, block.a + block.size)}
    in_right = {i for block in same for i in range(block.b, block.b + block.size)}
    return _pieces(ours, in_left, "added"), _pieces(theirs, in_right, "lacking")


def mark_shared(text: str, other: str) -> tuple[Piece, ...]:
    """The text with the words that it shares with the other one as "telling"; short words never are."""
    tokens, known = _TOKEN.findall(text), set(_words(_TOKEN.findall(other)))
    apart = {i for i, word in enumerate(_words(tokens)) if len(word) < MIN_SHARED or word not in known}
    return _pieces(tokens, apart, "telling")


def mark_phrases(text: str, phrases: Iterable[str]) -> tuple[Piece, ...]:
    """The text with every occurrence of the phrases as "telling"; case does not count."""
    wanted = "|".join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True) if phrase)
    if not wanted:
        return plain(text)
    parts = re.split(f"({wanted})", text, flags=re.IGNORECASE)
    return tuple(Piece(part, "telling" if i % 2 else "same") for i, part in enumerate(parts) if part)


def plain(text: str) -> tuple[Piece, ...]:
    """A text without any mark."""
    return (Piece(text),) if text else ()


def _words(tokens: Sequence[str]) -> list[str]:
    return [token.casefold() for token in tokens if _is_word(token)]


def _is_word(token: str) -> bool:
    return bool(re.match(r"\w", token))


def _pieces(tokens: Sequence[str], same: set[int], kind: str) -> tuple[Piece, ...]:
    """Tokens as pieces; ``same`` counts words only. A gap is marked where its neighbours are."""
    numbers = iter(range(len(tokens)))
    marked = [_is_word(token) and next(numbers) not in same for token in tokens]
    for i, token in enumerate(tokens):
        if not _is_word(token):
            beside = marked[max(0, i - 1) : i] + marked[i + 1 : i + 2]
            marked[i] = bool(beside) and all(beside)
    runs = groupby(zip(tokens, marked, strict=True), key=lambda pair: pair[1])
    return tuple(Piece("".join(token for token, _ in run), kind if on else "same") for on, run in runs)

"""Which codes an answer holds: in lower case, with spaces or hyphens, one character off."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from poc_lib.canary.codes import edits

TOLERATED_EDITS = 1
_NOT_OF_A_CODE = re.compile(r"[^0-9A-Z]+")
_CUT = "|"


@dataclass(frozen=True, slots=True)
class Found:
    """One code in an answer."""

    code: str
    edits: int  # 0: as drawn; 1: one character misread, missing or too many


def find_codes(text: str | None, codes: Iterable[str], own: str | None = None) -> list[Found]:
    """The codes that an answer holds, each once, exact ones first.

    Codes are at least four edits apart, so a word within one edit of a code is at least three from any
    other, and even a code with two characters misread is not within one edit of another. What was read as
    one code is taken out of the text before the next is looked for, since a code's end and the words around
    it could otherwise pass for another; exact readings come first, then the own code.

    Args:
        own: the code that this answer should hold; None for a frame without one.
    """
    if not isinstance(text, str):
        return []
    rest = _plain(text)
    ordered = sorted(set(codes), key=lambda code: (code != own, code))
    found = []
    for n_edits in range(TOLERATED_EDITS + 1):
        for code in ordered:
            place = _find(rest, code, n_edits)
            while place:
                found.append(Found(code, n_edits))
                rest = rest[: place[0]] + _CUT + rest[place[1] :]
                place = _find(rest, code, n_edits)
    best = {}
    for one in found:
        best.setdefault(one.code, one)
    return list(best.values())


def _plain(text: str) -> str:
    """Its letters and digits alone, as capitals."""
    return _NOT_OF_A_CODE.sub("", unicodedata.normalize("NFKC", text).upper())


def _find(text: str, code: str, n_edits: int) -> tuple[int, int] | None:
    """Start and end of the first stretch exactly ``n_edits`` (0 or 1) from the code."""
    if n_edits == 0:
        start = text.find(code)
        return None if start < 0 else (start, start + len(code))
    half = len(code) // 2
    # One edit leaves one half of the code whole, which is quickly found.
    if code[:half] not in text and code[half:] not in text:
        return None
    lengths = (len(code), len(code) - 1, len(code) + 1)
    return next(
        (
            (start, start + length)
            for length in lengths
            for start in range(len(text) - length + 1)
            if edits(text[start : start + length], code) == n_edits
        ),
        None,
    )

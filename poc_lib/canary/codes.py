"""The codes of the canaries: their alphabet, how far apart they lie, and the frame ids that hold them."""

import random

from rapidfuzz.distance import Levenshtein

from poc_lib.errors import SetupProblem

# Left out: 0 O Q D, 1 I J L, 2 Z, 5 S, 6 G, 8 B, U V (look-alikes), A and E (so that no code is a word).
ALPHABET = "CFHKMNPRTWXY3479"
DIGITS = frozenset("3479")
LENGTH = 8
MIN_EDITS = 4  # a code with two characters misread is then not within one edit of any other
MAX_TRIES = 2000  # candidates drawn for one code before the set counts as full
PREFIX = "canary-"


def make_codes(n: int, seed: int, length: int = LENGTH) -> list[str]:
    """``n`` codes of ``length`` characters, any two of them at least MIN_EDITS edits apart.

    Edits are insertions, deletions and substitutions (Levenshtein). Each code mixes letters and digits and
    has no character twice. The same seed gives the same codes, and the first k of n are those of k.

    Raises:
        SetupProblem: no such set was found.
    """
    if length > len(ALPHABET):
        raise SetupProblem(f"canary codes of {length} characters: at most {len(ALPHABET)}, each used once")
    pick = random.Random(f"codes {seed}")
    codes: list[str] = []
    while len(codes) < n:
        drawn = (_draw_code(pick, length) for _ in range(MAX_TRIES))
        found = next((code for code in drawn if _fits(code, codes)), None)
        if found is None:
            raise SetupProblem(
                f"{n} canary codes of {length} characters do not exist {MIN_EDITS} edits apart (found "
                f"{len(codes)}): ask for fewer canaries"
            )
        codes.append(found)
    return codes


def edits(a: str, b: str) -> int:
    """Insertions, deletions and substitutions that turn one text into the other."""
    return Levenshtein.distance(a, b)


def shown_code(code: str) -> str:
    """The code as it is drawn: two groups with a hyphen between."""
    half = len(code) // 2
    return f"{code[:half]}-{code[half:]}"


def canary_id(code: str) -> str:
    """The frame id of the canary that shows a code."""
    return PREFIX + code


def is_canary(frame_id: str) -> bool:
    """Whether a frame is a canary."""
    return frame_id.startswith(PREFIX)


def code_of(frame_id: str) -> str:
    """The code that a canary shows.

    Raises:
        ValueError: the frame is no canary.
    """
    if not is_canary(frame_id):
        raise ValueError(f"'{frame_id}' is no canary's frame id: expected {PREFIX}CODE")
    return frame_id.removeprefix(PREFIX)


def _draw_code(pick: random.Random, length: int) -> str:
    return "".join(pick.sample(ALPHABET, length))


def _fits(code: str, codes: list[str]) -> bool:
    n_digits = sum(character in DIGITS for character in code)
    is_mixed = 2 <= n_digits <= len(code) - 2
    return is_mixed and all(edits(code, other) >= MIN_EDITS for other in codes)

"""Does a text say the same again and again?"""

import re
import zlib

import numpy as np

LONGEST_PHRASE = 24  # words; longer phrases that repeat show in the compression ratio
LEAST_TIMES = 3


def repeated_share(text: str) -> float:
    """Share of the text's words in its longest run of one phrase of 1 to 24 words, said three times or more.

    NaN for a text without a word; 0 where nothing is said three times in a row.
    """
    words = re.findall(r"\w+", text.casefold())
    if not words:
        return float("nan")
    codes = np.unique(words, return_inverse=True)[1]
    longest = 0
    for period in range(1, min(LONGEST_PHRASE, len(words) // LEAST_TIMES) + 1):
        run = _longest_true_run(codes[period:] == codes[:-period])
        if run >= (LEAST_TIMES - 1) * period:
            longest = max(longest, run + period)
    return longest / len(words)


def compression_ratio(text: str) -> float:
    """Bytes of the text ÷ bytes after zlib: the more a text repeats itself, the larger. NaN for no text."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else float("nan")


def _longest_true_run(flags: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))

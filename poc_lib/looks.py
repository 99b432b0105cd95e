"""Whether two frames look alike, by 64-bit perceptual hashes."""

from collections.abc import Sequence
from typing import Any

import imagehash
import numpy as np
from PIL import Image

# Drawn screens of 1024 × 576 pixels, 64-bit hashes: another clock, caret or typed line changed at most 8
# bits, JPEG quality 95 against 40 at most 4, one line of scrolling 6 in the median; another file in the same
# editor 14 in the median (95 % at 8 or more), another kind of window 16 or more. So from 10 bits on, a screen
# counts as another one.
LOOKS_DIFFERENT_BITS = 10
HEX_DIGITS = 16  # 64 bits


def visual_hash(image: Image.Image) -> str:
    """The image's 64-bit perceptual hash (DCT of its grey 32 × 32 reduction) as 16 hex digits."""
    return str(imagehash.phash(image))


def hash_distance(a: str, b: str) -> int:
    """Number of bits in which two hashes of ``visual_hash`` differ, 0 to 64.

    Raises:
        ValueError: one is not hexadecimal, or they are not equally long.
    """
    if len(a) != len(b):
        raise ValueError(f"hashes of {4 * len(a)} and {4 * len(b)} bits cannot be compared")
    return (int(a, 16) ^ int(b, 16)).bit_count()


def hash_distances(left: Sequence[Any], right: Sequence[Any]) -> np.ndarray:
    """Distance of each hash of ``left`` to each of ``right``: an n × m array, NaN where one is unknown.

    Anything but 16 hex digits (None, NaN, a hash of another length) is unknown.
    """
    left_bits, left_known = _as_bits(left)
    right_bits, right_known = _as_bits(right)
    distances = np.bitwise_count(left_bits[:, None] ^ right_bits[None, :]).astype(float)
    distances[~(left_known[:, None] & right_known[None, :])] = np.nan
    return distances


def paired_distances(left: Sequence[Any], right: Sequence[Any]) -> np.ndarray:
    """Distance of each hash of ``left`` to its partner in ``right``: n values, NaN where one is unknown."""
    left_bits, left_known = _as_bits(left)
    right_bits, right_known = _as_bits(right)
    distances = np.bitwise_count(left_bits ^ right_bits).astype(float)
    distances[~(left_known & right_known)] = np.nan
    return distances


def _as_bits(hashes: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    known = np.array([_is_hash(value) for value in hashes], dtype=bool)
    bits = [int(value, 16) if is_known else 0 for value, is_known in zip(hashes, known, strict=True)]
    return np.array(bits, dtype=np.uint64), known


def _is_hash(value: Any) -> bool:
    return (
        isinstance(value, str) and len(value) == HEX_DIGITS and set(value.lower()) <= set("0123456789abcdef")
    )

"""The limits of every check, in one place."""

from dataclasses import dataclass

# What 250 normal answers of the demo score (162 to 287 characters): repeated_share 0 in all of them,
# compression_ratio 1.3 to 1.6, foreign_share 0, description 0.85 to 1.9 of the stored reference's length. The
# simulator's loops (six tokens again and again, to 1,024) score a repeated_share of 0.98 and a ratio of 36.


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """When an answer is flagged."""

    repeated_share: float = 0.3  # of the words lie in one run of the same phrase, three times or more
    compression_ratio: float = 3.0  # bytes ÷ bytes after zlib; says nothing of a text that is short
    compressed_from_chars: int = 200  # so only from this length on
    foreign_share: float = 0.3  # of the letters are of a script that the references do not use
    short_ratio: float = 1 / 3  # of the reference's length: far too short
    long_ratio: float = 3.0  # of the reference's length: far too long


DEFAULT_LIMITS = HealthLimits()

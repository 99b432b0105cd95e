"""The limits of every check, in one place."""

from dataclasses import dataclass

from poc_lib.looks import LOOKS_DIFFERENT_BITS

# min_fit and margin: with eight screens described by hand, close paraphrases fit their own reference by 0.25
# to 0.56 (most by 0.40 or more) and another by 0.07 at most; vague ones fit their own by 0.04 to 0.20. Thirty
# words drawn at random from all references pass both limits in 0.4 % of cases (with a min_fit of 0.25: 3 %).


@dataclass(frozen=True, slots=True)
class ConfusionLimits:
    """When a suspicion is raised. Cosines are of TF-IDF vectors (see ``accuracy.similarity``), 0 to 1."""

    looks_different_bits: int = LOOKS_DIFFERENT_BITS  # of 64; fewer: two frames look alike
    min_fit: float = 0.3  # a text that fits no reference at least this well tells nothing
    margin: float = 0.15  # how much better one reference must fit than the other
    nearly_same: float = 0.8  # cosine of two answers that say the same in nearly the same words
    nearly_same_edit: float = 0.8  # of a duplicate also: 1 - edit distance ÷ length of the longer one
    fast_share: float = 0.5  # a TTFT below this share of the usual one did not read its image
    look_back: int = 8  # a replay may repeat one of this many answers sent just before (at most the level)
    wrong_reference_share: float = (
        0.05  # stored references that may be wrong, where no server vouches for them
    )
    family_error: float = 0.01  # chance that a clean run raises any alarm, over all its levels and signs


DEFAULT_LIMITS = ConfusionLimits()

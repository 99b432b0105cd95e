"""The plan's steps and thresholds."""

STEPS = (
    (3.0, "strong recommendation"),
    (2.0, "recommendation"),
    (1.5, "marginal"),
)
THRESHOLDS = tuple(threshold for threshold, _ in STEPS)
NOT_RECOMMENDED = "not recommended"
INCONCLUSIVE = "inconclusive"
SPEEDUP_TARGET = 1.5
SUSPICIONS = ("duplicates", "wrong_neighbours", "replays", "misplaced")

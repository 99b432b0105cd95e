"""Findings in words, each number computed and with its n."""

import pandas as pd

from poc_lib.accuracy.scores import STORED_REFERENCE

MEASURE_NAMES = {
    "difflib_ratio": "difflib ratio",
    "tfidf_cosine": "TF-IDF cosine",
    "embedding_cosine": "embedding cosine",
    "fidelity_f1": "F1 of names, numbers and quotes",
    "activity_agrees": "same activity",
    "apps_jaccard": "overlap of apps",
    "topics_jaccard": "overlap of topics",
    "ocr_share": "share of names and numbers found by OCR",
}
SAME_TEXT = 0.9  # from this share of letter for letter equal repeats on, the ceiling is no measure of wording


def calibration_sentence(row: pd.Series) -> str:
    """What one row of ``summarize_calibration`` says."""
    if not row["n_own"]:
        return f"{_who(row)}: nothing to calibrate by {_measure(row)}, no answer could be scored."
    whose = "stored reference" if row["against"] == STORED_REFERENCE else f"answer of {row['against']}"
    text = f"{_who(row)}, {_measure(row)}: {row['own_mean']:.2f} with the {whose} of its own frame"
    text += f" (n = {row['n_own']})"
    if row["n_other"]:
        text += f", {row['other_mean']:.2f} with those of other frames (n = {row['n_other']:,})"
    return f"{text}{_ceiling(row)}.{_separation(row)}"


def level_sentence(row: pd.Series) -> str:
    """What one row of ``compare_levels`` says."""
    where = f"against {row['lowest_concurrency']} in flight"
    if row["verdict"] == "not judgeable":
        return f"{_who(row)}: not judgeable {where} by {_measure(row)} ({_n(row)})."
    lowest = f"{row['lowest_concurrency']} in flight"
    return f"{_who(row)}: {_verdict(row, lowest)}{_difference(row)}"


def model_sentence(row: pd.Series) -> str:
    """What one row of ``compare_models`` says."""
    if row["verdict"] == "not judgeable":
        return (
            f"{_who(row)}: cannot be judged against {row['baseline']} by {_measure(row)} ({_n(row)} with two "
            "answers of the baseline)."
        )
    itself = f"{row['baseline']} agrees with itself"
    text = f"{_who(row)}: {_verdict(row, itself)}{_difference(row)}"
    if row["baseline_same_text"] >= SAME_TEXT:
        text += (
            f" {row['baseline']} repeated itself letter for letter in {row['baseline_same_text']:.0%} of "
            "cases, so that any other wording counts as a loss."
        )
    return text


def _who(row: pd.Series) -> str:
    return f"{row['server']} at {row['concurrency']} in flight"


def _measure(row: pd.Series) -> str:
    return MEASURE_NAMES.get(row["measure"], row["measure"])


def _n(row: pd.Series) -> str:
    return f"n = {row['n_frames']} frames in {row['n_groups']} groups"


def _verdict(row: pd.Series, yardstick: str) -> str:
    """Worse, not worse, or open, by the margin."""
    if row["verdict"] == "inconclusive":
        return f"may or may not be worse than {yardstick}, by the margin of {row['margin']:g}"
    return f"{row['verdict']} than {yardstick} by more than {row['margin']:g}"


def _difference(row: pd.Series) -> str:
    return (
        f": difference {row['difference']:+.3f} in {_measure(row)} (95 % interval "
        f"{row['low']:+.3f} to {row['high']:+.3f}, {_n(row)})."
    )


def _ceiling(row: pd.Series) -> str:
    if not row["n_ceiling"]:
        return ""
    text = f"; {row['ceiling_of']}'s answers to one frame {row['ceiling_mean']:.2f} with each other"
    text += f" (n = {row['n_ceiling']})"
    if row["ceiling_same_text"] >= SAME_TEXT:
        return f"{text}, which are {row['ceiling_same_text']:.0%} letter for letter the same and no yardstick"
    return f"{text}: {row['position']:.0%} of the way up" if pd.notna(row["position"]) else text


def _separation(row: pd.Series) -> str:
    if pd.isna(row["auc"]):
        return ""
    text = f" It tells own from other frames with AUC {row['auc']:.2f}"
    if pd.notna(row["auc_low"]):
        text += f" (95 % interval {row['auc_low']:.2f} to {row['auc_high']:.2f})"
    text += f"; {row['match_rate_plan']:.0%} lie above the plan's threshold"
    if pd.notna(row["match_rate_calibrated"]):
        low, high = row["match_rate_low"], row["match_rate_high"]
        text += (
            f", {row['match_rate_calibrated']:.0%} ({low:.0%} to {high:.0%}) above the one that separates "
            f"best ({row['threshold']:.2f}), as do {row['false_match_rate']:.0%} of other frames' pairs"
        )
    return f"{text}."

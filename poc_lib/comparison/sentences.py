"""What a comparison says in words. Pure."""

from collections.abc import Sequence

import pandas as pd

from poc_lib.comparison.differences import MUST, Difference
from poc_lib.comparison.tables import NORMALISED

LEADING_COLUMNS = {
    NORMALISED: ("normalised", "normalised_low", "normalised_high"),
    "as measured": ("frames_ratio", "frames_low", "frames_high"),
}
NO_INTERVAL = "without an interval, which takes two blocks in each run"


def leading_ratio(row: pd.Series) -> tuple[float, float, float]:
    """The ratio that leads in a row of compare_runs, with its interval; NaN where there is none."""
    columns = LEADING_COLUMNS.get(row["leads"], LEADING_COLUMNS["as measured"])
    return tuple(float(row[column]) for column in columns)


def comparison_sentence(row: pd.Series) -> str:
    """How much faster a run was than the first, in frames/s; "no difference seen" if the interval holds 1.

    Args:
        row: a row of compare_runs that has something to hold against.
    """
    value, low, high = leading_ratio(row)
    first, other = _who(row, "first_"), _who(row, "")
    if pd.isna(value):
        return f"{other}: no frame answered in both runs, so there is no ratio to {first}."
    kind = f"normalised by {row['baseline']}" if row["leads"] == NORMALISED else "as measured"
    if pd.isna(low):
        return f"{other} described {value:.2f} × as many frames/s as {first} ({kind}), {NO_INTERVAL}."
    interval = f"95 % interval {low:.2f}–{high:.2f}"
    if low <= 1 <= high:
        return f"{other} against {first}: no difference seen, {value:.2f} × in frames/s ({interval}, {kind})."
    word = "faster" if value > 1 else "slower"
    percent = 100 * abs(value - 1)
    return (
        f"{other} is {word} than {first} by {percent:.0f} %, {value:.2f} × in frames/s ({interval}, {kind})."
    )


def _who(row: pd.Series, prefix: str) -> str:
    run_id, server, level = (row[f"{prefix}{name}"] for name in ("run_id", "server", "concurrency"))
    return f"'{run_id}' ({server} at {int(level)} in flight)"


def reason_sentence(comparison: pd.DataFrame) -> str:
    """Which of the two ratios leads, and why."""
    if (comparison["leads"] == NORMALISED).any():
        return (
            "Both runs measured the same baseline, so the normalised ratio leads: it divides speed-up by "
            "speed-up, and what a warmer or busier day does to both servers falls out. The price is a wider "
            "interval, since the baseline's own scatter enters twice. The ratio as measured stands beside it."
        )
    return (
        "The runs have no baseline in common, so the ratio as measured leads. Its interval knows how blocks "
        "scattered within each run, not how the machine differed from one day to the other."
    )


def drift_sentences(comparison: pd.DataFrame) -> tuple[str, ...]:
    """A warning for each run whose baseline differs from the first run's by more than the interval."""
    drifted = comparison[comparison["drift"].astype(bool)].drop_duplicates("run_id")
    return tuple(
        f"The machine was not the same on both days: the baseline {row['baseline']} itself came to "
        f"{row['baseline_ratio']:.2f} × (95 % interval {row['baseline_low']:.2f}–{row['baseline_high']:.2f}) "
        f"in '{row['run_id']}' against '{row['first_run_id']}'. Trust the normalised ratio, or measure again."
        for _, row in drifted.iterrows()
    )


def attribution_sentence(differences: Sequence[Difference]) -> str:
    """Whether an effect can be put down to one thing that changed."""
    causes = [difference for difference in differences if difference.may_be_the_cause]
    names = [difference.what for difference in causes]
    if not causes:
        return (
            "Nothing on record changed that could make a difference. What a server does not tell, such as "
            "vllm-mlx's version, is not on record."
        )
    if len(causes) == 1:
        only = causes[0]
        return f"One thing changed on record: {only.what}, from {only.first} to {only.other}."
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{len(names)} things changed at once ({listed}): an effect cannot be attributed to one of them."


def unlike_sentence(run_id: str, first_id: str, differences: Sequence[Difference]) -> str | None:
    """A warning that names what should have been equal; None where nothing is."""
    unlike = [difference.what for difference in differences if difference.kind == MUST]
    if not unlike:
        return None
    return (
        f"'{run_id}' and '{first_id}' are not alike ({', '.join(unlike)}) and are compared only because "
        "compare_anyway asks for it: read no cause out of these numbers."
    )

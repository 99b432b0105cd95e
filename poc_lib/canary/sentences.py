"""What the canaries say about each server, in a sentence. Pure."""

import pandas as pd

from poc_lib.canary.summary import LEAKED, LEVEL, READS_LESS, UNUSABLE, mixed_up_high


def canary_sentences(summary: pd.DataFrame) -> dict[str, str]:
    """One sentence per server, by its name, from the table of ``summarize_canaries``."""
    return {
        server: f"{server}: {_finding(rows)}." for (server, _), rows in summary.groupby(LEVEL[:2], sort=False)
    }


def _finding(rows: pd.DataFrame) -> str:
    outcomes = set(rows["outcome"])
    if LEAKED in outcomes:
        return _leaks(rows)
    if UNUSABLE in outcomes:
        return f"{rows['why_not_usable'].iloc[0]}, so no answer under load is proven to be its image's"
    if READS_LESS in outcomes:
        return _missing_codes(rows)
    return _all_own(rows)


def _leaks(rows: pd.DataFrame) -> str:
    n_leaks, n_judged = int(rows["n_leaks"].sum()), int(rows["n_judged"].sum())
    where = "; ".join(f"{row.n_leaks} {_level(row)}" for row in rows.itertuples() if row.n_leaks)
    return f"{n_leaks} of {n_judged} answers held the code of another frame ({where})"


def _missing_codes(rows: pd.DataFrame) -> str:
    n_judged = int(rows["n_judged"].sum())
    where = "; ".join(
        f"{row.n_canaries - row.n_not_read} of {row.n_canaries} {_level(row)}" for row in rows.itertuples()
    )
    return (
        f"none of {n_judged} answers held the code of another frame, but codes are missing under load (read: "
        f"{where}), and an answer without its own code may be about another image"
    )


def _all_own(rows: pd.DataFrame) -> str:
    n_judged, n_misread = int(rows["n_judged"].sum()), int(rows["n_misread_one"].sum())
    misread = f", {n_misread} with one character misread" if n_misread else ""
    return (
        f"all {n_judged} answers that named a code named their own image's{misread}{_bound(rows)}, at "
        f"{_levels(rows)} in flight{_aborts(rows)}"
    )


def _bound(rows: pd.DataFrame) -> str:
    """What every single level excludes: the levels taken together would hide a fault of one of them."""
    n_silent = int(rows["n_not_read"].sum())
    silent = f"; {n_silent} named none" if n_silent else ""
    counted = " at worst, these counted" if n_silent else ""
    each = " at each level" if len(rows) > 1 else ""
    high = max(mixed_up_high(row) for _, row in rows.iterrows())
    return f"{silent} (mixed up{counted}: below {100 * high:.1f} %{each}, exact 95 % interval)"


def _levels(rows: pd.DataFrame) -> str:
    *most, last = [str(level) for level in sorted(set(rows["concurrency"]))]
    return f"{', '.join(most)} and {last}" if most else last


def _aborts(rows: pd.DataFrame) -> str:
    return ", also while other requests were given up" if (rows["phase"] == "canary_abort").any() else ""


def _level(row) -> str:
    aborts = ", others given up" if row.phase == "canary_abort" else ""
    return f"at {row.concurrency} in flight{aborts}"

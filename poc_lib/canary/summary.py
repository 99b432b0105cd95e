"""How many answers held the right code, per server and level, and what may be said from it. Pure."""

import pandas as pd
from scipy.stats import fisher_exact

from poc_lib.canary.judging import (
    ABORTED,
    FAILED,
    LEAK,
    MISREAD_ONE,
    NOT_READ,
    READ,
    judge_canaries,
)
from poc_lib.confusion.chance import upper_bound

LEVEL = ["server", "role", "concurrency", "phase"]
MIN_READ_SHARE = 0.5  # of the canaries at a level; a model below it cannot prove anything
LEVEL_OF_TEST = 0.05
NOT_USABLE = "canaries not usable with this model"
LEAKED, NO_LEAK, READS_LESS, UNUSABLE = "leak", "no leak", "reads less", "not usable"
SUMMARY_COLUMNS = (
    *LEVEL,
    "n_requests",
    "n_canaries",
    "n_read",
    "n_misread_one",
    "n_not_read",
    "n_other_answers",
    "n_failed",
    "n_aborted",
    "n_leaks",
    "n_judged",
    "leak_rate",
    "leak_rate_high",
    "p_reads_less",
    "usable",
    "outcome",
    "why_not_usable",
)


def summarize_canaries(requests: pd.DataFrame) -> pd.DataFrame:
    """Count per server, level and phase what the answers of the canary phases showed.

    Returns:
        One row per (server, role, concurrency, phase) with SUMMARY_COLUMNS. ``n_canaries`` are canaries that
        were answered, ``n_other_answers`` answers to real frames, which were searched for codes, too.
        ``n_leaks`` counts answers that hold another frame's code. ``n_judged`` = n_read + n_misread_one +
        n_leaks: answers that showed whose image was read. ``leak_rate`` = n_leaks ÷ n_judged, with
        ``leak_rate_high``, the upper end of its exact two-sided 95 % interval (Clopper and Pearson 1934):
        1 - 0.025^(1/n) with none among n; both NaN when nothing was judged. ``p_reads_less``: Fisher's exact
        one-sided probability that canaries are read as rarely as here by chance, against the server's lowest
        level; NaN there. ``usable``: at the server's lowest level at least half of the canaries were read.
        ``outcome``: "leak", "no leak", "reads less" (no leak, yet codes are missing that were read at the
        lowest level, or fewer than half were read) or "not usable"; only "no leak" is evidence for a server.
    """
    judged = judge_canaries(requests)
    rows = [(*key, *_counts(group)) for key, group in judged.groupby(LEVEL, sort=False)]
    table = pd.DataFrame(rows, columns=list(SUMMARY_COLUMNS[:14]))
    pairs = list(zip(table["n_leaks"], table["n_judged"], strict=True))
    table["leak_rate"] = [k / n if n else float("nan") for k, n in pairs]
    table["leak_rate_high"] = [upper_bound(k, n) for k, n in pairs]
    table = table.sort_values(["role", "server", "phase", "concurrency"], ignore_index=True)
    return _with_outcomes(table)


def mixed_up_high(row: pd.Series) -> float:
    """Upper end of the exact two-sided 95 % interval of mixed-up answers in one row of the summary.

    Unlike ``leak_rate_high`` it counts canaries whose code was not read as mixed up: a code also goes missing
    when a canary gets the answer to a real frame. NaN where no canary was answered and nothing leaked.
    """
    n_not_read = int(row["n_not_read"])
    return upper_bound(int(row["n_leaks"]) + n_not_read, int(row["n_judged"]) + n_not_read)


def _counts(group: pd.DataFrame) -> tuple[int, ...]:
    judgement = group["judgement"]
    n = judgement.value_counts().to_dict()
    n_read, n_misread, n_leaks = n.get(READ, 0), n.get(MISREAD_ONE, 0), n.get(LEAK, 0)
    return (
        len(group),
        int((group["answered"] & group["is_canary"]).sum()),
        n_read,
        n_misread,
        n.get(NOT_READ, 0),
        int((group["answered"] & ~group["is_canary"]).sum()),
        n.get(FAILED, 0),
        n.get(ABORTED, 0),
        n_leaks,
        n_read + n_misread + n_leaks,
    )


def _with_outcomes(table: pd.DataFrame) -> pd.DataFrame:
    lowest = {
        key: rows.sort_values(["phase", "concurrency"]).iloc[0]  # "canary" before "canary_abort"
        for key, rows in table.groupby(LEVEL[:2])
    }
    firsts = [lowest[key] for key in zip(table["server"], table["role"], strict=True)]
    table["p_reads_less"] = [
        _p_reads_less(row, first) for (_, row), first in zip(table.iterrows(), firsts, strict=True)
    ]
    table["usable"] = [_reads_enough(first) for first in firsts]
    table["outcome"] = [_outcome(row) for _, row in table.iterrows()]
    table["why_not_usable"] = [None if _reads_enough(first) else _why_not_usable(first) for first in firsts]
    return table[list(SUMMARY_COLUMNS)]


def _n_shown(row: pd.Series) -> int:
    """Answered canaries that showed a code, their own or another's."""
    return int(row["n_canaries"] - row["n_not_read"])


def _reads_enough(row: pd.Series) -> bool:
    return bool(row["n_canaries"] and _n_shown(row) >= MIN_READ_SHARE * row["n_canaries"])


def _p_reads_less(row: pd.Series, first: pd.Series) -> float:
    is_first = (row["concurrency"], row["phase"]) == (first["concurrency"], first["phase"])
    if is_first or not row["n_canaries"] or not first["n_canaries"]:
        return float("nan")
    here = [_n_shown(row), int(row["n_not_read"])]
    there = [_n_shown(first), int(first["n_not_read"])]
    return float(fisher_exact([here, there], alternative="less").pvalue)


def _outcome(row: pd.Series) -> str:
    if row["n_leaks"]:
        return LEAKED
    if not row["usable"]:
        return UNUSABLE
    return READS_LESS if row["p_reads_less"] < LEVEL_OF_TEST or not _reads_enough(row) else NO_LEAK


def _why_not_usable(first: pd.Series) -> str:
    return (
        f"{NOT_USABLE}: {_n_shown(first)} of {first['n_canaries']} codes read at "
        f"{first['concurrency']} in flight"
    )

"""One line about the fairness of a comparison, and what all its rooms share."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from poc_lib.metrics import Baseline, add_derived

Severity = Literal["note", "warning"]
DIFFERS, DIFFERS_MUCH = 0.1, 0.25  # relative: worth a note, worth a warning


@dataclass(frozen=True, slots=True)
class FairnessLine:
    """Something that a reader must know before two servers are compared."""

    about: str  # a short key: "answer length", "cache", ...
    text: str  # one sentence with its numbers
    severity: Severity
    detail: str = ""  # what it means or what to do about it


def answered(requests: pd.DataFrame) -> pd.DataFrame:
    """The measured requests that were answered, with their counts as floats."""
    measured = add_derived(requests)
    ok = measured[measured["ok"].astype(bool)]
    numbers = {
        name: pd.to_numeric(ok[name]).astype(float)
        for name in ("output_tokens", "prompt_tokens", "ttft_s", "server_prefill_s")
    }
    return ok.assign(**numbers)


def candidates_of(requests: pd.DataFrame) -> list[str]:
    """The names of the measured candidates, in order of their first request."""
    rows = requests[(requests["phase"] == "measure") & (requests["role"] == "candidate")]
    return list(rows["server"].unique())


def rows_of_baseline(ok: pd.DataFrame, baseline: Baseline) -> pd.DataFrame:
    """The baseline's rows at the level that speed-ups are taken against; none where it was not measured."""
    chosen = (
        (ok["role"] == "baseline")
        & (ok["server"] == baseline.name)
        & (ok["concurrency"] == baseline.concurrency)
    )
    return ok[chosen] if baseline.measured else ok.iloc[:0]


def compared(ok: pd.DataFrame, baseline: Baseline) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """(candidate, its rows, the baseline's rows) for each candidate that answered, where the baseline did."""
    theirs = rows_of_baseline(ok, baseline)
    if theirs.empty:
        return
    for name in candidates_of(ok):
        yield name, ok[(ok["server"] == name) & (ok["role"] == "candidate")], theirs


def severity_of(ratio: float) -> Severity | None:
    """None within DIFFERS of 1 either way, a warning beyond DIFFERS_MUCH."""
    apart = max(ratio, 1 / ratio) - 1 if ratio > 0 else float("inf")
    if pd.isna(ratio) or apart <= DIFFERS:
        return None
    return "warning" if apart > DIFFERS_MUCH else "note"

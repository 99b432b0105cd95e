"""The plan's success criteria for one candidate. A bound decides: what spans a target is not settled."""

import pandas as pd

from poc_lib.metrics import Baseline
from poc_lib.verdict.evidence import choose_level, count_leaks, count_suspicions
from poc_lib.verdict.steps import SPEEDUP_TARGET

COLUMNS = ["criterion", "target", "found", "met", "rests_on"]


def judge_criteria(
    candidate: str,
    speed: pd.DataFrame,
    agreement: pd.DataFrame,
    confusion: pd.DataFrame,
    canaries: pd.DataFrame,
    baseline: Baseline,
    target_tok_per_s: float,
    target_match_rate: float,
    n_planned: int | None = None,
    n_failed_before: int = 0,
) -> pd.DataFrame:
    """The success criteria: criterion, target, found, met (True, False or None: not settled), rests_on.

    Args:
        candidate: the server that is judged.
        speed: Analysis.speed.
        agreement: accuracy.summarize_agreement.
        confusion: confusion.summarize_confusion.
        canaries: canary.summarize_canaries; empty where none were sent.
        target_match_rate: share of answers that must match the stored reference, 0 to 1.
        n_planned: requests planned for the candidate, where cells may be missing from ``speed``.
        n_failed_before: its failures that were sent again later.
    """
    best = choose_level(speed, candidate)
    rows = [
        _throughput(best, baseline, target_tok_per_s),
        _speedup(best, baseline),
        _match_rate(best, agreement, target_match_rate),
        _no_confusion(candidate, confusion, canaries),
        _no_crashes(candidate, speed, n_planned, n_failed_before),
    ]
    table = pd.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in rows], columns=COLUMNS)
    return table.astype({"met": object})  # True, False and None stay what they are, whichever occur


def _reached(low: float, high: float, target: float) -> bool | None:
    """Whether a quantity is above its target: None where its interval is not known or spans the target."""
    if pd.isna(low) or low < target <= high:
        return None
    return bool(low >= target)


def _span(low: float, high: float, digits: int = 2) -> str:
    return "" if pd.isna(low) else f" ({low:.{digits}f} to {high:.{digits}f})"


def _throughput(best: pd.Series | None, baseline: Baseline, target: float) -> tuple:
    wanted = f"> {target:.0f} output tok/s, or > 2 × the measured baseline"
    if best is None or pd.isna(best["output_tok_per_s"]):
        return "throughput", wanted, "no token rate", None, "no complete level with token counts"
    low, high = best["output_tok_per_s_low"], best["output_tok_per_s_high"]
    found = f"{best['output_tok_per_s']:.1f} output tok/s{_span(low, high, 1)}"
    rests_on = f"{int(best['concurrency'])} in flight"
    ways = [_reached(low, high, target)]
    if baseline.measured and pd.notna(best["speedup_tokens"]):
        ways.append(_reached(best["speedup_tokens_low"], best["speedup_tokens_high"], 2.0))
        rests_on += f"; {best['speedup_tokens']:.2f} × {baseline.label} in tok/s"
    met = True if True in ways else None if None in ways else False
    return "throughput", wanted, found, met, rests_on


def _speedup(best: pd.Series | None, baseline: Baseline) -> tuple:
    wanted = f"2-3 ×, at least {SPEEDUP_TARGET} × in frames/s"
    if best is None or pd.isna(best["speedup_frames"]):
        return "speed-up", wanted, "no speed-up", None, "no complete level"
    low, high = best["simultaneous_low"], best["simultaneous_high"]
    found = f"{best['speedup_frames']:.2f} × in frames/s{_span(low, high)}"
    if pd.notna(best["speedup_tokens"]):
        found += f", {best['speedup_tokens']:.2f} × in output tok/s"
    met = (
        _reached(low, high, SPEEDUP_TARGET)
        if best["between_blocks_known"] and best["between_groups_known"]
        else None
    )
    return "speed-up", wanted, found, met, f"{int(best['concurrency'])} in flight, {baseline.label}"


def _match_rate(best: pd.Series | None, agreement: pd.DataFrame, target: float) -> tuple:
    wanted = f"> {target:.0%} of answers match the stored reference"
    if best is None:
        return "match rate", wanted, "nothing to score", None, "no complete level"
    of_level = (agreement["server"] == best["server"]) & (agreement["concurrency"] == best["concurrency"])
    rows = agreement[of_level & (agreement["against"] == "stored reference")]
    n = int(rows["n_scored"].sum())
    if n == 0:
        return "match rate", wanted, "nothing to score", None, "n = 0"
    row = rows.iloc[0]
    low, high = row["match_rate_low"], row["match_rate_high"]
    rests_on = f"difflib ratio above the threshold, n = {n}, {int(best['concurrency'])} in flight"
    found = f"{row['match_rate']:.0%} ({low:.0%} to {high:.0%})"
    return "match rate", wanted, found, _reached(low, high, target), rests_on


def _no_confusion(candidate: str, confusion: pd.DataFrame, canaries: pd.DataFrame) -> tuple:
    wanted = "no answer about another image, at any level"
    rows = confusion[confusion["server"] == candidate]
    judged, answers = int(rows["n_judged"].sum()), int(rows["n_answers"].sum())
    leaks, suspicions = count_leaks(canaries, candidate), count_suspicions(confusion, candidate)
    of_candidate = canaries[canaries["server"] == candidate]
    sent = of_candidate[of_candidate["outcome"].isin(["no leak", "leak"])]
    codes_lost = (of_candidate["outcome"] == "reads less").any()
    coded = int(sent["n_judged"].sum()) if len(sent) else 0
    found = f"{leaks} proven by codes, {suspicions} suspected by their texts beyond chance"
    if codes_lost:
        found += ", codes went missing under load"
    met = False if leaks else None if suspicions or codes_lost or not (judged or coded) else True
    rests_on = f"{coded} answers told their image by its code; {judged} of {answers} fit one image clearly"
    return "no image confusion", wanted, found, met, rests_on


def _no_crashes(candidate: str, speed: pd.DataFrame, n_planned: int | None, n_before: int) -> tuple:
    rows = speed[speed["server"] == candidate]
    sent, failed = int(rows["n_requests"].sum()), int(rows["n_failed"].sum())
    asked = n_planned or sent + int(rows["n_not_sent"].sum())
    missing = asked - sent
    found = f"{failed} failed, {missing} not sent"
    if n_before:
        found += f", {n_before} failed earlier and sent again"
    met = failed + missing + n_before == 0
    return "no crashes", "0 failures, every frame answered", found, met, f"n = {asked}"

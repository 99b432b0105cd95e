"""The verdict on a candidate and the plan's success criteria: frames in, sentences out.

Proof comes before speed: answers about another image, or lost frames, make a server "not recommended" however
fast it is. Otherwise the label is the highest step that the speed-up's lower bound reaches.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from poc_lib.metrics import speedup
from poc_lib.metrics.confusion import READS_ENOUGH, is_suspicious
from poc_lib.metrics.speedup import (
    INCONCLUSIVE,
    LEAST_SPREAD,
    NOT_RECOMMENDED,
    STEPS,
    interval,
    mean_interval,
)
from poc_lib.records import Finding, State, Verdict

PILOT_ONLY = "pilot only: no verdict"
NO_VERDICT = "no verdict"
MIXED_UP_AT_MOST = 0.05  # what a proof must exclude over all levels that were tested ...
MIXED_UP_CHOSEN = 0.02  # ... and at the chosen one
OUTPUT_TOK_PER_S = 76.0  # the plan's throughput: twice the recorded baseline's
CURE = "Try a newer version of the server, or its caches off (vllm-mlx: 0.6.0, `--disable-prefix-cache`)"
QUALITY_MARGIN = 0.05  # of similarity, 0 to 1: a loss up to this does not count


def quality_under_load(answers: pd.DataFrame, server: str, level: int | None) -> tuple[float, ...]:
    """A server's similarity at a level minus that one request at a time: mean, 95 % interval, frames.

    On frames that were answered both ways: similarity with the baseline's unloaded answers, where there are
    none with the stored descriptions. NaN and 0 where nothing can be compared.
    """
    scored = answers[(answers["server"] == server) & answers["phase"].isin(["pilot", "confirm", "measure"])]
    for measure in ("base_ratio", "ref_ratio"):
        by_level = scored.pivot_table(measure, "frame_id", "concurrency")
        if level != 1 and {1, level} <= set(by_level.columns):
            change = (by_level[level] - by_level[1]).dropna()
            if len(change) >= 2:
                return float(change.mean()), *mean_interval(change, 0.95, LEAST_SPREAD), len(change)
    return math.nan, math.nan, math.nan, 0


def _counts(rows: pd.DataFrame, part: str, whole: str) -> str:
    """What rows of levels count: "28 of 60 at 4 in flight, 3 of 60 at 8 in flight"."""
    counted = zip(rows[part], rows[whole], rows["concurrency"], strict=True)
    return ", ".join(f"{k:.0f} of {n:.0f} at {level} in flight" for k, n, level in counted)


def _at(levels: pd.DataFrame, server: str, level: int | None) -> pd.Series:
    """The row of a server at a level, else one of NaN."""
    rows = levels[(levels["server"] == server) & (levels["concurrency"] == level)]
    return rows.iloc[0] if len(rows) else pd.Series(math.nan, index=levels.columns)


def judge_proof(levels: pd.DataFrame, candidate: str, baseline: str, level: int | None) -> tuple[str, str]:
    """Whether a candidate's answers are proven to be about their own images: Verdict.proof, and why.

    "met" needs a model that reads 80 % of its own codes one request at a time (the candidate, else the
    baseline), no other image's code at any level, and an upper bound (95 %) on mix-ups of 2 % at the chosen
    level and of 5 % over all levels together (24 codes a level are too few to bound each of them so). Signs
    decide only where there is no such proof.
    """
    tested = levels[levels["n_proof"] > 0]
    rows = tested[tested["server"] == candidate]
    mixed, chosen = rows[rows["n_code_other"] > 0], rows[rows["concurrency"] == level]
    if len(mixed):
        k, n = mixed["n_code_other"].sum(), rows["n_proof"].sum()
        where = _counts(mixed, "n_code_other", "n_proof")
        return "mixed up", f"{k:.0f} of {n:.0f} answers were about another image ({where})"
    alone = tested[(tested["concurrency"] == 1) & tested["server"].isin([candidate, baseline])]
    alone = alone.sort_values("server", key=lambda names: names != candidate).head(1)
    reads = alone["n_code_own"].sum() >= READS_ENOUGH * alone["n_proof"].sum()
    n_read = rows["n_code_own"].sum()
    bounds = speedup.binomial_upper(0, int(n_read)), chosen["mixup_upper"].max()
    wanted = MIXED_UP_AT_MOST, MIXED_UP_CHOSEN
    if len(alone) and reads and all(bound <= most for bound, most in zip(bounds, wanted, strict=True)):
        n = chosen["n_code_own"].iloc[0]
        at_chosen = f"of {n:.0f} at {level} in flight, which leaves up to {bounds[1]:.1%} possible"
        return "met", f"none of {n_read:.0f} codes was another image's, none {at_chosen}"
    near = levels[(levels["server"] == candidate) & levels["concurrency"].isin([1, level])]
    signs = near[[is_suspicious(k, n) for k, n in zip(near["n_signs"], near["n_texts"], strict=True)]]
    if len(signs):
        return "suspected", f"answers look like another image's: {_counts(signs, 'n_signs', 'n_texts')}"
    if rows.empty:
        return "not tested", "image identity was not tested with codes"
    if not reads:
        counts = _counts(alone, "n_code_own", "n_proof")
        return "cannot be proven", f"image identity cannot be proven with this model: it read {counts}"
    if alone.empty or not chosen["n_code_own"].sum():
        where = "one request in flight" if alone.empty else "the chosen level"
        return "not yet", f"image identity is not proven: no code was read at {where}"
    return (
        "not yet",
        f"image identity is not proven yet: no mix-up was seen, but {chosen['n_code_own'].iloc[0]:.0f} codes "
        f"at {level} in flight leave up to {bounds[1]:.1%} possible (wanted: {MIXED_UP_CHOSEN:.0%})",
    )


def find_stopper(
    draft: Verdict,
    blocks: pd.DataFrame,
    levels: pd.DataFrame,
    chosen: Mapping[str, int | None],
    max_blocks: int,
    why: str,
    to_do: str,
) -> tuple[str, str] | None:
    """The first rule that keeps speed from deciding, as label and headline; None: none does.

    ``why`` is ``judge_proof``'s sentence, ``to_do`` what a reader can do where images are mixed up.
    """
    candidate, rows = draft.candidate, levels[levels["server"] == draft.candidate]
    is_clean = (rows["n_code_other"] == 0) & (rows["mixup_upper"] <= MIXED_UP_AT_MOST)
    clean = ", ".join(map(str, rows.loc[is_clean, "concurrency"])) or "none"
    cure = f"{to_do}; fewer in flight are no cure unless proven clean (such levels: {clean})"
    has_baseline = draft.recorded_baseline or draft.baseline_level is not None
    sent, pilot = rows["n_sent"].sum(), _at(levels, candidate, draft.level)["pilot_speedup"]
    lossy = (blocks["candidate_lost"] > 0).sum()
    lost = f"{candidate} lost {blocks['candidate_lost'].sum()} of {blocks['n_frames'].sum()} frames"
    seen = f"{candidate} at {draft.level} in flight was {pilot:.2f} × as fast in one block, without interval"
    rules = (
        (draft.proof == "mixed up", NOT_RECOMMENDED, f", however fast: {why}. {cure}"),
        (draft.proof == "suspected", NOT_RECOMMENDED, f" until proven otherwise: {why}. {to_do}"),
        (not rows["n_answered"].sum(), NO_VERDICT, f": {candidate} answered none of {sent:.0f} requests"),
        (candidate not in chosen, NO_VERDICT, ": no level was chosen, for the pilot is not finished"),
        (draft.level is None, NOT_RECOMMENDED, f": {candidate} lost answers at every level"),
        (lossy > 1, NOT_RECOMMENDED, f", however fast: {lost}, in {lossy} of {len(blocks)} blocks"),
        (not has_baseline, NO_VERDICT, ": no baseline was measured without loss, and none is recorded"),
        (not max_blocks, PILOT_ONLY, f": {seen}"),
        (not draft.n_blocks, NO_VERDICT, ": no confirmation block has answers of both sides"),
    )
    return next(((label, f"{label.capitalize()}{text}.") for applies, label, text in rules if applies), None)


def list_doubts(
    draft: Verdict, blocks: pd.DataFrame, levels: pd.DataFrame, answers: pd.DataFrame
) -> list[str]:
    """What is to be known of the baseline, quality and loss before acting on a label, as clauses."""
    doubts = ["the baseline is recorded, not measured"] if draft.recorded_baseline else []
    change, low, high, n = quality_under_load(answers, draft.candidate, draft.level)
    if change < -QUALITY_MARGIN and high < 0:
        worse = f"similarity {interval(change, low, high, '')} on {n} frames"
        doubts.append(f"its answers get worse under load: {worse}")
    alike = _at(levels, draft.candidate, draft.level)["base_ratio"]
    itself = _at(levels, draft.baseline, draft.baseline_level)["base_ratio"]
    if alike < itself / 2:
        doubts.append(
            f"its answers hardly resemble the baseline's: {alike:.2f}, those each other {itself:.2f}"
        )
    for side in ("candidate", "baseline"):
        if lost := blocks[f"{side}_lost"].sum():
            doubts.append(f"the {side} lost {lost} of {blocks['n_frames'].sum()} frames")
    if confused := levels.loc[levels["server"] == draft.baseline, "n_code_other"].sum():
        doubts.append(f"{confused:.0f} answers of the baseline itself were about another image")
    return doubts


def word_speed(draft: Verdict, recorded_s: float | None, doubts: Sequence[str]) -> str:
    """The headline where speed decides: label, numbers, and what is to be known beside them."""
    lead, rests_on = draft.label.capitalize(), "one block gives no interval"
    if draft.low is not None:
        at_least, at_most = speedup.step_of(draft.low), speedup.step_of(draft.high)
        rests_on = f"{draft.confidence:.1%} interval from {draft.n_blocks} blocks"
        if draft.label == INCONCLUSIVE:
            lead = f"Inconclusive between {at_least} and {at_most}"
        elif draft.open_above:
            lead = f"At least {at_least}, perhaps {at_most}"
    if draft.label == STEPS[-1][1] and draft.proof != "met":
        lead += ", image identity not proven"
    against = f"{draft.baseline} at {draft.baseline_level}"
    against = f"the recorded {recorded_s:g} s a frame" if recorded_s else against
    ratio = interval(draft.speedup, draft.low, draft.high)
    speed = f"{draft.candidate} at {draft.level} in flight is {ratio} as fast as {against}"
    but = f" But {'; '.join(doubts)}." if doubts else ""
    return f"{lead}: {speed}; {rests_on} and {draft.n_frames} frames.{but}"


def word_scope(draft: Verdict, n_sample: int) -> list[str]:
    """For which frames the interval speaks, and what would settle an open verdict, in sentences."""
    whom = f"these {n_sample} frames" if n_sample else "the whole recording"
    sentences = [f"The interval speaks for {whom}."]
    if draft.more_blocks and draft.more_blocks < speedup.MANY_BLOCKS:
        sentences.append(f"About {draft.more_blocks} more blocks would probably settle what is open.")
    elif draft.more_blocks:
        near = min(STEPS, key=lambda step: abs(math.log(draft.speedup / step[0])))[0]
        sentences.append(
            f"Even {draft.more_blocks} more blocks would hardly settle it: {near:g} × is too close."
        )
    return sentences


def decide(
    blocks: pd.DataFrame,
    levels: pd.DataFrame,
    answers: pd.DataFrame,
    candidate: str,
    baseline: str,
    chosen: Mapping[str, int | None],
    *,
    max_blocks: int,
    n_sample: int = 0,
    set_aside: Sequence[str] = (),
    setup: Sequence[Finding] = (),
    recorded_s_per_frame: float | None = None,
) -> Verdict:
    """The verdict on one candidate, whose summarize_blocks ``blocks`` is.

    Args:
        chosen: the level of each server whose pilot is finished; None: none was without loss and mix-ups.
        n_sample: frames that take part; 0: every usable one of the recording.
        set_aside: why faster levels of this candidate were not chosen, in sentences.
        setup: findings of the set-up checks; the candidate's problems enter the verdict.
        recorded_s_per_frame: of a baseline that was not measured.
    """
    confirmed = answers["complete"] & (answers["phase"] == "confirm") & (answers["server"] == candidate)
    found = asdict(speedup.estimate(blocks["log_ratio"], max_blocks))
    proof, why = judge_proof(levels, candidate, baseline, chosen.get(candidate))
    draft = Verdict(
        candidate=candidate,
        baseline=baseline,
        headline="",
        level=chosen.get(candidate),
        baseline_level=chosen.get(baseline),
        n_frames=answers.loc[confirmed, "frame_id"].nunique(),
        proof=proof,
        simulated=bool(answers.loc[answers["server"].isin([candidate, baseline]), "simulated"].any()),
        recorded_baseline=recorded_s_per_frame is not None,
        **{name: None if pd.isna(value) else value for name, value in found.items()},
    )
    problems = [finding for finding in setup if (finding.state, finding.server) == ("problem", candidate)]
    known = [f"{problem.text.rstrip('.')}: {problem.to_do.rstrip('.')}" for problem in problems]
    to_do = "; ".join(known) or CURE
    reasons = (*set_aside, f"{why[0].upper()}{why[1:]}.", *(f"{text}." for text in known))
    if stopper := find_stopper(draft, blocks, levels, chosen, max_blocks, why, to_do):
        nothing_open = {"decided": stopper[0] == NOT_RECOMMENDED, "open_above": False, "more_blocks": None}
        return replace(draft, label=stopper[0], headline=stopper[1], reasons=reasons, **nothing_open)
    doubts = known + [why] * (proof != "met") + list_doubts(draft, blocks, levels, answers)
    headline = word_speed(draft, recorded_s_per_frame, doubts)
    return replace(draft, headline=headline, reasons=(*reasons, *word_scope(draft, n_sample)))


def _reached(low: float | None, high: float | None, target: float) -> State:
    """Whether a quantity with these bounds is above its target."""
    if pd.isna(low):
        return "note"
    return "ok" if low > target else "problem" if high < target else "warning"


def criteria(
    verdict: Verdict, blocks: pd.DataFrame, levels: pd.DataFrame, answers: pd.DataFrame
) -> list[Finding]:
    """The plan's success criteria for a candidate: ok: met, warning: open, problem: missed, note: not known.

    ``blocks`` are this candidate's, the other frames the run's.
    """
    ours = _at(levels, verdict.candidate, verdict.level)
    theirs = _at(levels, verdict.baseline, verdict.baseline_level)
    confidence, wanted = verdict.confidence or 0.95, STEPS[0][0]
    rates = blocks["candidate_output_tok_per_s"].astype(float)
    ratios = np.log(rates / blocks["baseline_output_tok_per_s"].astype(float))
    rate = (ours["output_tok_per_s"] if blocks.empty else rates.mean(), *mean_interval(rates, confidence))
    ratio = (np.exp(ratios.mean()), *np.exp(mean_interval(ratios, confidence, LEAST_SPREAD)))
    speed = (verdict.speedup, verdict.low, verdict.high)
    alike, itself = ours["base_ratio"], theirs["base_ratio"]
    *change, n = quality_under_load(answers, verdict.candidate, verdict.level)
    ways = {_reached(*rate[1:], OUTPUT_TOK_PER_S), _reached(*ratio[1:], 2.0)}
    fast = next(state for state in ("ok", "warning", "problem", "note") if state in ways)
    proven = {"met": "ok", "mixed up": "problem", "suspected": "problem"}.get(verdict.proof, "warning")
    why = judge_proof(levels, verdict.candidate, verdict.baseline, verdict.level)[1]
    intact = "problem" if ours["n_failed"] > 0 else "ok" if ours["n_answered"] >= 50 else "warning"
    tokens = f"{interval(*rate, ' tok/s', '.0f')}, {interval(*ratio)} the baseline's"
    likeness = f"{interval(alike, unit='')} alike the baseline (itself: {interval(itself, unit='')})"
    load = f"under load {interval(*change, '', '+.2f')} on {n} frames"
    match = (
        f"{interval(100 * ours['match_rate'], unit='%', form='.0f')} (asked 80%, missed by right paraphrases)"
    )
    failed, sent = (interval(ours[name], unit="", form=".0f") for name in ("n_failed", "n_sent"))
    crashes = f"{failed} of {sent} requests at the chosen level failed"
    close = _reached(alike - itself, alike - itself, -QUALITY_MARGIN)
    found = (
        (fast, f"Throughput: {tokens}. Asked: over {OUTPUT_TOK_PER_S:g} tok/s, or over 2 ×."),
        (
            _reached(*speed[1:], wanted),
            f"Speed-up: {interval(*speed)} in frames/s. Asked: 2-3 ×, at least {wanted} ×.",
        ),
        (close, f"Match: {likeness}, {load}. Over 0.8 alike the stored text: {match}."),
        (proven, f"No image confusion: {why}."),
        (intact, f"No crashes: {crashes}. Asked: none over 50 frames."),
    )
    level = verdict.level or 0
    return [Finding("criteria", state, text, "", verdict.candidate, level) for state, text in found]

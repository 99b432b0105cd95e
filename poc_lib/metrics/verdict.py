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
from poc_lib.metrics.agreement import TIMED
from poc_lib.metrics.confusion import READS_ENOUGH, is_suspicious
from poc_lib.metrics.speed import level_row
from poc_lib.metrics.speedup import LEAST_SPREAD, NOT_RECOMMENDED, STEPS, count, interval, mean_interval
from poc_lib.records import Finding, State, Verdict

PILOT_ONLY = "pilot only: no verdict"
NO_VERDICT = "no verdict"
MIXED_UP_CHOSEN = 0.02  # what a proof must exclude at the chosen level ...
MIXED_UP_AT_MOST = 0.05  # ... and a level that is called clean
OUTPUT_TOK_PER_S = 76.0  # the plan's throughput: twice the recorded baseline's
CURE = "Try a newer version of the server, or its caches off (vllm-mlx: 0.6.0, `--disable-prefix-cache`)"
QUALITY_MARGIN = 0.05  # of similarity, 0 to 1: a loss up to this does not count


def quality_under_load(answers: pd.DataFrame, server: str, level: int | None) -> tuple[float, ...]:
    """A server's similarity at a level minus that one request at a time: mean, 95 % interval, n frames.

    Of frames answered both ways: to the baseline's unloaded answers, without any to the stored descriptions.
    """
    scored = answers[(answers["server"] == server) & answers["phase"].isin(TIMED)]
    for measure in ("base_ratio", "ref_ratio"):
        by_level = scored.pivot_table(measure, "frame_id", "concurrency")
        if level != 1 and {1, level} <= set(by_level.columns):
            change = (by_level[level] - by_level[1]).dropna()
            if len(change) >= 2:
                return float(change.mean()), *mean_interval(change, 0.95, LEAST_SPREAD), len(change)
    return math.nan, math.nan, math.nan, 0


def tell_counts(rows: pd.DataFrame, part: str, whole: str) -> str:
    """What rows of levels count: "28 of 60 at 4 in flight, 3 of 60 at 8 in flight"."""
    counted = zip(rows[part], rows[whole], rows["concurrency"], strict=True)
    return ", ".join(f"{k:.0f} of {n:.0f} at {level} in flight" for k, n, level in counted)


def judge_proof(levels: pd.DataFrame, candidate: str, baseline: str, level: int | None) -> tuple[str, str]:
    """Whether a candidate's answers are proven to be about their own images: Verdict.proof, and why.

    "met" needs a model that reads 80 % of its own codes one request at a time (the candidate, else the
    baseline), no other image's code at any level, and an upper bound (95 %) on mix-ups of 2 % at the chosen
    level (24 codes are too few to bound each level so). Signs decide only where there is no such proof.
    """
    rows, tested = levels[levels["server"] == candidate], levels[levels["n_proof"] > 0]
    ours = tested[tested["server"] == candidate]
    mixed, n_codes = ours[ours["n_code_other"] > 0], ours["n_code_own"].sum()
    others = f"{mixed['n_code_other'].sum():.0f} of {ours['n_proof'].sum():.0f} answers"
    where = tell_counts(mixed, "n_code_other", "n_proof")
    alone = tested[(tested["concurrency"] == 1) & tested["server"].isin([candidate, baseline])]
    alone = alone.sort_values("server", key=lambda names: names != candidate).head(1)
    reads = alone["n_code_own"].sum() >= READS_ENOUGH * alone["n_proof"].sum()
    chosen = level_row(ours, candidate, level).fillna({"n_code_own": 0, "mixup_upper": 1.0})
    is_met = len(alone) and reads and chosen["mixup_upper"] <= MIXED_UP_CHOSEN
    n_chosen, left = f"{chosen['n_code_own']:.0f}", f"up to {chosen['mixup_upper']:.1%} possible"
    clean = f"none of {n_codes:.0f} codes was another image's, none of {n_chosen} at {level} in flight"
    too_few = f"no mix-up was seen, but {n_chosen} codes at {level} in flight leave {left}"
    near = rows[rows["concurrency"].isin([1, level])]
    signs = near.loc[[is_suspicious(k, n) for k, n in zip(near["n_signs"], near["n_texts"], strict=True)]]
    seem, read = tell_counts(signs, "n_signs", "n_texts"), tell_counts(alone, "n_code_own", "n_proof")
    rules = (  # the first that applies
        (len(mixed), "mixed up", f"{others} were about another image ({where})"),
        (is_met, "met", f"{clean}, which leaves {left}"),
        (len(signs), "suspected", f"answers look like another image's: {seem}"),
        (ours.empty, "not tested", "image identity was not tested with codes"),
        (not reads, "cannot be proven", f"image identity cannot be proven with this model: it read {read}"),
        (alone.empty, "not yet", "image identity is not proven: no code was read at one request in flight"),
        (True, "not yet", f"image identity is not proven yet: {too_few} (wanted: {MIXED_UP_CHOSEN:.0%})"),
    )
    return next((proof, why) for applies, proof, why in rules if applies)


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

    ``chosen`` has every server whose pilot is finished: its level, None where none was without loss and
    mix-ups. ``n_sample`` frames take part, 0: all usable ones. ``set_aside`` says why faster levels were not
    chosen. Of ``setup`` the candidate's problems count. An unmeasured baseline took ``recorded_s_per_frame``.
    """
    level, rows = chosen.get(candidate), levels[levels["server"] == candidate]
    proof, why = judge_proof(levels, candidate, baseline, level)
    problems = [finding for finding in setup if (finding.state, finding.server) == ("problem", candidate)]
    known = [f"{problem.text.rstrip('.')}: {problem.to_do.rstrip('.')}" for problem in problems]
    confirmed = answers["complete"] & (answers["phase"] == "confirm") & (answers["server"] == candidate)
    found = asdict(speedup.estimate(blocks["log_ratio"], max_blocks))
    found = {name: None if pd.isna(value) else value for name, value in found.items()}
    reasons = (*set_aside, f"{why[0].upper()}{why[1:]}.", *(f"{text}." for text in known))
    found |= {"level": level, "baseline_level": chosen.get(baseline), "proof": proof, "reasons": reasons}
    found["n_frames"] = answers.loc[confirmed, "frame_id"].nunique()
    found["simulated"] = bool(answers.loc[answers["server"].isin([candidate, baseline]), "simulated"].any())
    found["recorded_baseline"] = recorded_s_per_frame is not None
    draft = Verdict(candidate=candidate, baseline=baseline, headline="", **found)

    to_do = "; ".join(known) or CURE
    is_clean = (rows["n_code_other"] == 0) & (rows["mixup_upper"] <= MIXED_UP_AT_MOST)
    clean = ", ".join(map(str, rows.loc[is_clean, "concurrency"])) or "none"
    cure = f"{to_do}; fewer in flight are no cure unless proven clean (such levels: {clean})"
    asked = count(rows["n_sent"].sum(), "request")
    lossy, n_lost = (blocks["candidate_lost"] > 0).sum(), blocks["candidate_lost"].sum()
    lost = f"{n_lost} of {blocks['n_frames'].sum()} frames, in {lossy} of {len(blocks)} blocks"
    gain = level_row(rows, candidate, level)["pilot_speedup"]
    seen = f"was {gain:.2f} × as fast" if gain > 0 else "was tried, no baseline beside it,"
    few = "; max_blocks is 1, and an interval needs two" if max_blocks else ", without interval"
    has_baseline = draft.recorded_baseline or draft.baseline_level is not None
    stoppers = (  # what keeps speed from deciding, the gravest first
        (proof == "mixed up", NOT_RECOMMENDED, f", however fast: {why}. {cure}"),
        (proof == "suspected", NOT_RECOMMENDED, f" until proven otherwise: {why}. {to_do}"),
        (not rows["n_answered"].sum(), NO_VERDICT, f": {candidate} answered none of {asked}"),
        (candidate not in chosen, NO_VERDICT, ": no level was chosen, for the pilot is not finished"),
        (level is None, NOT_RECOMMENDED, f": {candidate} lost answers at every level"),
        (lossy > 1, NOT_RECOMMENDED, f", however fast: {candidate} lost {lost}"),
        (not has_baseline, NO_VERDICT, ": no baseline was measured without loss, and none is recorded"),
        (max_blocks < 2, PILOT_ONLY, f": {candidate} at {level} in flight {seen} in one block{few}"),
        (not draft.n_blocks, NO_VERDICT, ": no confirmation block has answers of both sides"),
    )
    for applies, label, text in stoppers:
        if applies:
            ended = {"decided": label == NOT_RECOMMENDED, "open_above": False, "more_blocks": None}
            return replace(draft, label=label, headline=f"{label.capitalize()}{text}.", **ended)
    whom = f"this sample of {count(n_sample, 'frame')}" if n_sample else "the whole recording"
    reasons += (f"The interval speaks for {whom}.",)
    if draft.more_blocks == speedup.MANY_BLOCKS:
        near = min(STEPS, key=lambda step: abs(math.log(draft.speedup / step[0])))[0]
        reasons += (f"Even {draft.more_blocks} more blocks would hardly settle it: {near:g} × is too close.",)
    elif draft.more_blocks:
        reasons += (f"About {draft.more_blocks} more blocks would probably settle what is open.",)
    doubts = known + [why] * (proof != "met") + doubts_of(draft, blocks, levels, answers)
    headline = word_speed(draft, recorded_s_per_frame) + (f" But {'; '.join(doubts)}." if doubts else "")
    return replace(draft, headline=headline, reasons=reasons)


def word_speed(draft: Verdict, recorded_s: float | None) -> str:
    """The headline where speed decides: the label, the speed-up, and what it rests on."""
    lead, frames = draft.label.capitalize(), count(draft.n_frames, "frame")
    rests_on = f"{frames}, and one block gives no interval"
    if draft.low is not None:
        at_least, at_most = speedup.step_of(draft.low), speedup.step_of(draft.high)
        rests_on = f"{draft.confidence:.1%} interval from {draft.n_blocks} blocks and {frames}"
        if draft.label == speedup.INCONCLUSIVE:
            lead = f"Inconclusive between {at_least} and {at_most}"
        elif draft.open_above:
            lead = f"At least {at_least}, perhaps {at_most}"
    if draft.label == STEPS[-1][1] and draft.proof != "met":
        lead += ", image identity not proven"
    against = f"{draft.baseline} at {draft.baseline_level}"
    against = f"the recorded {recorded_s:g} s a frame" if recorded_s else against
    ratio = interval(draft.speedup, draft.low, draft.high)
    speed = f"{draft.candidate} at {draft.level} in flight is {ratio} as fast as {against}"
    return f"{lead}: {speed}; {rests_on}."


def doubts_of(draft: Verdict, blocks: pd.DataFrame, levels: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """What else is to be known of quality, loss and the baseline before acting on the label, as clauses."""
    change, low, high, n = quality_under_load(answers, draft.candidate, draft.level)
    worse = f"similarity {interval(change, low, high, '')} on {count(n, 'frame')}"
    alike = level_row(levels, draft.candidate, draft.level)["base_ratio"]
    itself = level_row(levels, draft.baseline, draft.baseline_level)["base_ratio"]
    ours, theirs = blocks["candidate_lost"].sum(), blocks["baseline_lost"].sum()
    frames = count(blocks["n_frames"].sum(), "frame")
    confused = levels.loc[levels["server"] == draft.baseline, "n_code_other"].sum()
    unlike = f"{alike:.2f}, those each other {itself:.2f}"
    doubts = (
        (draft.recorded_baseline, "the baseline is recorded, not measured"),
        (change < -QUALITY_MARGIN and high < 0, f"its answers get worse under load: {worse}"),
        (alike < itself / 2, f"its answers hardly resemble the baseline's: {unlike}"),
        (ours, f"the candidate lost {ours} of {frames}"),
        (theirs, f"the baseline lost {theirs} of {frames}"),
        (confused, f"{count(confused, 'answer')} of the baseline itself were about another image"),
    )
    return [doubt for applies, doubt in doubts if applies]


def criteria(
    verdict: Verdict, blocks: pd.DataFrame, levels: pd.DataFrame, answers: pd.DataFrame
) -> list[Finding]:
    """The plan's criteria for one candidate: ok: met, warning: open, problem: missed, note: unknown."""

    def judge(low: float | None, high: float | None, target: float) -> State:
        if pd.isna(low):
            return "note"
        return "ok" if low > target else "problem" if high < target else "warning"

    ours, confidence = level_row(levels, verdict.candidate, verdict.level), verdict.confidence or 0.95
    rates, others = (blocks[f"{side}_output_tok_per_s"].astype(float) for side in ("candidate", "baseline"))
    ratios = np.log(rates / others)
    rate = (ours["output_tok_per_s"] if blocks.empty else rates.mean(), *mean_interval(rates, confidence))
    ratio = np.exp([ratios.mean(), *mean_interval(ratios, confidence, LEAST_SPREAD)])
    tokens = f"{interval(*rate, ' tok/s', '.0f')}, {interval(*ratio)} the baseline's"
    either = (judge(*rate[1:], OUTPUT_TOK_PER_S), judge(*ratio[1:], 2.0))
    busy = min(either, key=("ok", "warning", "problem", "note").index)
    gain, wanted = interval(verdict.speedup, verdict.low, verdict.high), STEPS[0][0]
    fast = judge(verdict.low, verdict.high, wanted)
    itself = level_row(levels, verdict.baseline, verdict.baseline_level)["base_ratio"]
    apart = ours["base_ratio"] - itself
    good = judge(apart, apart, -QUALITY_MARGIN)
    alike, own = (interval(value, unit="") for value in (ours["base_ratio"], itself))
    *change, n = quality_under_load(answers, verdict.candidate, verdict.level)
    loaded = f"under load {interval(*change, '', '+.2f')} on {count(n, 'frame')}"
    match = f"Over 0.8 alike the stored text: {interval(100 * ours['match_rate'], unit='%', form='.0f')}"
    match += " (asked 80%, missed by right paraphrases)"
    why = judge_proof(levels, verdict.candidate, verdict.baseline, verdict.level)[1]
    proven = {"met": "ok", "mixed up": "problem", "suspected": "problem"}.get(verdict.proof, "warning")
    failed, sent = (interval(ours[name], unit="", form=".0f") for name in ("n_failed", "n_sent"))
    crashes = f"{failed} of {sent} requests at the chosen level failed"
    intact = "problem" if ours["n_failed"] > 0 else "ok" if ours["n_answered"] >= 50 else "warning"
    found = (
        (busy, f"Throughput: {tokens}. Asked: over {OUTPUT_TOK_PER_S:g} tok/s, or over 2 ×."),
        (fast, f"Speed-up: {gain} in frames/s. Asked: 2-3 ×, at least {wanted} ×."),
        (good, f"Match: {alike} alike the baseline (itself: {own}), {loaded}. {match}."),
        (proven, f"No image confusion: {why}."),
        (intact, f"No crashes: {crashes}. Asked: none over 50 frames."),
    )
    whose = ("", verdict.candidate, verdict.level or 0)
    return [Finding("criteria", state, text, *whose) for state, text in found]

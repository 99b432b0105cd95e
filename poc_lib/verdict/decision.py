"""The verdict on one candidate, taken on the lower bound of its speed-up."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from poc_lib.metrics import Baseline
from poc_lib.verdict.evidence import choose_level, count_leaks
from poc_lib.verdict.steps import INCONCLUSIVE, NOT_RECOMMENDED, STEPS


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to the project's question for one candidate, with the numbers it rests on."""

    label: str  # one of STEPS' names, NOT_RECOMMENDED or INCONCLUSIVE
    sentence: str  # computed, for people
    candidate: str
    concurrency: int | None  # the level it speaks of; None: no level answered every frame
    speedup_frames: float  # NaN where it cannot be computed
    speedup_low: float  # 95 % bounds that hold for all compared levels at once; NaN: not known
    speedup_high: float
    more_blocks: int | None  # that would settle it; None: settled, or more blocks cannot settle it
    baseline: Baseline
    simulated: bool
    leaked: bool  # an answer provably belongs to another image
    reservations: tuple[str, ...]  # what a reader must know before acting on the label

    @property
    def at_least(self) -> str:
        """The step that the lower bound reaches."""
        return step_of(self.speedup_low)

    @property
    def at_most(self) -> str:
        """The step that the upper bound reaches; without bounds nothing is excluded."""
        return STEPS[0][1] if math.isnan(self.speedup_high) else step_of(self.speedup_high)

    @property
    def headline(self) -> str:
        """The label as a title: how many blocks are missing, and whether there are reservations."""
        title = self.label[0].upper() + self.label[1:]
        if self.label != INCONCLUSIVE:
            noted = self.reservations and self.label != NOT_RECOMMENDED
            return f"{title}, with reservations" if noted else title
        if self.at_least != NOT_RECOMMENDED:
            title = f"At least {_with_article(self.at_least)}, inconclusive above that"
        if self.more_blocks is None:
            return title
        return f"{title}: run {self.more_blocks} more block{'s' if self.more_blocks > 1 else ''}"


def step_of(speedup: float) -> str:
    """The verdict's step for a speed-up in frames/s; NaN is no recommendation."""
    return next((label for threshold, label in STEPS if speedup >= threshold), NOT_RECOMMENDED)


def best_first(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts on several candidates, the highest lower bound first; leaking last."""

    def rank(verdict: Verdict) -> tuple:
        low = verdict.speedup_low if math.isfinite(verdict.speedup_low) else -1.0
        fast = verdict.speedup_frames if math.isfinite(verdict.speedup_frames) else -1.0
        return verdict.concurrency is None, verdict.leaked, -low, -fast

    return tuple(sorted(verdicts, key=rank))


def decide(
    candidate: str, speed: pd.DataFrame, canaries: pd.DataFrame, criteria: pd.DataFrame, baseline: Baseline
) -> Verdict:
    """The verdict on a candidate at its best level.

    The bounds of the speed-up set the step (≥ 3×, ≥ 2×, ≥ 1.5× in frames/s); bounds on two sides of a
    threshold, or none, make it "inconclusive". A proven leak between images at any level, or lost frames at
    every level, make it "not recommended" however fast.

    Args:
        speed: Analysis.speed.
        canaries: Analysis.canaries: one row a level with n_leaks; empty where none were sent.
        criteria: judge_criteria's table for the same candidate.
    """
    of_candidate = speed[speed["server"] == candidate]
    simulated = bool(speed["simulated"].any())
    nan = float("nan")
    best = choose_level(speed, candidate)
    if best is None:
        asked = "was asked nothing" if of_candidate.empty else "answered every frame at no concurrency level"
        sentence = f"{candidate} {asked}, so its speed does not count."
        return Verdict(
            NOT_RECOMMENDED, sentence, candidate, None, nan, nan, nan, None, baseline, simulated, False, ()
        )
    leaks = count_leaks(canaries, candidate)
    label = NOT_RECOMMENDED if leaks else _label(best)
    return Verdict(
        label=label,
        sentence=" ".join(filter(None, [_speed_sentence(best, baseline), _leak_sentence(leaks)])),
        candidate=candidate,
        concurrency=int(best["concurrency"]),
        speedup_frames=float(best["speedup_frames"]),
        speedup_low=float(best["simultaneous_low"]),
        speedup_high=float(best["simultaneous_high"]),
        more_blocks=_more_blocks(best) if label == INCONCLUSIVE else None,
        baseline=baseline,
        simulated=simulated,
        leaked=leaks > 0,
        reservations=tuple(_reservations(criteria, baseline, best)),
    )


def _label(best: pd.Series) -> str:
    if pd.isna(best["speedup_frames"]):
        return NOT_RECOMMENDED
    low, high = best["simultaneous_low"], best["simultaneous_high"]
    if pd.isna(low) or not (best["between_blocks_known"] and best["between_groups_known"]):
        return INCONCLUSIVE
    return step_of(low) if step_of(low) == step_of(high) else INCONCLUSIVE


def _more_blocks(best: pd.Series) -> int | None:
    return None if pd.isna(best["more_blocks"]) else int(best["more_blocks"])


def _speed_sentence(best: pd.Series, baseline: Baseline) -> str:
    """The speed-up with its interval and what that rests on."""
    at = f"{best['server']} at {int(best['concurrency'])} in flight"
    rate = f"{at} described {best['frames_per_s']:.2f} frames/s"
    if pd.isna(best["speedup_frames"]):
        return f"{rate}, but {baseline.name} answered nothing, so there is no speed-up."
    text = (
        f"{rate}, {best['speedup_frames']:.2f} × {baseline.label} with {baseline.frames_per_s:.2f} frames/s"
    )
    if pd.isna(best["simultaneous_low"]):
        return f"{text}. One block alone gives no interval."
    n_levels = int(best["n_simultaneous"])
    over = f", valid for {n_levels} levels at once (Bonferroni)" if n_levels > 1 else ""
    text += (
        f"; 95 % interval {best['simultaneous_low']:.2f} to {best['simultaneous_high']:.2f} ×{over}, "
        f"n = {int(best['n_frames'])} frames × {int(best['n_blocks'])} blocks."
    )
    if not best["between_blocks_known"]:
        text += " With one block it cannot hold what differs from one block to the next."
    elif not best["between_groups_known"]:
        text += " All frames look alike, so it holds for screens like these only."
    return text


def _leak_sentence(leaks: int) -> str:
    if not leaks:
        return ""
    what = "answer holds" if leaks == 1 else "answers hold"
    return f"But {leaks} {what} the code of another screenshot: a proven mix-up of images."


def _reservations(criteria: pd.DataFrame, baseline: Baseline, best: pd.Series) -> list[str]:
    notes = []
    if not baseline.measured:
        notes.append("the baseline is recorded, not measured: another machine, day and model version")
    elif not baseline.complete:
        notes.append(f"the baseline {baseline.name} lost frames itself")
    if best["interrupted"]:
        notes.append("the chosen level was measured in two sittings: the run was interrupted in it")
    for row in criteria.itertuples():
        if row.met is not True:
            state = "not met" if row.met is False else "not settled"
            notes.append(f"{row.criterion}: {state} ({row.found})")
    return notes


def _with_article(label: str) -> str:
    return label if label == "marginal" else f"a {label}"

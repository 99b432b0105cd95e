"""From tables to a verdict: the plan's success criteria, then one of four steps. Pure."""

from dataclasses import dataclass

import pandas as pd

from poc_lib.metrics import Baseline

STEPS = (
    (3.0, "strong recommendation"),
    (2.0, "recommendation"),
    (1.5, "marginal"),
)
NOT_RECOMMENDED = "not recommended"
SPEEDUP_TARGET = 1.5
SUSPICIONS = ("duplicates", "wrong_neighbours", "replays")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to the project's question, with the numbers it rests on."""

    label: str  # one of STEPS' names, or NOT_RECOMMENDED
    sentence: str  # computed, for people
    candidate: str
    concurrency: int | None  # the level it speaks of; None: no level answered every frame
    speedup_frames: float  # NaN where it cannot be computed
    baseline: Baseline
    simulated: bool
    reservations: tuple[str, ...]  # what a reader must know before acting on the label

    @property
    def headline(self) -> str:
        """The label as a title; reservations are announced where there are any."""
        title = self.label[0].upper() + self.label[1:]
        return f"{title}, with reservations" if self.reservations and self.label != NOT_RECOMMENDED else title


def judge_criteria(
    speed: pd.DataFrame,
    agreement: pd.DataFrame,
    confusion: pd.DataFrame,
    baseline: Baseline,
    target_tok_per_s: float,
    target_match_rate: float,
    n_planned: int | None = None,
) -> pd.DataFrame:
    """The success criteria: criterion, target, found, met (True, False or None: cannot be judged), rests_on.

    Args:
        speed: metrics.summarize_speed with metrics.add_speedup.
        agreement: accuracy.summarize_agreement.
        confusion: confusion.summarize_confusion.
        target_match_rate: share of answers that must match the stored reference, 0 to 1.
        n_planned: requests planned for the candidate, where cells may be missing from ``speed``.
    """
    best = fastest_complete(speed)
    rows = [
        _throughput(best, baseline, target_tok_per_s),
        _speedup(best, baseline),
        _match_rate(best, agreement, target_match_rate),
        _no_confusion(confusion),
        _no_crashes(speed, n_planned),
    ]
    table = pd.DataFrame(rows, columns=["criterion", "target", "found", "met", "rests_on"])
    return table.astype({"met": object})  # True, False and None stay what they are, whichever occur


def decide(
    speed: pd.DataFrame, confusion: pd.DataFrame, criteria: pd.DataFrame, baseline: Baseline
) -> Verdict:
    """The four-step verdict on the fastest level that answered every frame.

    Speed sets the step (≥ 3×, ≥ 2×, ≥ 1.5× in frames/s); lost frames at every level, or answers at the
    chosen level that may belong to another image, make it "not recommended" however fast.
    """
    best = fastest_complete(speed)
    candidates = speed.loc[speed["role"] == "candidate", "server"]
    candidate = "the candidate" if candidates.empty else str(candidates.iloc[0])
    simulated = bool(speed["simulated"].any())
    if best is None:
        sentence = f"{candidate} answered every frame at no concurrency level, so its speed does not count."
        return Verdict(NOT_RECOMMENDED, sentence, candidate, None, float("nan"), baseline, simulated, ())
    level, speedup = int(best["concurrency"]), float(best["speedup_frames"])
    suspicious = _suspicions_at(confusion, level)
    label = NOT_RECOMMENDED if suspicious else step_of(speedup)
    return Verdict(
        label=label,
        sentence=_sentence(candidate, best, baseline, suspicious),
        candidate=candidate,
        concurrency=level,
        speedup_frames=speedup,
        baseline=baseline,
        simulated=simulated,
        reservations=tuple(_reservations(criteria, baseline)),
    )


def step_of(speedup: float) -> str:
    """The verdict's step for a speed-up in frames/s; NaN is no recommendation."""
    return next((label for threshold, label in STEPS if speedup >= threshold), NOT_RECOMMENDED)


def fastest_complete(speed: pd.DataFrame) -> pd.Series | None:
    """The candidate's fastest level (frames/s) among those that answered every frame."""
    complete = speed[(speed["role"] == "candidate") & speed["complete"]]
    return None if complete.empty else complete.sort_values("frames_per_s").iloc[-1]


def _sentence(candidate: str, best: pd.Series, baseline: Baseline, suspicious: int) -> str:
    level = int(best["concurrency"])
    if pd.isna(best["speedup_frames"]):
        return (
            f"{candidate} at {level} in flight described {best['frames_per_s']:.2f} frames/s, but "
            f"{baseline.name} answered nothing, so there is no speed-up."
        )
    text = (
        f"{candidate} at {level} in flight described {best['frames_per_s']:.2f} frames/s, "
        f"{best['speedup_frames']:.2f} × {baseline.label} with {baseline.frames_per_s:.2f} frames/s."
    )
    if suspicious:
        text += f" But {suspicious} of its answers at this level may belong to another image."
    return text


def _reservations(criteria: pd.DataFrame, baseline: Baseline) -> list[str]:
    notes = []
    if not baseline.measured:
        notes.append("the baseline is recorded, not measured: another machine, day and model version")
    elif not baseline.complete:
        notes.append(f"the baseline {baseline.name} lost frames itself")
    for row in criteria.itertuples():
        if row.met is not True:
            state = "not met" if row.met is False else "cannot be judged"
            notes.append(f"{row.criterion}: {state} ({row.found})")
    return notes


def _criterion(criterion: str, target: str, found: str, met: bool | None, rests_on: str) -> dict:
    return {"criterion": criterion, "target": target, "found": found, "met": met, "rests_on": rests_on}


def _throughput(best: pd.Series | None, baseline: Baseline, target: float) -> dict:
    double = 2 * baseline.output_tok_per_s
    wanted = f"> {target:.0f} output tok/s, or > 2 × the measured baseline"
    if best is None or pd.isna(best["output_tok_per_s"]):
        return _criterion("throughput", wanted, "no token rate", None, "no complete level with token counts")
    found = float(best["output_tok_per_s"])
    met = bool(found > target or (baseline.measured and found > double))
    rests_on = f"{int(best['concurrency'])} in flight"
    if baseline.measured and pd.notna(double):
        rests_on += f"; 2 × {baseline.label} is {double:.1f} tok/s"
    return _criterion("throughput", wanted, f"{found:.1f} output tok/s", met, rests_on)


def _speedup(best: pd.Series | None, baseline: Baseline) -> dict:
    wanted = f"2-3 ×, at least {SPEEDUP_TARGET} × in frames/s"
    if best is None or pd.isna(best["speedup_frames"]):
        return _criterion("speed-up", wanted, "no speed-up", None, "no complete level")
    found = f"{best['speedup_frames']:.2f} × in frames/s"
    if pd.notna(best["speedup_tokens"]):
        found += f", {best['speedup_tokens']:.2f} × in output tok/s"
    met = bool(best["speedup_frames"] >= SPEEDUP_TARGET)
    return _criterion(
        "speed-up", wanted, found, met, f"{int(best['concurrency'])} in flight, {baseline.label}"
    )


def _match_rate(best: pd.Series | None, agreement: pd.DataFrame, target: float) -> dict:
    wanted = f"> {target:.0%} of answers match the stored reference"
    rows = agreement[(agreement["role"] == "candidate") & (agreement["against"] == "stored reference")]
    rows = rows[rows["concurrency"] == best["concurrency"]] if best is not None else rows.iloc[:0]
    n = int(rows["n_scored"].sum())
    if n == 0:
        return _criterion("match rate", wanted, "nothing to score", None, "n = 0")
    rate = float(rows["match_rate"].iloc[0])
    rests_on = f"difflib ratio above the threshold, n = {n}, {int(best['concurrency'])} in flight"
    return _criterion("match rate", wanted, f"{rate:.0%}", rate > target, rests_on)


def _no_confusion(confusion: pd.DataFrame) -> dict:
    rows = confusion[confusion["role"] == "candidate"]
    judged, answers = int(rows["n_judged"].sum()), int(rows["n_answers"].sum())
    counts = {kind: int(rows[kind].sum()) for kind in SUSPICIONS}
    found = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in counts.items())
    seen = sum(counts.values()) > 0
    met = False if seen else True if judged else None
    rests_on = f"{judged} of {answers} answers could be told to fit one image"
    return _criterion("no image confusion", "0 suspicious answers at every level", found, met, rests_on)


def _no_crashes(speed: pd.DataFrame, n_planned: int | None) -> dict:
    rows = speed[speed["role"] == "candidate"]
    sent, failed = int(rows["n_requests"].sum()), int(rows["n_failed"].sum())
    asked = n_planned or sent + int(rows["n_not_sent"].sum())
    missing = asked - sent
    found = f"{failed} failed, {missing} not sent"
    return _criterion(
        "no crashes", "0 failures, every frame answered", found, failed + missing == 0, f"n = {asked}"
    )


def _suspicions_at(confusion: pd.DataFrame, level: int) -> int:
    rows = confusion[(confusion["role"] == "candidate") & (confusion["concurrency"] == level)]
    return int(rows[list(SUSPICIONS)].to_numpy().sum())

"""What follows from the result: sentences by rule, the most pressing first."""

from poc_lib.analysis import Analysis
from poc_lib.params import Params
from poc_lib.report.choice import candidate_rows, count_suspicious, of_candidate
from poc_lib.report.wording import count
from poc_lib.verdict import INCONCLUSIVE, NOT_RECOMMENDED

SMALL_N = 30


def next_steps(analysis: Analysis, params: Params) -> tuple[str, ...]:
    """What to do about it: one sentence for each rule that holds, the most pressing first."""
    rules = (
        _step_simulated, _step_failures, _step_confusion, _step_not_judged, _step_recorded,
        _step_lost_baseline, _step_match, _step_inconclusive, _step_few, _step_higher, _step_verdict,
    )  # fmt: skip
    return tuple(sentence for rule in rules for sentence in [rule(analysis, params)] if sentence)


def _step_simulated(analysis: Analysis, params: Params) -> str | None:
    if analysis.run.simulated:
        return (
            "Measure real servers: start them, then `python -m poc_lib run --params params/escribano.yaml`."
        )
    return None


def _step_failures(analysis: Analysis, params: Params) -> str | None:
    if not len(analysis.failures):
        return None
    worst = analysis.failures.sort_values("n").iloc[-1]
    advice = FAILURE_ADVICE.get(worst["error_class"], "read the server's log for that time")
    return (
        f"Look into the failures first, starting with '{worst['error_class']}' at {worst['concurrency']} in "
        f"flight: {advice}."
    )


FAILURE_ADVICE = {
    "connect": "see whether the server is still running, and whether it ended by itself",
    "timeout": "see whether one long answer held a whole batch, and lower `max_tokens`",
    "busy": "see whether the server was started with `--continuous-batching`",
    "empty": "see whether the model spends all its tokens on thinking",
    "truncated": "see whether the server ran out of memory",
    "server_error": "read the example above and the server's log for that time",
}


def _step_confusion(analysis: Analysis, params: Params) -> str | None:
    rows = of_candidate(analysis, analysis.confusion)
    suspicious = sum(count_suspicious(row) for _, row in rows.iterrows())
    if not (analysis.verdict.leaked or suspicious):
        return None
    first = "Do not use these answers" if analysis.verdict.leaked else "Do not use these answers yet"
    return (
        f"{first}: look at the suspicious samples. If this is vllm-mlx before 0.6.0, "
        "upgrade it or start it with `--disable-prefix-cache`: its cache does not tell images apart. Then "
        "measure again."
    )


def _step_not_judged(analysis: Analysis, params: Params) -> str | None:
    if int(analysis.confusion["n_judged"].sum()):
        return None
    return "Choose a recording with stored descriptions: without them nothing can be judged."


def _step_recorded(analysis: Analysis, params: Params) -> str | None:
    if analysis.baseline.measured:
        return None
    return (
        "Start Ollama on the same machine, set `baseline_url` and measure both: the baseline here is "
        "recorded, not measured."
    )


def _step_lost_baseline(analysis: Analysis, params: Params) -> str | None:
    if analysis.baseline.complete:
        return None
    return f"Repair {analysis.baseline.name} before trusting the speed-up: the baseline lost frames itself."


def _step_match(analysis: Analysis, params: Params) -> str | None:
    met = analysis.criteria.set_index("criterion")["met"].get("match rate")
    if met is not False:
        return None
    return (
        "Read the samples before taking the match rate for a lack of quality: paraphrases score far below "
        f"{params.match_threshold:g}, so compare it with the baseline's own rate."
    )


def _step_inconclusive(analysis: Analysis, params: Params) -> str | None:
    """What would settle an open verdict: more blocks, more frames, or nothing within reach."""
    verdict = analysis.verdict
    if verdict.label != INCONCLUSIVE:
        return None
    measured = analysis.run.facts["params"]["blocks"]
    if verdict.more_blocks:
        return (
            f"Run {count(verdict.more_blocks, 'more block', 'more blocks')}: the same command with `--blocks "
            f"{measured + verdict.more_blocks}` adds them to this run, and would settle the verdict if the "
            "estimates stay as they are."
        )
    return (
        "More blocks will not settle the verdict: the speed-up lies close to a threshold, or frames differ "
        f"more than blocks do. Send more frames than {len(analysis.frames)}, from more of the day, or "
        "decide on the lower bound."
    )


def _step_few(analysis: Analysis, params: Params) -> str | None:
    n = len(analysis.frames)
    if n >= SMALL_N:
        return None
    return f"Send more frames: with n = {n} the intervals are wide. `--frames 50` narrows them."


def _step_higher(analysis: Analysis, params: Params) -> str | None:
    highest = int(candidate_rows(analysis)["concurrency"].max())
    if analysis.verdict.concurrency != highest or analysis.verdict.label == NOT_RECOMMENDED:
        return None
    return f"Try more than {highest} in flight: the highest level measured was also the fastest."


def _step_verdict(analysis: Analysis, params: Params) -> str | None:
    good = analysis.verdict.label in ("recommendation", "strong recommendation")
    if not good or analysis.run.simulated or analysis.verdict.reservations:
        return None
    return f"Switch to {analysis.verdict.candidate} with {analysis.verdict.concurrency} requests in flight."

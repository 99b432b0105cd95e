"""What the numbers say, and what follows from them: sentences by rule, every number computed."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.params import Params
from poc_lib.report.choice import (
    agreement_row,
    candidate_rows,
    chosen_level,
    count_suspicious,
    measured_baseline,
    of_candidate,
    speed_row,
)
from poc_lib.report.wording import count, interval, list_words, number, seconds, share, times
from poc_lib.verdict import NOT_RECOMMENDED

LENGTHS_DIFFER = 0.1  # relative; below it, two mean answer lengths count as equal
SMALL_N = 30


def key_findings(analysis: Analysis) -> tuple[str, ...]:
    """What the tables say, in full sentences."""
    rules = (
        _scaling,
        _without_batching,
        _waiting,
        _recording_time,
        _lengths,
        _accuracy,
        _confusion,
        _failures,
    )
    return tuple(sentence for rule in rules for sentence in [rule(analysis)] if sentence)


def _scaling(analysis: Analysis) -> str | None:
    rows = candidate_rows(analysis).dropna(subset=["frames_per_s"])
    complete = rows[rows["complete"]]
    if len(complete) < 2:
        return None
    low, best = complete.iloc[0], complete.sort_values("frames_per_s").iloc[-1]
    if low["concurrency"] == best["concurrency"]:
        return (
            f"More requests in flight brought {analysis.verdict.candidate} nothing: "
            f"{int(low['concurrency'])} in flight was its fastest complete level."
        )
    gain = best["frames_per_s"] / low["frames_per_s"]
    text = (
        f"Going from {int(low['concurrency'])} to {int(best['concurrency'])} in flight raised "
        f"{analysis.verdict.candidate} from {number(low['frames_per_s'])} to "
        f"{number(best['frames_per_s'])} frames/s, {times(gain)}."
    )
    higher = rows[rows["concurrency"] > best["concurrency"]]
    if len(higher):
        levels = list_words([str(level) for level in higher["concurrency"]])
        text += f" Above that, at {levels}, it was not faster or lost frames."
    return text


def _without_batching(analysis: Analysis) -> str | None:
    rows = candidate_rows(analysis)
    alone = rows[(rows["concurrency"] == 1) & rows["complete"]]
    level = analysis.verdict.concurrency
    if alone.empty or level in (None, 1):
        return None
    best = speed_row(analysis, level)
    return (
        f"One request at a time, it is already {times(alone['speedup_frames'].iloc[0])} the baseline in "
        f"frames/s; with {level} in flight it is {times(best['speedup_frames'])}. Only the difference is due "
        "to concurrency."
    )


def _waiting(analysis: Analysis) -> str | None:
    rows = candidate_rows(analysis).dropna(subset=["ttft_p50_s"])
    level = analysis.verdict.concurrency
    if level is None or len(rows) < 2 or rows["concurrency"].iloc[0] == level:
        return None
    low, best = rows.iloc[0], speed_row(analysis, level)
    return (
        f"A single answer waits longer for it: median time to first token {seconds(low['ttft_p50_s'])} at "
        f"{int(low['concurrency'])} in flight, {seconds(best['ttft_p50_s'])} at {level}."
    )


def _recording_time(analysis: Analysis) -> str | None:
    frames = analysis.run.facts["recording_frames"]
    rate, base = speed_row(analysis, chosen_level(analysis))["frames_per_s"], analysis.baseline.frames_per_s
    if pd.isna(rate):
        return None
    return (
        f"The whole recording of {count(frames, 'frame')} would take {number(frames / rate / 60, 1)} min at "
        f"this rate, and {number(frames / base / 60, 1)} min at the rate of {analysis.baseline.label}."
    )


def _lengths(analysis: Analysis) -> str | None:
    base = measured_baseline(analysis)
    mine = speed_row(analysis, chosen_level(analysis))["tokens_per_answer"]
    if base.empty or pd.isna(mine) or pd.isna(base["tokens_per_answer"].iloc[0]):
        return None
    theirs = base["tokens_per_answer"].iloc[0]
    if abs(mine / theirs - 1) <= LENGTHS_DIFFER:
        return (
            f"Answers are about equally long ({number(mine, 0)} and {number(theirs, 0)} tokens), so frames/s "
            "compares like with like."
        )
    longer = "longer" if mine > theirs else "shorter"
    return (
        f"Its answers are {longer} than the baseline's ({number(mine, 0)} against {number(theirs, 0)} "
        "tokens): compare output tok/s as well as frames/s, since a shorter answer looks faster."
    )


def _accuracy(analysis: Analysis) -> str | None:
    row = agreement_row(analysis, chosen_level(analysis))
    if row is None or not row["n_scored"]:
        return None
    text = (
        f"{share(row['match_rate'])} of its answers match the stored reference "
        f"(95 % interval {interval(row)}, n = {int(row['n_scored'])})"
    )
    base = measured_baseline(analysis)
    theirs = (
        None if base.empty else agreement_row(analysis, analysis.baseline.concurrency, analysis.baseline.name)
    )
    if theirs is not None and theirs["n_scored"]:
        rate, n = share(theirs["match_rate"]), int(theirs["n_scored"])
        text += f"; of the baseline's own answers {rate} do (n = {n}), which is the yardstick"
    return f"{text}."


def _confusion(analysis: Analysis) -> str | None:
    rows = of_candidate(analysis, analysis.confusion)
    levels = [(int(row["concurrency"]), count_suspicious(row)) for _, row in rows.iterrows()]
    found = [f"{n} at {level} in flight" for level, n in levels if n]
    if found:
        return f"Signs that answers were given to the wrong image: {list_words(found)}."
    judged = int(rows["n_judged"].sum())
    if not judged:
        return "Whether answers belong to their images could not be judged."
    return (
        f"No answer of {analysis.verdict.candidate} seems to belong to another image (n = {judged} judged)."
    )


def _failures(analysis: Analysis) -> str | None:
    rows = analysis.speed[analysis.speed["n_failed"] > 0]
    if rows.empty:
        return f"No request failed (n = {int(analysis.speed['n_requests'].sum())})."
    where = [
        f"{r.n_failed} of {r.n_requests} at {r.server}, {r.concurrency} in flight" for r in rows.itertuples()
    ]
    return f"Requests failed: {list_words(where)}."


def next_steps(analysis: Analysis, params: Params) -> tuple[str, ...]:
    """What to do about it: one sentence for each rule that holds, the most pressing first."""
    rules = (
        _step_simulated, _step_failures, _step_confusion, _step_not_judged, _step_recorded,
        _step_lost_baseline, _step_match, _step_marginal, _step_few, _step_higher, _step_verdict,
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
    if not sum(count_suspicious(row) for _, row in rows.iterrows()):
        return None
    return (
        "Do not use these answers yet: look at the suspicious samples. If this is vllm-mlx before 0.6.0, "
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


def _step_marginal(analysis: Analysis, params: Params) -> str | None:
    if analysis.verdict.label != "marginal":
        return None
    return f"Repeat it, the gain is small: `--blocks {max(3, params.blocks + 2)}` shows whether it holds."


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

"""What the numbers say: sentences by rule, every number computed."""

import pandas as pd

from poc_lib.accuracy import JUDGED_BY, level_sentence
from poc_lib.analysis import Analysis
from poc_lib.canary import canary_sentences
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

LENGTHS_DIFFER = 0.1  # relative; below it, two mean answer lengths count as equal


def key_findings(analysis: Analysis) -> tuple[str, ...]:
    """What the tables say, in full sentences."""
    rules = (
        _scaling,
        _without_batching,
        _waiting,
        _recording_time,
        _lengths,
        _accuracy,
        _quality_under_load,
        _confusion,
        _failures,
    )
    if _alarmed(analysis):
        rules = (_confusion, *(rule for rule in rules if rule is not _confusion))
    return tuple(sentence for rule in rules for sentence in [rule(analysis)] if sentence)


def _alarmed(analysis: Analysis) -> bool:
    """Whether answers of the candidate belong, or seem to belong, to another image at some level."""
    rows = of_candidate(analysis, analysis.confusion)
    return analysis.verdict.leaked or any(count_suspicious(row) for _, row in rows.iterrows())


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
        f"One request at a time, it is {times(alone['speedup_frames'].iloc[0])} the baseline in "
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


def _quality_under_load(analysis: Analysis) -> str | None:
    """Whether parallel requests cost quality, at the chosen level."""
    rows = of_candidate(analysis, analysis.quality.levels)
    chosen = rows[(rows["concurrency"] == chosen_level(analysis)) & (rows["measure"] == JUDGED_BY)]
    return None if chosen.empty else level_sentence(chosen.iloc[0])


def _confusion(analysis: Analysis) -> str | None:
    """Proofs first, then suspicions; and how sure their absence is."""
    candidate = analysis.verdict.candidate
    coded = canary_sentences(of_candidate(analysis, analysis.canaries)).get(candidate)
    rows = of_candidate(analysis, analysis.confusion)
    levels = [(int(row["concurrency"]), count_suspicious(row)) for _, row in rows.iterrows()]
    found = [f"{n} at {level} in flight" for level, n in levels if n]
    judged = int(rows["n_judged"].sum())
    if found:
        where = list_words(found)
        text = f"Signs, more than chance explains, of answers given to the wrong image: {where}."
    elif judged:
        text = f"The texts show no answer about another image (n = {judged} judged)."
    else:
        text = "Whether answers fit their images could not be judged by their texts."
    return f"{coded} {text}" if coded else text


def _failures(analysis: Analysis) -> str | None:
    rows = analysis.speed[analysis.speed["n_failed"] > 0]
    if rows.empty:
        return f"No measured request failed (n = {int(analysis.speed['n_requests'].sum())})."
    where = [
        f"{r.n_failed} of {r.n_requests} at {r.server}, {r.concurrency} in flight" for r in rows.itertuples()
    ]
    return f"Requests failed: {list_words(where)}."

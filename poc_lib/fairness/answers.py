"""Fairness of what was asked and answered: lengths, thinking, prompts, temperature."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from poc_lib.fairness.line import DIFFERS, FairnessLine, answered, compared, severity_of
from poc_lib.metrics import Baseline


def length_lines(requests: pd.DataFrame, baseline: Baseline) -> Iterator[FairnessLine]:
    """Answers of another length than the baseline's, by the mean of output tokens an answer."""
    for name, ours, theirs in compared(answered(requests), baseline):
        our_tokens, their_tokens = ours["output_tokens"].dropna(), theirs["output_tokens"].dropna()
        if our_tokens.empty or their_tokens.empty:
            continue
        ratio = our_tokens.mean() / their_tokens.mean() if their_tokens.mean() > 0 else float("nan")
        severity = severity_of(ratio)
        if severity:
            yield FairnessLine(
                "answer length",
                f"{name} wrote {our_tokens.mean():.0f} tokens an answer (n = {len(our_tokens)}), "
                f"{baseline.name} {their_tokens.mean():.0f} (n = {len(their_tokens)}): {ratio:.2f} × that.",
                severity,
                f"Frames/s favours {name if ratio < 1 else baseline.name}; the length-matched rate corrects "
                "that.",
            )


def thinking_lines(
    requests: pd.DataFrame, identities: Iterable[Mapping], baseline: Baseline
) -> Iterator[FairnessLine]:
    """Thinking on one side only, or on both; and models that can think but did not."""
    ok = answered(requests)
    thinking = {name: rows["reasoning_chars"].gt(0) for name, rows in ok.groupby("server", sort=False)}
    for name, ours, theirs in compared(ok, baseline):
        our_share, their_share = (rows["reasoning_chars"].gt(0).mean() for rows in (ours, theirs))
        if our_share == their_share == 0:
            continue
        one_sided = abs(our_share - their_share) > DIFFERS
        yield FairnessLine(
            "thinking",
            f"{our_share:.0%} of {name}'s answers (n = {len(ours)}) and {their_share:.0%} of "
            f"{baseline.name}'s (n = {len(theirs)}) were preceded by thinking.",
            "warning" if one_sided else "note",
            "Thinking counts as output tokens and as time, but is no part of the answer"
            + ("; compare two instruct or two thinking models." if one_sided else "."),
        )
    for identity in identities:
        capable = "thinking" in ((identity.get("details") or {}).get("capabilities") or [])
        thought = thinking.get(identity["name"], pd.Series(dtype=bool))
        if capable and len(thought) and not thought.any():
            yield FairnessLine(
                "thinking",
                f"{identity['name']}'s model can think, but none of its {len(thought)} answers shows any.",
                "note",
                "Some versions count hidden thinking as output tokens: compare the answers' token counts.",
            )


def prompt_lines(requests: pd.DataFrame, baseline: Baseline) -> Iterator[FairnessLine]:
    """Other prompt token counts for the same frame: the image was scaled or the prompt wrapped otherwise."""
    for name, ours, theirs in compared(answered(requests), baseline):
        counts = [
            rows[rows["prompt_tokens"] > 0].groupby("frame_id")["prompt_tokens"].mean()
            for rows in (ours, theirs)
        ]
        pairs = pd.concat(counts, axis=1, join="inner", keys=["ours", "theirs"])
        ratio = float((pairs["ours"] / pairs["theirs"]).median()) if len(pairs) else float("nan")
        severity = severity_of(ratio)
        if severity:
            yield FairnessLine(
                "prompt tokens",
                f"For the same frame {name} counted {ratio:.2f} × {baseline.name}'s prompt tokens (median "
                f"of n = {len(pairs)} frames: {pairs['ours'].median():.0f} and "
                f"{pairs['theirs'].median():.0f}).",
                severity,
                "The servers scale images differently, or one does not count them all: prefill is not like "
                "for like, and fewer image tokens may cost detail.",
            )


def temperature_lines(params: Mapping) -> Iterator[FairnessLine]:
    """Answers that differ by chance."""
    temperature = params.get("temperature") or 0
    if temperature > 0:
        yield FairnessLine(
            "temperature",
            f"Answers were sampled at temperature {temperature:g}: they differ by chance.",
            "note",
            "Differences of a few points between answers of two levels or servers need not mean anything.",
        )

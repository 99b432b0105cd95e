"""What the notebooks show of a run: its tables in words, its verdict, its findings."""

import html

import pandas as pd
from IPython.display import HTML, Markdown

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.metrics import LEVEL
from poc_lib.report import key_findings
from poc_lib.report.choice import of_candidate
from poc_lib.verdict import SUSPICIONS, Verdict
from poc_lib.views.setup import SIMULATED
from poc_lib.views.tables import table


def speed_table(analysis: Analysis) -> HTML | Markdown:
    """The speed table with units in its headings, peak memory and queue beside it where they were sampled."""
    columns = {
        "server": "server",
        "concurrency": "in flight",
        "simulated": "simulated",
        "n_ok": "answered",
        "n_failed": "failed",
        "frames_per_s": "frames/s",
        "s_per_frame": "s/frame",
        "output_tok_per_s": "output tok/s",
        "total_tok_per_s": "total tok/s",
        "speedup_frames": "speed-up (frames/s)",
        "speedup_frames_low": "from",
        "speedup_frames_high": "to (95 %)",
        "speedup_tokens": "speed-up (tok/s)",
        "ttft_p50_s": "TTFT p50 [s]",
        "ttft_p95_s": "TTFT p95 [s]",
        "total_p50_s": "total p50 [s]",
        "total_p95_s": "total p95 [s]",
        "tokens_per_answer": "tokens/answer",
        "mean_in_flight": "mean in flight",
        "recording_min": "whole recording [min]",
        "memory_peak_gb": "peak memory [GB]",
        "waiting_max": "most waiting",
        "interrupted": "interrupted",
    }
    sampled = analysis.telemetry[[*LEVEL, "memory_peak_gb", "waiting_max"]]
    merged = analysis.speed.merge(sampled, on=LEVEL, how="left")
    return table(merged[list(columns)].rename(columns=columns))


def speed_sentence(analysis: Analysis) -> Markdown:
    """The benchmark's finding, computed."""
    return Markdown(_marked(analysis, analysis.verdict.sentence))


def quality_sentence(analysis: Analysis) -> Markdown:
    """The accuracy notebook's finding, computed, each number with its n."""
    rows = of_candidate(analysis, analysis.confusion)
    answers = int(rows["n_answers"].sum())
    suspicious = {kind: int(rows[kind].sum()) for kind in SUSPICIONS}
    match = analysis.criteria[analysis.criteria["criterion"] == "match rate"].iloc[0]
    counted = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in suspicious.items())
    text = f"Match with the stored reference: {match['found']} ({match['rests_on']}). "
    text += f"Among {answers} answers of {analysis.verdict.candidate}: {counted}."
    return Markdown(_marked(analysis, text))


def verdict_banner(verdict: Verdict) -> HTML:
    """The verdict, what it rests on, and what to know before acting on it."""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in verdict.reservations)
    simulated = f"<p><b>{SIMULATED}</b></p>" if verdict.simulated else ""
    return HTML(
        f'<div style="border-left:.3em solid #0072b2;padding:.5em 1em">{simulated}'
        f'<p style="font-size:1.6em;margin:0">{html.escape(verdict.headline)}</p>'
        f"<p>{html.escape(verdict.sentence)}</p><ul>{notes}</ul></div>"
    )


def findings(analysis: Analysis) -> Markdown:
    """What the tables say, as computed sentences."""
    lines = [f"- {sentence}" for sentence in key_findings(analysis)]
    return Markdown(_marked(analysis, "\n\n" + "\n".join(lines)))


def criteria_table(criteria: pd.DataFrame) -> HTML | Markdown:
    """The success criteria in words: met, not met, or not settled."""
    words = {True: "✓ met", False: "✗ not met", None: "? not settled"}
    shown = criteria.assign(met=[words[met] for met in criteria["met"]])
    return table(shown.rename(columns={"rests_on": "rests on"}))


def speed_and_quality(analysis: Analysis) -> HTML | Markdown:
    """One row per server and level: how fast, how many lost, how close to the reference, how suspicious."""
    stored = analysis.agreement[analysis.agreement["against"] == STORED_REFERENCE]
    merged = analysis.speed.merge(stored, on=LEVEL, how="left").merge(
        analysis.confusion, on=LEVEL, how="left"
    )
    columns = {
        "server": "server",
        "concurrency": "in flight",
        "n_ok": "answered",
        "n_failed": "failed",
        "frames_per_s": "frames/s",
        "output_tok_per_s": "output tok/s",
        "speedup_frames": "speed-up (frames/s)",
        "ttft_p50_s": "TTFT p50 [s]",
        "match_rate": "match rate",
        "tfidf_mean": "TF-IDF cosine",
        "n_scored": "n scored",
        **{sign: sign.replace("_", " ") for sign in SUSPICIONS},
    }
    return table(merged[list(columns)].rename(columns=columns))


def _marked(analysis: Analysis, text: str) -> str:
    return f"**{SIMULATED}** {text}" if analysis.run.simulated else text

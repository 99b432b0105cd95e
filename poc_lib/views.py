"""What the notebooks show: tables, banners, galleries, computed sentences. Model text is always escaped."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML, Markdown

from poc_lib.accuracy import STORED_REFERENCE
from poc_lib.analysis import Analysis
from poc_lib.benchmark import CellOutcome
from poc_lib.escribano import PastSpeed
from poc_lib.metrics import LEVEL
from poc_lib.params import Params
from poc_lib.plan import describe_cell
from poc_lib.records import Reply, ServerIdentity
from poc_lib.report import key_findings
from poc_lib.report.choice import of_candidate
from poc_lib.verdict import SUSPICIONS, Verdict

SIMULATED = "SIMULATED — these numbers show the tool, not a server."
_WIDE = "overflow:auto;max-width:100%"
_SCROLL = f"{_WIDE};max-height:36em"
MANY_ROWS = 30  # a longer table scrolls in its own box
SHORT_TEXT = 24  # characters that stay on one line
_NOTE = "border-left:.3em solid #d55e00;padding:.5em 1em;background:rgba(213,94,0,.1);font-weight:600"


def table(content: pd.DataFrame | Mapping, *names: str, empty: str = "Nothing to show.") -> HTML | Markdown:
    """Any table of the library, or a mapping as two named columns; a long one scrolls in its own box."""
    frame = content if isinstance(content, pd.DataFrame) else pd.DataFrame(content.items(), columns=names)
    if frame.empty:
        return Markdown(empty)
    box = _SCROLL if len(frame) > MANY_ROWS else _WIDE
    return HTML(f'<div style="{box}">{_table_html(frame)}</div>')


def state_banner(state: str) -> HTML:
    """READY or not, in large letters."""
    return HTML(f'<p style="font-size:1.6em;font-weight:600">{html.escape(state)}</p>')


def params_table(params: Params) -> HTML:
    """The validated parameters, with what each means; those that differ from the demo's come first."""
    rows = [
        {"parameter": name, "value": str(getattr(params, name)), "meaning": info.description, "set": changed}
        for name, info in Params.model_fields.items()
        for changed in [getattr(params, name) != info.default]
    ]
    frame = pd.DataFrame(rows).sort_values("set", ascending=False, kind="stable").drop(columns="set")
    summary = f"{sum(row['set'] for row in rows)} of {len(rows)} parameters set, the others at their defaults"
    return HTML(
        f'<details><summary>{summary}</summary><div style="{_SCROLL}">{_table_html(frame)}</div></details>'
    )


def simulated_banner(servers: Sequence[ServerIdentity | Mapping]) -> HTML:
    """A plain warning when any server is the embedded simulator; otherwise who is measured."""
    named = [server if isinstance(server, Mapping) else _as_mapping(server) for server in servers]
    if any(server["simulated"] for server in named):
        return HTML(f'<div style="{_NOTE}">{SIMULATED}</div>')
    names = " and ".join(html.escape(f"{server['name']} at {server['url']}") for server in named)
    return HTML(f"<p>Measured on real servers: {names}.</p>")


def servers_table(identities: Sequence[ServerIdentity]) -> HTML | Markdown:
    """One row a server: what answered at its address."""
    rows = [
        {
            "server": identity.name,
            "role": identity.role,
            "url": identity.url,
            "software": identity.software,
            "version": identity.version,
            "model": identity.model,
            "simulated": identity.simulated,
            "problem": identity.problem,
        }
        for identity in identities
    ]
    return table(pd.DataFrame(rows))


def past_speed_table(past: Sequence[PastSpeed]) -> HTML | Markdown:
    """The app's own records of its speed."""
    rows = [
        {
            "started": speed.started_at,
            "model": speed.model,
            "frames": speed.n_frames,
            "s/frame": speed.s_per_frame,
            "minutes": speed.duration_s / 60,
        }
        for speed in past
    ]
    return table(pd.DataFrame(rows), empty="The database holds no record of it.")


def replies_table(replies: Sequence[Reply]) -> HTML | Markdown:
    """One row a reply, without its text's full length."""
    rows = [
        {
            "server": reply.server,
            "TTFT [s]": reply.ttft_s,
            "total [s]": reply.total_s,
            "prompt tokens": reply.prompt_tokens,
            "output tokens": reply.output_tokens,
            "finish": reply.finish_reason,
            "error": reply.error_message,
            "answer": reply.text[:160],
        }
        for reply in replies
    ]
    return table(pd.DataFrame(rows), empty="No request could be sent.")


def describe_outcomes(outcomes: Sequence[CellOutcome]) -> Markdown:
    """What the sweep did, in one sentence, and every cell that it gave up."""
    if not outcomes:
        return Markdown("Every cell was on file already; nothing was sent.")
    sent, failed = sum(o.n_sent for o in outcomes), sum(o.n_failed for o in outcomes)
    lines = [f"{len(outcomes)} cells, {sent} requests sent, {failed} failed."]
    lines += [
        f"- {describe_cell(o.cell)} stopped, {o.n_not_sent} frames not sent: `{o.stopped_because}`"
        for o in outcomes
        if o.stopped_because
    ]
    return Markdown("\n".join(lines))


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


def parse_rates(scores: pd.DataFrame) -> pd.DataFrame:
    """Per server and level: answers, and how many keep the one-line format."""
    stored = scores[scores["against"] == "stored reference"]
    answered = stored[stored["well_formed"].notna()]
    rates = answered.groupby(["server", "role", "concurrency"], sort=False)["well_formed"].agg(
        ["size", "mean"]
    )
    return rates.rename(columns={"size": "answers", "mean": "well_formed"}).reset_index()


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


def _as_mapping(identity: ServerIdentity) -> dict:
    return {"name": identity.name, "url": identity.url, "simulated": identity.simulated}


def _table_html(frame: pd.DataFrame) -> str:
    """Escaped cells, numbers to the right, text to the left; colours are the page's own."""
    numeric = [pd.api.types.is_numeric_dtype(frame[column]) for column in frame.columns]
    headings = [str(column).replace("_", " ") for column in frame.columns]
    heads = "".join(_cell("th", text, right) for text, right in zip(headings, numeric, strict=True))
    rows = [
        "".join(_cell("td", _shown(value), right) for value, right in zip(row, numeric, strict=True))
        for row in frame.itertuples(index=False, name=None)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, value: object, right: bool) -> str:
    text = str(value)
    wrap = "nowrap" if tag == "td" and len(text) <= SHORT_TEXT else "normal"
    style = f"text-align:{'right' if right else 'left'};white-space:{wrap}"
    return f'<{tag} style="{style}">{html.escape(text)}</{tag}>'


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return "–" if pd.isna(value) else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if value is None:
        return "–"
    return value

"""What the notebooks show before and while load is sent: parameters, servers, replies, outcomes."""

import html
from collections.abc import Mapping, Sequence

import pandas as pd
from IPython.display import HTML, Markdown

from poc_lib.benchmark import CellOutcome
from poc_lib.escribano import PastSpeed
from poc_lib.params import Params
from poc_lib.plan import describe_cell
from poc_lib.preview import plan_sentence, plan_table
from poc_lib.records import Reply, ServerIdentity
from poc_lib.session import Session
from poc_lib.views.tables import SCROLL, table, table_html

SIMULATED = "SIMULATED — these numbers show the tool, not a server."
_NOTE = "border-left:.3em solid #d55e00;padding:.5em 1em;background:rgba(213,94,0,.1);font-weight:600"


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
        f'<details><summary>{summary}</summary><div style="{SCROLL}">{table_html(frame)}</div></details>'
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


def show_plan(session: Session, warm: pd.DataFrame) -> HTML:
    """How much there is to send and about how long it takes, and every cell in its order."""
    plan = plan_table(session, warm)
    return HTML(f"<p><b>{plan_sentence(plan)}</b></p>{table(plan).data}")


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


def _as_mapping(identity: ServerIdentity) -> dict:
    return {"name": identity.name, "url": identity.url, "simulated": identity.simulated}

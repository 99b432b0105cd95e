"""What is about to be sent: one request, and the plan of cells with its time."""

import json
import math

import pandas as pd

from poc_lib.progress import describe_seconds
from poc_lib.records import Cell
from poc_lib.session import Session
from poc_lib.sweep import frames_of_cell, remaining_cells

NOT_KNOWN = float("nan")


def show_request(session: Session) -> dict:
    """The body of one candidate request as it is sent, its image shortened."""
    spec = next(spec for spec in session.servers if spec.role == "candidate")
    prepared = session.requests[spec.name][session.frames[0].frame_id]
    return {"POST": prepared.url, **_shortened(json.loads(prepared.body))}


def plan_table(session: Session, warm: pd.DataFrame) -> pd.DataFrame:
    """One row a cell, in the order of measurement: what is left to send and about how long it takes.

    Args:
        warm: sweep.warm_up's rows; the median time at the cell's level (else at the server's nearest lower
            one) is taken for each wave of requests.
    """
    todo = remaining_cells(session)
    answered = warm[warm["error_class"].isna()]
    usual_s = answered.groupby(["server", "concurrency"])["total_s"].median().to_dict()
    rows = []
    for cell in session.cells:
        n_left = len(todo.get(cell, []))
        rows.append(
            {
                "server": cell.server,
                "role": cell.role,
                "phase": cell.phase,
                "block": cell.block + 1,
                "in flight": cell.concurrency if cell.rate_per_s is None else None,
                "rate [1/s]": cell.rate_per_s,
                "to send": n_left,
                "on file": len(frames_of_cell(session, cell)) - n_left,
                "about [s]": _about_s(cell, n_left, usual_s) + session.params.cooldown_s * bool(n_left),
            }
        )
    return pd.DataFrame(rows)


def plan_sentence(plan: pd.DataFrame) -> str:
    """How much the whole plan is, in one sentence."""
    left = plan[plan["to send"] > 0]
    if left.empty:
        return "Everything is on file; nothing is left to send."
    seconds = left["about [s]"].sum(skipna=False)
    time = f"about {describe_seconds(seconds)}" if math.isfinite(seconds) else "a time not known beforehand"
    return f"{left['to send'].sum():,} requests in {len(left)} cells, {time}."


def _about_s(cell: Cell, n_left: int, usual_s: dict[tuple[str, int], float]) -> float:
    if cell.rate_per_s is not None:
        return n_left / cell.rate_per_s
    levels = [level for server, level in usual_s if server == cell.server and level <= cell.concurrency]
    if not levels:
        return NOT_KNOWN if n_left else 0.0
    return math.ceil(n_left / max(levels)) * usual_s[cell.server, max(levels)]


def _shortened(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, str) and len(value) > 400:
        return f"{value[:60]}… ({len(value)} characters)"
    return value

"""What is about to be sent: one request, and the plan of cells with its time."""

import json

import pandas as pd

from poc_lib.servers import prepare_request
from poc_lib.session import Session, remaining_cells


def show_request(session: Session) -> dict:
    """The body of one candidate request as it is sent, its image shortened."""
    spec = next(spec for spec in session.servers if spec.role == "candidate")
    prepared = prepare_request(spec, session.frames[0], session.settings)
    return {"POST": prepared.url, **_shortened(json.loads(prepared.body))}


def plan_table(session: Session, warm: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: what is left to send, and how long it takes at most (one by one, as in warm-up).

    Args:
        warm: session.warm_up's rows; the lowest level's median is the time of one request.
    """
    answered = warm[warm["error_class"].isna()]
    alone = answered[answered["concurrency"] == answered.groupby("server")["concurrency"].transform("min")]
    one_s = alone.groupby("server")["total_s"].median()
    todo = remaining_cells(session)
    rows = [
        {
            "server": cell.server,
            "role": cell.role,
            "in flight": cell.concurrency,
            "repeat": cell.repeat + 1,
            "to send": len(todo.get(cell, [])),
            "on file": len(session.frames) - len(todo.get(cell, [])),
            "at most [s]": len(todo.get(cell, [])) * one_s.get(cell.server, float("nan")),
        }
        for cell in session.cells
    ]
    return pd.DataFrame(rows)


def _shortened(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, str) and len(value) > 400:
        return f"{value[:60]}… ({len(value)} characters)"
    return value

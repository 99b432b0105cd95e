"""Requests as they are read from a run, for tests of what is computed from them."""

import pandas as pd

from poc_lib.metrics import COLUMNS

OLLAMA = {"server": "ollama", "role": "baseline", "concurrency": 1}


def rows_of(*rows: dict) -> pd.DataFrame:
    """One request a dict: an answered pilot request of the candidate, alone, with these changes."""
    plain = {"server": "vllm", "role": "candidate", "phase": "pilot", "concurrency": 1, "block": 0}
    plain |= {"sitting": 0, "frame_id": "f1", "total_s": 1.0, "finish_reason": "stop"}
    numbered = [{"request_id": f"r{i}", "position": i, "start_s": 2.0 * i} for i in range(len(rows))]
    table = pd.DataFrame([plain | number | row for number, row in zip(numbered, rows, strict=True)])
    table = table.reindex(columns=list(COLUMNS)[: list(COLUMNS).index("complete")])
    return table.astype(dict.fromkeys(("code", "text", "error_class", "finish_reason"), "str"))

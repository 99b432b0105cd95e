"""Server and machine figures sampled beside the requests, in a process of their own.

Names are loaded when first used, so that the sampling process does not load pandas.
"""

import importlib
from typing import Any

_ROOM_OF = {
    "sampling": "process",
    "snapshot_counters": "asking",
    "summarize_telemetry": "tables",
    "telemetry_table": "tables",
}

__all__ = list(_ROOM_OF)


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'poc_lib.telemetry' has no attribute '{name}'")
    return getattr(importlib.import_module(f"poc_lib.telemetry.{_ROOM_OF[name]}"), name)

"""The names that the notebooks use; everything else is reached through its room (poc_lib.metrics, …).

Rooms are loaded when a name is first used, so that a simulator's process does not load plotting.
"""

import importlib
from typing import Any

_ROOM_OF = {
    "agreement_table": "views",
    "analyse_run": "analysis",
    "answer_gallery": "gallery",
    "calibration_table": "views",
    "check_setup": "checks",
    "checks_table": "checks",
    "close_session": "session",
    "comparison_table": "views",
    "confusion_table": "views",
    "criteria_table": "views",
    "describe_outcomes": "views",
    "draw_agreement": "figures",
    "draw_calibrated": "gallery",
    "draw_ceiling": "figures",
    "draw_fit": "gallery",
    "draw_fits": "gallery",
    "draw_latency": "figures",
    "draw_level_cost": "gallery",
    "draw_model_cost": "gallery",
    "draw_open_loop": "figures",
    "draw_speedups": "figures",
    "draw_throughput": "figures",
    "draw_timeline": "figures",
    "fairness_table": "views",
    "findings": "views",
    "frame_gallery": "gallery",
    "gather_comparison": "comparison",
    "health_table": "views",
    "measure": "sweep",
    "open_loop_table": "views",
    "open_session": "session",
    "params_from_notebook": "params_reading",
    "params_table": "views",
    "past_speed_table": "views",
    "phases_table": "views",
    "quality_questions": "views",
    "quality_sentence": "views",
    "read_state": "checks",
    "replies_table": "views",
    "run_or_demo": "demo_run",
    "servers_table": "views",
    "show_plan": "views",
    "show_request": "preview",
    "simulated_banner": "views",
    "speed_and_quality": "views",
    "speed_sentence": "views",
    "speed_table": "views",
    "state_banner": "views",
    "table": "views",
    "verdict_banner": "views",
    "warm_up": "sweep",
    "write_report": "report",
    "write_tables": "analysis",
}

__all__ = list(_ROOM_OF)


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'poc_lib' has no attribute '{name}'")
    return getattr(importlib.import_module(f"poc_lib.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""What the notebooks show: tables, banners, computed sentences. Model text is always escaped."""

from poc_lib.views.results import (
    criteria_table,
    findings,
    quality_sentence,
    speed_and_quality,
    speed_sentence,
    speed_table,
    verdict_banner,
)
from poc_lib.views.sections import (
    agreement_table,
    calibration_table,
    comparison_table,
    confusion_table,
    fairness_table,
    health_table,
    open_loop_table,
    phases_table,
    quality_questions,
    show_section,
)
from poc_lib.views.setup import (
    describe_outcomes,
    params_table,
    past_speed_table,
    replies_table,
    servers_table,
    show_plan,
    simulated_banner,
    state_banner,
)
from poc_lib.views.tables import table

__all__ = [
    "agreement_table",
    "calibration_table",
    "comparison_table",
    "confusion_table",
    "criteria_table",
    "describe_outcomes",
    "fairness_table",
    "findings",
    "health_table",
    "open_loop_table",
    "params_table",
    "past_speed_table",
    "phases_table",
    "quality_questions",
    "quality_sentence",
    "replies_table",
    "servers_table",
    "show_plan",
    "show_section",
    "simulated_banner",
    "speed_and_quality",
    "speed_sentence",
    "speed_table",
    "state_banner",
    "table",
    "verdict_banner",
]

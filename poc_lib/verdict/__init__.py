"""From tables to a verdict: the plan's success criteria, then a step for each candidate. Pure."""

from poc_lib.verdict.criteria import judge_criteria
from poc_lib.verdict.decision import Verdict, best_first, decide, step_of
from poc_lib.verdict.evidence import choose_level, count_leaks, count_suspicions
from poc_lib.verdict.steps import INCONCLUSIVE, NOT_RECOMMENDED, SPEEDUP_TARGET, STEPS, SUSPICIONS

__all__ = [
    "INCONCLUSIVE",
    "NOT_RECOMMENDED",
    "SPEEDUP_TARGET",
    "STEPS",
    "SUSPICIONS",
    "Verdict",
    "best_first",
    "choose_level",
    "count_leaks",
    "count_suspicions",
    "decide",
    "judge_criteria",
    "step_of",
]

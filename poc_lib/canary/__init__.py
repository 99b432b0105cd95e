"""Canaries: screenshots with a code, sent among real frames to prove whose image an answer is about."""

from poc_lib.canary.aborting import send_and_abort
from poc_lib.canary.codes import canary_id, code_of, is_canary, make_codes
from poc_lib.canary.drawing import draw_canary
from poc_lib.canary.judging import judge_canaries
from poc_lib.canary.leaks import list_leaks
from poc_lib.canary.plan import GivingUp, aborted_ids, canary_plan
from poc_lib.canary.prepare import canary_size, prepare_canaries
from poc_lib.canary.sentences import canary_sentences
from poc_lib.canary.summary import summarize_canaries

__all__ = [
    "GivingUp",
    "aborted_ids",
    "canary_id",
    "canary_plan",
    "canary_sentences",
    "canary_size",
    "code_of",
    "draw_canary",
    "is_canary",
    "judge_canaries",
    "list_leaks",
    "make_codes",
    "prepare_canaries",
    "send_and_abort",
    "summarize_canaries",
]

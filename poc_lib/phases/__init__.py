"""Where the time of a request goes, and what that makes possible. Pure: tables in and out, NaN: not known."""

from poc_lib.phases.ceiling import ceiling_frames_per_s, ceiling_sentence, summarize_ceiling
from poc_lib.phases.matched import summarize_length_matched
from poc_lib.phases.repeat_image import summarize_repeat_image
from poc_lib.phases.split import add_phases, summarize_phases
from poc_lib.phases.tail import find_tail, summarize_tail

__all__ = [
    "add_phases",
    "ceiling_frames_per_s",
    "ceiling_sentence",
    "find_tail",
    "summarize_ceiling",
    "summarize_length_matched",
    "summarize_phases",
    "summarize_repeat_image",
    "summarize_tail",
]

"""Are the answers sound in themselves: whole, in the asked form, not looping, not refusing, of usual length?

A server under load may keep its speed by answering less: answers cut off, loops up to the token limit,
refusals, another language. None of that shows in frames per second, and little of it in a mean similarity.
"""

from poc_lib.health.limits import HealthLimits
from poc_lib.health.scores import score_health
from poc_lib.health.summary import summarize_health

__all__ = ["HealthLimits", "score_health", "summarize_health"]

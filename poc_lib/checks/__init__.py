"""Can we measure here? Every line says what was found and what to do about it."""

from poc_lib.checks.check import Check
from poc_lib.checks.setup import SetupCheck, check_setup, checks_table, read_state

__all__ = ["Check", "SetupCheck", "check_setup", "checks_table", "read_state"]

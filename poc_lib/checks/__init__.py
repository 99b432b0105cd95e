"""Can we measure here? Every line says what was found, what was expected, and what to do about it."""

import importlib

_NAMES = {  # each is imported when it is first asked for
    "refusal": "refuse_at_once",
    "servers": "judge_pair judge_request judge_server server_problems",
    "setup": "Setup check_setup read_state",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'poc_lib.checks' has no name '{name}'")
    return getattr(importlib.import_module(f"poc_lib.checks.{_HOMES[name]}"), name)

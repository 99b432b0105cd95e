"""What the notebooks use; each name is imported when it is first asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], list[str]]:
    """``__getattr__`` and ``__all__`` of a package, from its modules and the names in each, by spaces."""
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no name '{name}'")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find, sorted(homes)


__getattr__, __all__ = lazy_names(
    __name__,
    {
        "analysis": "Analysis analyse find_run",
        "checks": "check_setup read_state",
        "figures": "draw_blocks draw_donors draw_levels draw_phases",
        "measure.experiment": "plan_frame run_all run_confirmation run_open_loop run_pilot",
        "measure.session": "close_session open_session",
        "metrics": "binomial_upper estimate mean_interval",
        "params": "Params params_from_notebook read_params_file validate_params",
        "records": "Cell Finding Frame Identity Reply Server SetupProblem Verdict",
        "runs": "list_runs read_requests read_run",
        "show": "banner comparison_table failures_table findings frame_gallery levels_table next_steps "
        "params_table reproduce runs_table samples say table worst_pairs write_tables",
    },
)


def __dir__() -> list[str]:
    return __all__

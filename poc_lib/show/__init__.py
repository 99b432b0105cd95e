"""What people see of a run: tables, the verdict, galleries, and the pages made of executed notebooks."""

import importlib

_NAMES = {  # each is imported when it is first asked for: nbconvert alone takes a second
    "gallery": "frame_gallery samples worst_pairs",
    "pages": "export_page export_pages export_report",
    "results": "banner comparison_table failures_table levels_table next_steps reproduce runs_table "
    "verdict_text write_comparison write_tables",
    "tables": "Shown findings interval params_table say table",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'poc_lib.show' has no name '{name}'")
    return getattr(importlib.import_module(f"poc_lib.show.{_HOMES[name]}"), name)

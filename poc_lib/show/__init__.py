"""What people see of a run: tables, the verdict, galleries, and the pages made of executed notebooks."""

from poc_lib.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {  # each is imported when it is first asked for: nbconvert alone takes a second
        "gallery": "frame_gallery samples worst_pairs",
        "pages": "export_page export_pages export_report",
        "results": "banner comparison_table failures_table levels_table next_steps reproduce runs_table "
        "verdict_text write_comparison write_tables",
        "tables": "Shown findings interval params_table say table",
    },
)

"""Files for people that are derived from a run and written as a whole: pages and tables."""

from pathlib import Path
from typing import Any

import pandas as pd

from poc_lib.runs.files import explained, replace_file
from poc_lib.runs.folder import Run


def write_text(path: Path, text: str) -> Path:
    """Write a text file of the run, its folder made where missing."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode())
    return path


def write_table(run: Run, name: str, table: pd.DataFrame) -> Path:
    """Write tables/<name>.csv; text that a spreadsheet would take for a formula gets an apostrophe."""
    safe = table.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            safe[column] = safe[column].map(neutralise_formula)
    return write_text(run.folder / "tables" / f"{name}.csv", safe.to_csv(index=False))


def neutralise_formula(value: Any) -> Any:
    """Text that begins with = + - @, tab or return gets a leading apostrophe (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value

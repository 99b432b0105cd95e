"""Which tables and columns this file has; older versions of the app lack some, which then read as NULL."""

import sqlite3
from pathlib import Path

from poc_lib.errors import SetupProblem

NEWEST_KNOWN_MIGRATION = 25

REQUIRED = {
    "recordings": ("id", "captured_at"),
    "observations": ("id", "recording_id", "type", "timestamp", "image_path", "vlm_description"),
}
# The always-on recorder came with migration 14; a file without its table is an older one, not a wrong one.
REQUIRED_IF_PRESENT = {"frames": ("id", "timestamp", "image_path")}


def check_schema(connection: sqlite3.Connection, database: Path) -> None:
    """Check that the file is Escribano's.

    Raises:
        SetupProblem: a table or a column is missing that cannot be done without.
    """
    for table, wanted in (REQUIRED | REQUIRED_IF_PRESENT).items():
        present = read_columns(connection, table)
        if not present and table in REQUIRED:
            raise SetupProblem(
                f"{database} has no table '{table}', so it is not Escribano's database: "
                "give the app's escribano.db (usually ~/.escribano/escribano.db)"
            )
        missing = [column for column in wanted if column not in present]
        if present and missing:
            raise SetupProblem(
                f"{database}: table '{table}' has no column '{missing[0]}' (schema version "
                f"{read_schema_version(connection)}, known up to {NEWEST_KNOWN_MIGRATION}): "
                "start the app once so that it migrates the file, or use a newer version of this tool"
            )


def read_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; empty where there is no such table."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def select_list(connection: sqlite3.Connection, table: str, alias: str, columns: tuple[str, ...]) -> str:
    """The columns for a SELECT, with NULL in place of those that this version of the schema lacks."""
    present = read_columns(connection, table)
    return ", ".join(f"{alias}.{c} AS {c}" if c in present else f"NULL AS {c}" for c in columns)


def read_schema_version(connection: sqlite3.Connection) -> int | None:
    """The newest applied migration, or None for a file that does not say."""
    if read_columns(connection, "_schema_version"):
        newest = connection.execute("SELECT max(version) FROM _schema_version").fetchone()[0]
        if newest is not None:
            return newest
    return connection.execute("PRAGMA user_version").fetchone()[0] or None

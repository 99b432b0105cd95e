"""Reading the app's SQLite file so that neither it nor its folder changes, even while the app writes."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from poc_lib.records import SetupProblem
from poc_lib.text import one_line

HEADER = b"SQLite format 3\x00"
WAL_VERSION = 2  # bytes 18 and 19 of the header: 1 is a rollback journal, 2 is write-ahead logging
LOGS = ("-wal", "-journal")  # what lies beside the file may hold part of its content
ATTEMPTS = 3
REQUIRED = {
    "recordings": "id captured_at",
    "observations": "id recording_id type timestamp image_path vlm_description created_at",
    "frames": "id timestamp image_path captured_at analyzed",  # older files have no such table
}


def read_database(database: Path, read: Callable[[sqlite3.Connection], Any], timeout_s: float = 5) -> Any:
    """What ``read`` returns for a read-only connection (rows by name) to one state of the database.

    The connection is closed on return: ``read`` fetches rows, slow work comes afterwards. Bytes that are not
    UTF-8 become lone surrogates. ``timeout_s``: how long another program's lock is waited for.

    Raises:
        SetupProblem: whatever is wrong with the file.
    """
    shown, usual = one_line(database), "give the app's own file, usually ~/.escribano/escribano.db"
    why, header = "it keeps changing, so pause the recorder", b""
    try:
        path = Path(os.path.expanduser(database))  # an unknown ~user stays as it is
        if path.is_file():
            path = path.resolve()
            with path.open("rb") as file:
                header = file.read(20)
        if not header.startswith(HEADER):
            what = "is a folder" if path.is_dir() else "is empty" if path.is_file() else "does not exist"
            what = "is not an SQLite database, or an encrypted one" if header else what
            raise SetupProblem(f"{shown} {what}: {usual}")
        for _ in range(ATTEMPTS):
            before = _signatures(path)
            with tempfile.TemporaryDirectory(prefix="escribano-copy-") as scratch:
                connection, is_held = _open(path, WAL_VERSION in header[18:], Path(scratch), timeout_s)
                with closing(connection):
                    for table, columns in REQUIRED.items():
                        present = read_columns(connection, table)
                        missing = [f"{table}.{c}" for c in columns.split() if c not in present]
                        if missing and (present or table != "frames"):
                            raise SetupProblem(f"{shown} has no {missing[0]}, so is not Escribano's: {usual}")
                    result = read(connection)
            if is_held or _signatures(path) == before:
                return result
    except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:  # the last: of SQLite's message
        why = one_line(error)
    raise SetupProblem(
        f"{shown} cannot be read ({why}): close what holds it, check its permissions and the disk, or copy "
        "it again together with its -wal file"
    )


def read_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; empty where there is no such table."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def select_list(connection: sqlite3.Connection, table: str, columns: str, alias: str) -> str:
    """The columns for a SELECT, with NULL in place of those that this version of the schema lacks."""
    present = read_columns(connection, table)
    return ", ".join(f"{alias}.{c} AS {c}" if c in present else f"NULL AS {c}" for c in columns.split())


def _open(path: Path, uses_wal: bool, scratch: Path, timeout_s: float) -> tuple[sqlite3.Connection, bool]:
    """A connection, and whether it holds the state that it reads: else the app may change it meanwhile.

    With a live ``-shm`` it takes part in the app's locking (``mode=ro``). Without a log nobody holds the
    file: read as immutable, no file is created beside it. Otherwise a copy is read.
    https://sqlite.org/wal.html#read_only_databases
    """
    if not uses_wal or all(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm")):
        try:
            return _connect(path, "mode=ro", timeout_s), True
        except sqlite3.OperationalError as error:
            # The folder, or a log left behind, does not let a reader take part.
            if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
    logs = [suffix for suffix, found in zip(LOGS, _signatures(path)[1:], strict=True) if found]
    if not logs:
        return _connect(path, "immutable=1", timeout_s), False
    for suffix in ("", *logs):
        shutil.copyfile(f"{path}{suffix}", scratch / f"copy.db{suffix}")
    return _connect(scratch / "copy.db", "mode=rw", timeout_s), False


def _connect(path: Path, mode: str, timeout_s: float) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    try:
        connection.execute("BEGIN")  # one state for all queries
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def _signatures(path: Path) -> list[Any]:
    """Size in bytes and time of change in ns of the file and its logs; None for a missing or an empty one."""
    files = [Path(f"{path}{suffix}") for suffix in ("", *LOGS)]
    stats = [file.stat() if file.exists() else None for file in files]
    return [(stat.st_size, stat.st_mtime_ns) if stat and stat.st_size else None for stat in stats]

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
FILES = ("", "-wal", "-journal")  # suffixes of what holds the database's content


def read_database(database: Path, read: Callable[[sqlite3.Connection], Any], timeout_s: float = 5) -> Any:
    """What ``read`` returns for a read-only connection (rows by name) to one state of the database.

    The connection is closed on return: ``read`` fetches rows, slow work comes afterwards. Bytes that are not
    UTF-8 become lone surrogates. ``timeout_s``: how long another program's lock is waited for.

    Raises:
        SetupProblem: whatever is wrong with the file.
    """
    shown, usual = one_line(database), "give the app's own file, usually ~/.escribano/escribano.db"
    path, header = Path(os.path.expanduser(database)), b""  # an unknown ~user stays as it is
    try:
        if path.is_file():
            path = path.resolve()
            with path.open("rb") as file:
                header = file.read(20)
        if not header.startswith(HEADER):
            what = "is a folder" if path.is_dir() else "is empty" if path.is_file() else "does not exist"
            what = "is not an SQLite database, or an encrypted one" if header else what
            raise SetupProblem(f"{shown} {what}: {usual}")
        with (
            tempfile.TemporaryDirectory(prefix="escribano-copy-") as scratch,
            closing(_open(path, WAL_VERSION in header[18:], Path(scratch), timeout_s)) as connection,
        ):
            return read(connection)
    except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:  # the last: of SQLite's message
        if str(error).startswith("no such"):  # table or column
            raise SetupProblem(f"{shown} is not Escribano's ({one_line(error)}): {usual}") from None
        raise SetupProblem(
            f"{shown} cannot be read ({one_line(error)}): close what holds it, check its permissions and the "
            "disk, or copy it again together with its -wal file"
        ) from None


def read_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    """The names of a table's columns; empty where there is no such table."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def select_list(connection: sqlite3.Connection, table: str, columns: str, alias: str) -> str:
    """The columns for a SELECT, with NULL in place of those that this version of the schema lacks."""
    present = read_columns(connection, table)
    return ", ".join(f"{alias}.{c} AS {c}" if c in present else f"NULL AS {c}" for c in columns.split())


def _open(path: Path, uses_wal: bool, scratch: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection that takes part in the app's locking where its ``-shm`` is live, else one to a copy.

    Any other would leave files beside the database. https://sqlite.org/wal.html#read_only_databases
    """
    if not uses_wal or all(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm")):
        try:
            return _connect(path, "mode=ro", timeout_s)
        except sqlite3.OperationalError as error:
            # The folder, or a log left behind, does not let a reader take part.
            if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                raise
    files = {Path(f"{path}{suffix}"): scratch / f"copy.db{suffix}" for suffix in FILES}
    files = {file: (copy, file.stat()) for file, copy in files.items() if file.exists()}
    for file, (copy, _) in files.items():
        shutil.copyfile(file, copy)
    if any(file.stat().st_mtime_ns != before.st_mtime_ns for file, (_, before) in files.items()):
        raise OSError("it changed meanwhile")
    return _connect(scratch / "copy.db", "mode=rw", timeout_s)


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

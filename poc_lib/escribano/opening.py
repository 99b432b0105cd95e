"""Opening the app's SQLite file so that neither it nor its folder changes, even while the app writes."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from poc_lib.errors import SetupProblem

HEADER = b"SQLite format 3\x00"
WAL_VERSION = 2  # bytes 18 and 19 of the header: 1 is a rollback journal, 2 is write-ahead logging
COPY_ATTEMPTS = 3

Signature = tuple[int, int] | None


@contextmanager
def open_database(database: Path, busy_timeout_s: float = 5.0) -> Iterator[sqlite3.Connection]:
    """A read-only connection (rows by name) to an Escribano database, closed at the end of the block.

    How it is opened depends on what lies beside the file (https://sqlite.org/wal.html#read_only_databases):
    with a live ``-shm`` it takes part in the app's locking (``mode=ro``); without a ``-wal`` nobody holds the
    file, so it is read as immutable, which creates no file beside it; otherwise a temporary copy is read.

    Raises:
        SetupProblem: no file, a folder, not a database, damaged, locked for longer than ``busy_timeout_s``
            seconds, not readable, or changed by the app while it was read as immutable.
    """
    path = Path(database).expanduser()
    _check_header(path)
    try:
        with _connection(path.resolve(), busy_timeout_s) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        line = _problem_line(path, error, busy_timeout_s)
        if line is None:
            raise
        raise SetupProblem(line) from None


@contextmanager
def _connection(path: Path, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    wal, shm = _beside(path, "-wal"), _beside(path, "-shm")
    if not _uses_wal(path) or (wal.exists() and shm.exists()):
        connection = _try_connect(path, busy_timeout_s)
        if connection is not None:
            with closing(connection):
                yield connection
            return
    if _signature(wal) is None:
        with _immutable(path, busy_timeout_s) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="escribano-copy-") as folder:
        copy = _copy_unchanged(path, Path(folder))
        with closing(_connect(copy, "mode=rw", busy_timeout_s)) as connection:
            yield connection


def _try_connect(path: Path, busy_timeout_s: float) -> sqlite3.Connection | None:
    """A live connection; None where the folder does not let one take part in the locking."""
    try:
        return _connect(path, "mode=ro", busy_timeout_s)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
            return None
        raise


@contextmanager
def _immutable(path: Path, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    before = _signature(path)
    with closing(_connect(path, "immutable=1", busy_timeout_s)) as connection:
        yield connection
    if _signature(path) != before:
        raise SetupProblem(
            f"{path} changed while it was read: the app has just started writing; run this again"
        )


def _connect(path: Path, mode: str, busy_timeout_s: float) -> sqlite3.Connection:
    uri = f"{path.as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("BEGIN")  # one state for all queries of the block
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def _copy_unchanged(path: Path, folder: Path) -> Path:
    """A copy of the file and its log, taken again when the app wrote meanwhile."""
    wal = _beside(path, "-wal")
    for _ in range(COPY_ATTEMPTS):
        before = (_signature(path), _signature(wal))
        shutil.copyfile(path, folder / path.name)
        log = _beside(folder / path.name, "-wal")
        log.unlink(missing_ok=True)
        if before[1] is not None:
            shutil.copyfile(wal, log)
        if before == (_signature(path), _signature(wal)):
            return folder / path.name
    raise SetupProblem(f"{path} keeps changing while it is copied: pause the recorder, then run this again")


def _check_header(path: Path) -> None:
    if path.is_dir():
        inside = path / "escribano.db"
        hint = f"give {inside}" if inside.is_file() else "give the path of the file escribano.db"
        raise SetupProblem(f"{path} is a folder, expected a database file: {hint}")
    if not path.is_file():
        raise SetupProblem(f"no database at {path}: the app keeps it at ~/.escribano/escribano.db")
    try:
        with path.open("rb") as file:
            header = file.read(len(HEADER))
    except PermissionError:
        raise SetupProblem(f"{path} may not be read: allow your user to read it, or give a copy") from None
    if header != HEADER:
        what = "is empty" if not header else "is not an SQLite database"
        raise SetupProblem(
            f"{path} {what}, expected Escribano's escribano.db: check the parameter 'database'"
        )


def _uses_wal(path: Path) -> bool:
    with path.open("rb") as file:
        return WAL_VERSION in file.read(20)[18:20]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _signature(path: Path) -> Signature:
    """Size in bytes and time of change in ns; None for a missing or an empty file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return (stat.st_size, stat.st_mtime_ns) if stat.st_size else None


def _problem_line(path: Path, error: sqlite3.DatabaseError, busy_timeout_s: float) -> str | None:
    """What a failure of SQLite means for the user; None: it is a mistake of this program."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return (
            f"{path} was locked for {busy_timeout_s:g} s by another program: close that, or try again later"
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"{path} is damaged or cut short ({error}): copy it again, together with its -wal file"
    if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return f"{path} cannot be read ({error}): check its permissions and the disk"
    return None

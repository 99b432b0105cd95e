"""Opening: nothing of the app's is changed or held, whatever lies there; what is wrong is one line."""

import os
import shutil
import sqlite3
import tempfile
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from poc_lib.database import read_database, select_frames
from poc_lib.records import SetupProblem
from tests.schemas import add_rows, make_database, make_recording, recording

INSERT = "INSERT INTO observations (id, recording_id, type, timestamp) VALUES (?, 'r1', 'visual', ?)"
NEWS = "UPDATE recordings SET captured_at = 'only in the log'"
MOMENT = "SELECT captured_at FROM recordings"


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of change of every file in a folder; of the shared memory only that it is there."""
    return {
        path.name: (b"", 0) if path.name.endswith("-shm") else (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


def problem(path: Path, **options) -> str:
    with pytest.raises(SetupProblem) as caught:
        read_database(path, lambda c: c.execute("SELECT * FROM recordings").fetchall(), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


@contextmanager
def app_has_it_open(path: Path):
    """The app, with a change that is still in its write-ahead log."""
    with closing(sqlite3.connect(path, isolation_level=None)) as app:
        app.execute(NEWS)
        yield app


def copy_with_log(path: Path, folder: Path) -> Path:
    """What a copy of database and log leaves: no -shm, and news only in the log."""
    folder.mkdir(exist_ok=True)
    with app_has_it_open(path):
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", folder / f"{path.name}{suffix}")
    return folder / path.name


@contextmanager
def unwritable(folder: Path):
    """Only reading is allowed in ``folder``, for a superuser, too."""
    folder.chmod(0o555)
    try:
        if os.geteuid() == 0:
            os.seteuid(65534)
        yield
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o755)


@pytest.mark.parametrize(
    "state", ["closed", "rollback journal", "open in the app", "copied with its log", "empty log"]
)
def test_reading_changes_nothing_and_sees_the_newest_state(tmp_path, state):
    folder = tmp_path / "50% of #1? ünïcode"  # special in a URI
    folder.mkdir()
    path = make_recording(folder)
    execute(path, NEWS, *["PRAGMA journal_mode = DELETE"] * (state == "rollback journal"))
    if state == "copied with its log":
        path = copy_with_log(path, tmp_path / "copied")
    if state == "empty log":
        (folder / "escribano.db-wal").touch()
    with closing(sqlite3.connect(path)) as app:
        if state == "open in the app":
            app.execute(NEWS)
            app.commit()
        before = snapshot(path.parent)
        chosen = select_frames(path, "latest", 0)
        assert (len(chosen.frames), chosen.recording) == (3, "recording 'r1' of only in the log")
        assert snapshot(path.parent) == before


@pytest.mark.parametrize("state", ["closed", "open in the app", "-shm barred", "copied with its log"])
def test_a_folder_that_may_not_be_written_is_read_all_the_same(state):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = make_recording(folder)
        if state in ("copied with its log", "-shm barred"):
            path = copy_with_log(path, folder / "copied")
        else:
            execute(path, NEWS)
        if state == "-shm barred":
            Path(f"{path}-shm").touch(0)
        with app_has_it_open(path if state == "open in the app" else make_recording(folder / "frames")):
            before = snapshot(path.parent)
            with unwritable(path.parent):
                assert read_database(path, lambda c: c.execute(MOMENT).fetchone()[0]) == "only in the log"
            assert snapshot(path.parent) == before


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_the_app_writes_unhindered_while_images_are_opened(tmp_path, monkeypatch, mode):
    path = make_recording(tmp_path)
    execute(path, f"PRAGMA journal_mode = {mode}")
    outcomes, image_open, lock = [], Image.open, threading.Lock()
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)) as app:
        app.execute(NEWS)

        def write_and_open(*args, **options):
            with lock:
                # Under a rollback journal this is refused while anyone reads.
                app.execute(INSERT, (str(uuid4()), 1.0))
                outcomes.append(app.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
            return image_open(*args, **options)

        monkeypatch.setattr(Image, "open", write_and_open)
        assert len(select_frames(path, "r1", 0).frames) == 3
    assert len(outcomes) >= 3
    assert not any(outcomes), "a checkpoint found the log in use"


def test_the_connection_sees_one_state_refuses_to_write_and_is_closed_afterwards(tmp_path):
    path = make_recording(tmp_path)
    with app_has_it_open(path) as app:

        def read(connection):
            app.execute("DELETE FROM observations")
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute(NEWS)
            return connection, connection.execute("SELECT count(*) FROM observations").fetchone()[0]

        connection, n = read_database(path, read)
    assert n == 3
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_copy_that_the_app_changed_meanwhile_is_not_believed(tmp_path, monkeypatch):
    path, copyfile = make_recording(tmp_path), shutil.copyfile

    def copy_and_write(source, target):
        copyfile(source, target)
        os.utime(source, (1, 1))

    monkeypatch.setattr(shutil, "copyfile", copy_and_write)
    assert "cannot be read (it changed meanwhile): close what holds it" in problem(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "does not exist: give the app's own file, usually ~/.escribano/escribano.db"),
        ("folder", "is a folder"),
        (b"", "is empty, encrypted or not an SQLite database"),
        (os.urandom(8192), "is empty, encrypted or not an SQLite database"),
        (b"SQLite format 3\x00" + bytes(range(256)) * 64, "cannot be read"),
    ],
)
def test_a_file_that_is_no_database_is_one_line(tmp_path, content, expected):
    path = tmp_path / "a\nb.db"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert expected in problem(path)


@pytest.mark.parametrize("path", ["~nobody-of-that-name/escribano.db", "a\0b.db", "x" * 5000])
def test_a_path_that_cannot_exist_is_one_line(path):
    assert "cannot be read" in problem(path) or "does not exist" in problem(path)


@pytest.mark.parametrize("table", ["recordings", "observations", "frames"])
def test_a_database_of_another_shape_is_not_escribanos(tmp_path, table):
    path = make_database(tmp_path / "escribano.db")
    column = "image_path" if table != "recordings" else "captured_at"
    execute(path, f"ALTER TABLE {table} RENAME COLUMN {column} TO source_path")
    with pytest.raises(SetupProblem, match=rf"is not Escribano's \(no such column: .*{column}\): give the"):
        select_frames(path, "2026-11-20", 0)
    if table != "frames":  # older files have none
        execute(path, f"DROP TABLE {table}")
        with pytest.raises(SetupProblem, match=rf"is not Escribano's \(no such table: {table}\)"):
            select_frames(path, "latest", 0)


def test_damage_is_one_line_with_what_to_do(tmp_path):
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", *(recording(f"r{i}") for i in range(500)))
    data = path.read_bytes()
    garbled = data[:4000] + b"\xff" * (len(data) - 4000)
    oddly_named = data.replace(b"tableobservations", b"table\xffbservations")
    for damaged in (data[: len(data) // 2], garbled, oddly_named):
        path.write_bytes(damaged)
        assert "together with its -wal file" in problem(path)


def test_a_locked_database_is_reported_after_the_timeout(tmp_path):
    path = make_recording(tmp_path)
    execute(path, "PRAGMA journal_mode = DELETE")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "cannot be read (database is locked): close what holds it" in problem(path, timeout_s=0.05)

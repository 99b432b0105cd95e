import hashlib
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.escribano import open_database, read_frames, read_recordings
from poc_lib.escribano import opening as opening_module
from tests.schemas import add_rows, make_database, make_recording, observation, recording

INSERT = "INSERT INTO observations (id, recording_id, type, timestamp) VALUES (?, 'r1', 'visual', ?)"


def _snapshot(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of change of every file in a folder."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


def _problem(path: Path, **options) -> str:
    with pytest.raises(SetupProblem) as caught, open_database(path, **options) as connection:
        connection.execute("SELECT * FROM recordings").fetchall()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _use_rollback_journal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def test_reading_a_database_that_nobody_has_open_leaves_its_folder_exactly_as_it_was(tmp_path):
    path = make_recording(tmp_path)
    before = _snapshot(tmp_path)

    read_recordings(path)
    read_frames(path, "latest")

    assert _snapshot(tmp_path) == before
    assert list(before) == ["escribano.db"]


def test_reading_while_the_app_has_it_open_changes_neither_database_nor_log(tmp_path):
    path = make_recording(tmp_path)
    with closing(sqlite3.connect(path)) as app:
        app.execute("UPDATE recordings SET status = 'published'")
        app.commit()
        before = _snapshot(tmp_path)

        assert read_recordings(path)[0].status == "published"

        after = _snapshot(tmp_path)
    for name in ("escribano.db", "escribano.db-wal"):
        assert after[name] == before[name]
    assert after.keys() == before.keys()


@pytest.mark.parametrize("opened", ["immutable", "live", "copy"])
def test_the_connection_refuses_to_write_however_it_was_opened(tmp_path, opened):
    path = _copy_with_unmerged_log(tmp_path) if opened == "copy" else make_recording(tmp_path)
    if opened == "live":
        _use_rollback_journal(path)
    with open_database(path) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("UPDATE recordings SET status = 'x'")


def test_frames_are_read_while_another_connection_keeps_writing(tmp_path):
    path = make_recording(tmp_path)
    stop, written = threading.Event(), []

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=5)) as app:
            app.execute("PRAGMA wal_autocheckpoint = 3")
            while not stop.is_set():
                row = (f"w{len(written)}", 100.0 + len(written))
                app.execute(INSERT, row)
                app.commit()
                written.append(row)

    with closing(sqlite3.connect(path)) as app:
        app.execute("UPDATE recordings SET status = 'processing'")
        app.commit()
        writer = threading.Thread(target=write)
        writer.start()
        try:
            counts = [len(read_frames(path, "r1")) for _ in range(15)]
            while len(written) < 3:
                stop.wait(0.01)
            counts.append(len(read_frames(path, "r1")))
        finally:
            stop.set()
            writer.join()

    assert counts == sorted(counts)
    assert counts[-1] >= 3 + 3


def test_one_block_sees_one_state_although_the_app_writes_meanwhile(tmp_path):
    path = make_recording(tmp_path)
    with closing(sqlite3.connect(path)) as app:
        app.execute("UPDATE recordings SET status = 'processing'")
        app.commit()
        with open_database(path) as connection:
            app.execute("DELETE FROM observations")
            app.commit()
            assert connection.execute("SELECT count(*) FROM observations").fetchone()[0] == 3


def _copy_with_unmerged_log(tmp_path: Path) -> Path:
    """A database and its log as a copy of both leaves them: no -shm, and news only in the log."""
    path = make_recording(tmp_path)
    copy = tmp_path / "copied" / path.name
    copy.parent.mkdir()
    with closing(sqlite3.connect(path)) as app:
        app.execute("UPDATE recordings SET status = 'only in the log'")
        app.commit()
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def test_a_copied_database_is_read_together_with_its_log_and_both_stay_untouched(tmp_path):
    copy = _copy_with_unmerged_log(tmp_path)
    before = _snapshot(copy.parent)

    assert read_recordings(copy)[0].status == "only in the log"
    assert _snapshot(copy.parent) == before


def test_an_empty_log_without_a_live_app_is_not_touched_either(tmp_path):
    path = make_recording(tmp_path)
    (tmp_path / "escribano.db-wal").touch()
    before = _snapshot(tmp_path)

    assert len(read_frames(path, "latest")) == 3
    assert _snapshot(tmp_path) == before


@pytest.mark.parametrize("error_name", ["SQLITE_CANTOPEN", "SQLITE_READONLY_CANTINIT"])
def test_where_no_live_connection_is_possible_a_copy_is_read(tmp_path, monkeypatch, error_name):
    # A folder that may not be written: shown here at the boundary, since a superuser may write anywhere.
    connect = opening_module._connect

    def fail_live(path, mode, busy_timeout_s):
        if mode == "mode=ro":
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorname = error_name
            raise error
        return connect(path, mode, busy_timeout_s)

    monkeypatch.setattr(opening_module, "_connect", fail_live)
    path = make_recording(tmp_path)
    with closing(sqlite3.connect(path)) as app:
        app.execute("UPDATE recordings SET status = 'only in the log'")
        app.commit()
        before = _snapshot(tmp_path)
        assert read_recordings(path)[0].status == "only in the log"
        assert _snapshot(tmp_path) == before


def test_a_copy_is_taken_again_when_the_app_wrote_meanwhile(tmp_path, monkeypatch):
    copy = _copy_with_unmerged_log(tmp_path)
    calls, copyfile = [], shutil.copyfile

    def copy_and_disturb(source, target):
        copyfile(source, target)
        calls.append(source)
        if len(calls) == 1:
            copy.touch()

    monkeypatch.setattr(opening_module.shutil, "copyfile", copy_and_disturb)
    assert len(read_recordings(copy)) == 1
    assert len(calls) == 4  # two attempts of two files


def test_a_database_that_keeps_changing_while_it_is_copied_is_refused(tmp_path, monkeypatch):
    copy = _copy_with_unmerged_log(tmp_path)
    copyfile = shutil.copyfile

    def copy_and_disturb(source, target):
        copyfile(source, target)
        with copy.open("ab") as file:
            file.write(b"\0")

    monkeypatch.setattr(opening_module.shutil, "copyfile", copy_and_disturb)
    assert "keeps changing" in _problem(copy)


def test_a_change_during_an_immutable_read_is_reported_instead_of_trusted(tmp_path):
    path = make_recording(tmp_path)
    with pytest.raises(SetupProblem, match="changed while it was read"), open_database(path):
        add_rows(path, "recordings", recording("r2"))


def test_a_path_with_characters_special_in_a_uri_can_be_opened(tmp_path):
    folder = tmp_path / "50% of #1? ünïcode"
    folder.mkdir()
    assert len(read_recordings(make_recording(folder))) == 1


def test_a_missing_file_is_named_and_the_usual_place_is_told(tmp_path):
    line = _problem(tmp_path / "nowhere.db")
    assert "nowhere.db" in line
    assert "~/.escribano/escribano.db" in line


def test_a_folder_is_refused_and_the_database_inside_is_suggested(tmp_path):
    make_recording(tmp_path)
    assert f"give {tmp_path / 'escribano.db'}" in _problem(tmp_path)


def test_an_empty_file_and_a_text_file_are_not_databases(tmp_path):
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("hello, this is not a database")
    assert "is empty" in _problem(tmp_path / "empty.db")
    assert "is not an SQLite database" in _problem(tmp_path / "text.db")


def test_a_truncated_database_is_reported_as_damaged(tmp_path):
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", *(recording(f"r{i}") for i in range(500)))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert "damaged or cut short" in _problem(path)


def test_overwritten_pages_are_reported_as_damaged(tmp_path):
    path = make_recording(tmp_path)
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    assert "damaged or cut short" in _problem(path)


def test_a_locked_database_is_reported_after_the_busy_timeout(tmp_path):
    path = make_recording(tmp_path)
    _use_rollback_journal(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert "was locked for 0.05 s" in _problem(path, busy_timeout_s=0.05)


def test_a_mistake_in_our_own_sql_is_not_dressed_up_as_a_setup_problem(tmp_path):
    path = make_recording(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="no such column"), open_database(path) as connection:
        connection.execute("SELECT source_path FROM observations")


def test_a_row_of_an_old_database_needs_no_write_to_be_read(tmp_path):
    path = make_recording(tmp_path)
    add_rows(path, "observations", observation("late", 500.0, None))
    assert read_frames(path, "r1")[-1].frame_id == "late"

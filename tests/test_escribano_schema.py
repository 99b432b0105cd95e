import sqlite3
from contextlib import closing

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.escribano import open_database, read_frames, read_past_speed, read_recordings
from poc_lib.escribano.schema import read_schema_version
from tests.schemas import (
    add_rows,
    make_database,
    make_image,
    make_recording,
    observation,
    recorder_frame,
    recording,
)


def _execute(path, statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize("version", [1, 3, 5, 6, 13, 14, 15, 16, 17, 24])
def test_frames_of_a_recording_are_readable_at_every_age_of_the_schema(tmp_path, version):
    path = make_recording(tmp_path, version=version)
    frames = read_frames(path, "latest")
    assert [frame.reference.description for frame in frames] == ["Editing tide_model.py in VS Code"] * 3
    assert read_recordings(path)[0].n_usable == 3


def test_columns_that_an_old_file_lacks_are_unknown_not_empty(tmp_path):
    reference = read_frames(make_recording(tmp_path, version=1), "latest")[0].reference
    assert (reference.activity, reference.apps, reference.topics, reference.model) == (None, None, None, None)


def test_a_file_from_before_the_recorder_has_no_recorder_frames(tmp_path):
    path = make_recording(tmp_path, version=13)
    with pytest.raises(SetupProblem, match="no frames of the always-on recorder"):
        read_frames(path, "2026-11-20")


def test_a_file_with_frames_but_before_their_link_to_observations_lists_the_frames(tmp_path):
    path = make_database(tmp_path / "escribano.db", version=14)
    add_rows(
        path, "frames", recorder_frame("f1", 1_795_176_000.0, make_image(tmp_path / "f.jpg"), analyzed=0)
    )
    (frame,) = read_frames(path, "2026-11-20T00:00Z/2026-11-21T00:00Z")
    assert (frame.frame_id, frame.reference_problem) == ("f1", "not described yet")


def test_a_file_without_processing_tables_has_no_past_speed(tmp_path):
    assert read_past_speed(make_recording(tmp_path, version=4)) == []


@pytest.mark.parametrize("table", ["recordings", "observations"])
def test_a_file_without_a_needed_table_is_not_escribanos(tmp_path, table):
    path = make_database(tmp_path / "escribano.db")
    _execute(path, f"DROP TABLE {table}")
    with pytest.raises(SetupProblem, match=f"escribano.db has no table '{table}'.*give the app's"):
        read_recordings(path)


def test_a_missing_column_is_named_with_the_schema_version_and_what_to_do(tmp_path):
    path = make_database(tmp_path / "escribano.db")
    _execute(path, "ALTER TABLE observations RENAME COLUMN image_path TO source_path")
    with pytest.raises(
        SetupProblem, match=r"'observations' has no column 'image_path'.*version 24.*start the app"
    ):
        read_frames(path, "latest")


def test_a_column_added_by_a_later_version_does_no_harm(tmp_path):
    path = make_recording(tmp_path)
    _execute(path, "ALTER TABLE observations ADD COLUMN mood TEXT")
    assert len(read_frames(path, "latest")) == 3


@pytest.mark.parametrize(("version", "expected"), [(24, 24), (3, 3)])
def test_the_schema_version_comes_from_the_apps_own_table(tmp_path, version, expected):
    with open_database(make_database(tmp_path / "escribano.db", version)) as connection:
        assert read_schema_version(connection) == expected


def test_the_user_version_serves_where_the_apps_table_is_missing(tmp_path):
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", recording())
    add_rows(path, "observations", observation("o", 0.0, None))
    _execute(path, "DROP TABLE _schema_version")
    with open_database(path) as connection:
        assert read_schema_version(connection) == 24

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.escribano import read_frames, read_recordings
from tests.schemas import (
    add_rows,
    make_database,
    make_image,
    make_recording,
    observation,
    recorder_frame,
    recording,
)

SENTINEL = recording("__recorder__", "2030-01-01 00:00:00")


def _database(tmp_path, *recordings):
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", *recordings)
    return path


def test_recordings_come_newest_first_by_moment_not_by_text(tmp_path):
    path = _database(
        tmp_path,
        recording("morning", "2026-11-20T09:00:00.000Z"),
        recording("late by offset", "2026-11-20T08:30:00-05:00"),
        recording("old", "2026-11-19 23:00:00"),
        recording("undated", "yesterday"),
    )
    ids = [r.recording_id for r in read_recordings(path)]
    assert ids == ["late by offset", "morning", "old", "undated"]


def test_the_recorders_sentinel_is_not_a_recording_although_it_is_the_newest(tmp_path):
    path = _database(tmp_path, recording(), SENTINEL)
    assert [r.recording_id for r in read_recordings(path)] == ["r1"]


def test_a_recording_counts_its_visual_rows_and_the_usable_ones(tmp_path):
    path = _database(tmp_path, recording(video_path="/v/a.mp4"))
    add_rows(
        path,
        "observations",
        observation("a", 0.0, None),
        observation("b", 1.0, None, vlm_description="Parse error: x"),
        observation("c", 2.0, None, activity_type="unknown"),
        observation("d", 3.0, None, type="audio", vlm_description=None),
    )
    (found,) = read_recordings(path)
    assert (found.n_frames, found.n_usable, found.duration_s) == (3, 1, 600.0)
    assert str(found.video_path) == "/v/a.mp4"


def test_latest_is_the_newest_recording_with_a_usable_description(tmp_path):
    path = make_recording(tmp_path)
    add_rows(path, "recordings", recording("newer", "2026-11-21T09:00:00Z"), SENTINEL)
    bad = observation("bad", 0.0, None, recording_id="newer", vlm_description="No description")
    add_rows(path, "observations", bad)
    assert {frame.recording_id for frame in read_frames(path, "latest")} == {"r1"}


def test_a_database_without_recordings_says_so(tmp_path):
    with pytest.raises(SetupProblem, match="holds no recordings"):
        read_frames(_database(tmp_path, SENTINEL), "latest")


def test_without_usable_recordings_the_recorders_last_day_is_suggested(tmp_path):
    path = _database(tmp_path, recording(), SENTINEL)
    add_rows(path, "frames", recorder_frame("f", 1_795_176_000.0, make_image(tmp_path / "f.jpg")))
    with pytest.raises(SetupProblem, match=r"usable description.*recorder holds 1 frames.*'2026-11-2[01]'"):
        read_frames(path, "latest")


def test_an_unknown_recording_is_answered_with_the_newest_ids(tmp_path):
    path = _database(tmp_path, *(recording(f"r{i}", f"2026-11-0{i}T09:00:00Z") for i in range(1, 6)))
    with pytest.raises(SetupProblem, match=r"no recording 'r9'.*'r5', 'r4', 'r3'\)"):
        read_frames(path, "r9")


def test_a_recording_without_frames_says_so(tmp_path):
    with pytest.raises(SetupProblem, match="'r1' has no frames"):
        read_frames(_database(tmp_path, recording()), "r1")


def test_an_id_that_looks_like_a_day_is_taken_as_the_id(tmp_path):
    path = _database(tmp_path, recording("2026-11-20"))
    add_rows(path, "observations", observation("a", 0.0, None, recording_id="2026-11-20"))
    assert read_frames(path, "2026-11-20")[0].recording_id == "2026-11-20"

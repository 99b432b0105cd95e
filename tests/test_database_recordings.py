"""Recordings: which are found, which one a selection means, at every age of the app's schema."""

import pytest

from poc_lib.database import read_past_speed, select_frames
from poc_lib.records import SetupProblem
from tests.schemas import (
    DAY,
    NOON,
    RawText,
    add_rows,
    make_database,
    make_image,
    make_recording,
    observation,
    recording,
    shot,
)

SENTINEL = recording("__recorder__", "2030-01-01 00:00:00")


def ids(database, selection: str) -> list[str]:
    return [frame.frame_id for frame in select_frames(database, selection, 0).frames]


@pytest.mark.parametrize("version", [1, 3, 5, 6, 13, 14, 15, 16, 17, 24])
def test_every_age_of_the_schema_is_readable(tmp_path, version):
    path = make_recording(tmp_path, version=version)
    frames = select_frames(path, "latest", 0).frames
    assert [frame.reference.description for frame in frames] == ["Editing tide_model.py in VS Code"] * 3
    assert (frames[0].reference.activity, frames[0].reference.model) == (None, None)
    assert read_past_speed(path) == []
    if version >= 14:
        add_rows(path, "frames", shot("f", NOON, tmp_path / "frames" / "frame.jpg", analyzed=0))
        assert ids(path, DAY) == ["f"]


def test_recordings_come_newest_first_by_moment_whatever_their_dates_are_worth(tmp_path):
    path = make_database(tmp_path / "escribano.db")
    dates = {
        "morning": "2026-11-20T09:00:00.000Z",
        "late by offset": "2026-11-20T08:30:00-05:00",
        "old": "2026-11-19 23:00:00",
        "no day": "2026-02-31T99:00",
        "year": "99999-01-01T00:00:00Z",
        "bytes": RawText(b"\xff"),
    }
    add_rows(path, "recordings", SENTINEL, *(recording(name, at) for name, at in dates.items()))
    odd = recording("odd", "never", duration="long", video_path=b"\xff", status=b"\xff")
    add_rows(path, "recordings", odd)
    image = make_image(tmp_path / "a.jpg")
    with pytest.raises(SetupProblem, match=r"\('late by offset', 'morning', 'old'\)"):
        select_frames(path, "latest", 0)
    for name in ("no day", "year", "bytes", "odd"):
        add_rows(path, "observations", observation(name, 1.0, image, recording_id=name))
        assert ids(path, name) == [name]


def test_latest_is_the_newest_recording_with_a_usable_description(tmp_path):
    path = make_recording(tmp_path)
    add_rows(path, "recordings", recording("newer", "2026-11-21T09:00:00Z", video_path="/v/a.mp4"), SENTINEL)
    rows = ({"vlm_description": "Parse error"}, {"activity_type": "unknown"}, {"type": "audio"})
    for i, row in enumerate(rows):
        add_rows(path, "observations", observation(f"n{i}", 0.0, None, recording_id="newer") | row)
    assert ids(path, "latest") == ["o0", "o1", "o2"]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("latest", r"no recording with a usable description: .*'r1'\).*recorder's last day is 2026-11-2"),
        ("r9\n", r"no recording 'r9': give 'latest', one of the newest ids \('2026-11-20', 'r1'\)"),
        ("__recorder__", "no recording '__recorder__'"),
        (
            "r1",
            r"'r1' of 2026-11-20T09.*of 1 frames none is usable \(1 × not usable: image missing, e.g. a.jpg",
        ),
        ("2026-11-20", "recording '2026-11-20' of .*of 0 frames none"),  # an id that looks like a day
        ("2025-01-01", r"recorder, 2025-01-01: of 0 frames .* \(none found\); .*last day is 2026-11-2"),
        ("2026-13-01", "'2026-13-01' is not a day or a time window"),
        ("2026-02-30/2026-03-01", "is not a day or a time window"),
        ("2026-11-20T09:00/noon", "is not a day or a time window"),
        ("9999-12-31", "is not a day or a time window"),
        ("0001-01-01/0001-01-02", "is not a day or a time window|of 0 frames"),
        ("2026-11-20T09:00/2026-11-20T08:59", "ends before it starts"),
    ],
)
def test_a_selection_that_gives_nothing_is_one_line_that_says_what_to_do(tmp_path, selection, expected):
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", recording(), recording("2026-11-20", "2026-11-20T10:00:00Z"), SENTINEL)
    add_rows(path, "frames", shot("f", NOON, tmp_path / "gone.jpg"))
    add_rows(path, "observations", observation("o", 1.0, tmp_path / "a.jpg", vlm_description=None))
    with pytest.raises(SetupProblem, match=expected) as caught:
        select_frames(path, selection, 0)
    assert "\n" not in str(caught.value)


def test_the_apps_own_speed_is_that_of_finished_runs_newest_first(tmp_path):
    path = make_recording(tmp_path)
    fine = {"phase": "vlm-batch-inference", "status": "success", "duration_ms": 8000, "items_processed": 4}
    stats = [
        {"duration_ms": 1_456_000, "items_processed": 182, "started_at": "2026-02-01T10:00:00Z"},
        {"duration_ms": 10_000, "started_at": "2026-03-01T10:00:00Z"},
        *({"phase": "scene-detection"}, {"status": "failed"}, {"items_processed": 0}, {"duration_ms": None}),
        *({"duration_ms": 12, "items_processed": 182}, {"items_processed": "all"}, {"duration_ms": "long"}),
        {"duration_ms": float("inf")},
    ]
    for i, columns in enumerate(stats):
        run = {"id": i, "recording_id": "r1", "run_type": "initial", "started_at": "2026-01-01"}
        add_rows(path, "processing_runs", run | ({} if i else {"metadata": '{"vlm_model": "qwen3-vl:4b"}'}))
        base = {"id": i, "run_id": i, "started_at": "2026-01-01"}
        add_rows(path, "processing_stats", base | fine | columns)
    new, old = read_past_speed(path)
    assert (new["s_per_frame"], new["model"], new["n_frames"]) == (2.5, None, 4)
    expected = {"recording_id": "r1", "started_at": "2026-02-01T10:00:00Z", "model": "qwen3-vl:4b"}
    assert old == expected | {"n_frames": 182, "duration_s": 1456.0, "s_per_frame": 8.0}

"""Recordings and frames: which are found, at every age of the schema, which are usable, what is known."""

import hashlib
import time
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from poc_lib.database import parse_names, parse_window, read_past_speed, select_frames
from poc_lib.images import look_distance
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


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def unusable(counts: dict[str, int]) -> dict[str, int]:
    found = {what[len("not usable: ") :]: n for what, n in counts.items() if what.startswith("not usable: ")}
    assert counts["frames"] == counts["usable"] + sum(found.values())
    return found


def test_visual_rows_come_in_time_order_with_everything_known_about_their_image(tmp_path):
    path = make_recording(tmp_path)
    large = make_image(tmp_path / "large.jpg", (1920, 1080))
    add_rows(path, "observations", observation("a", 5, large), observation("sound", 6.0, None, type="audio"))
    chosen = select_frames(path, "latest", 0)
    assert [frame.frame_id for frame in chosen.frames] == ["o0", "a", "o1", "o2"]
    assert [f.label[8:] for f in chosen.frames] == ["· 00:00", "· 00:05", "· 00:10", "· 00:20"]
    assert chosen.counts == {"frames": 4, "usable": 4, "in the sample": 4}
    assert chosen.recording == "recording 'r1' of 2026-11-20T09:00:00.000Z"
    assert chosen.whole
    frame = chosen.frames[1]
    assert (frame.image_path, frame.width, frame.height) == (large, 1920, 1080)
    assert frame.sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    assert look_distance(frame.look, chosen.frames[0].look) <= 1  # both are of one colour


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("vlm_description", RawText(b"Editing \xff\xfe"), "empty or unreadable description stored"),
        ("vlm_description", b"blob", "empty or unreadable description stored"),
        ("vlm_description", None, "no description stored"),
        ("vlm_description", "  \n", "empty or unreadable description stored"),
        ("vlm_description", "no description", "placeholder 'no description…'"),
        ("vlm_description", "Parse error: x", "placeholder 'parse error…'"),
        ("vlm_description", "Failed to parse Frame 3", "placeholder 'failed to parse frame…'"),
        ("activity_type", " Unknown ", "activity 'unknown': an unparsed reply"),
        ("image_path", None, "no image path stored"),
        ("image_path", b"/blob/bad", "its image path is not readable text"),
        ("image_path", RawText(b"/\xff/bad"), "its image path is not readable text"),
        ("image_path", "/tmp/nul\0/bad", "its image path is not readable text"),
        ("image_path", "~no-such-user/bad", "image missing"),
        ("image_path", "gone\n/\nbad", "image missing"),
        ("image_path", "frames/../bad", "image missing"),  # a folder
        ("image_path", "x" * 300 + "/bad", "image missing"),
        ("timestamp", "noon", "its id or its timestamp cannot be read"),
        ("timestamp", float("inf"), "its id or its timestamp cannot be read"),
        ("timestamp", 1e300, "its id or its timestamp cannot be read"),
        ("id", None, "its id or its timestamp cannot be read"),
        ("id", RawText(b"\xff"), "its id or its timestamp cannot be read"),
    ],
)
@pytest.mark.parametrize("selection", ["latest", DAY])
def test_a_bad_row_is_one_unusable_frame_explained_by_name(tmp_path, column, value, reason, selection):
    path = make_recording(tmp_path)
    (tmp_path / "bad").mkdir()
    image = make_image(tmp_path / "bad.jpg")
    row = observation("bad", 5.0, image)
    if selection == DAY:
        add_rows(path, "frames", shot("f", NOON, image))
        add_rows(path, "observations", observation("fine", NOON, image, frame_id="f", recording_id=None))
        row |= {"recording_id": None, "timestamp": NOON + 5}
    add_rows(path, "observations", row | {column: value})
    chosen = select_frames(path, selection, 0)
    (found,) = unusable(chosen.counts).items()
    assert found in {(f"{reason}, e.g. {name}", 1) for name in ("bad", "bad.jpg", "bad'")}
    assert len(chosen.frames) == chosen.counts["usable"] == (3 if selection == "latest" else 1)


def test_each_kind_of_bad_image_file_has_its_own_reason_and_two_alike_are_counted_together(tmp_path):
    noise = Image.effect_noise((200, 200), 90)
    noise.save(tmp_path / "noise.jpg")
    noise.save(tmp_path / "noise.png")
    jpeg, png = (tmp_path / "noise.jpg").read_bytes(), (tmp_path / "noise.png").read_bytes()
    contents = {"empty.jpg": b"", "text.jpg": b"no picture", "gif.jpg": b"GIF89a\x01\x00\x01\x00"}
    contents |= {"cut.jpg": jpeg[:5000], "cut2.jpg": jpeg[:6000]}
    contents |= {"cut.png": png[:9000], "length.png": png[:33] + b"\0\0\x10\0" + png[37:]}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    path = make_recording(tmp_path, n_frames=1)
    add_rows(path, "observations", *(observation(name, i + 1, name) for i, name in enumerate(contents)))
    add_rows(path, "observations", *[observation(None, 1.0, "noise.png")] * 3)
    assert unusable(select_frames(path, "r1", 0).counts) == {
        "not a JPEG, PNG or WebP image, e.g. gif.jpg": 3,
        "image cut or damaged, e.g. length.png": 4,
        "its id or its timestamp cannot be read, e.g. noise.png": 3,
    }


def test_a_png_is_an_image_too_and_a_relative_path_counts_from_the_database(tmp_path, monkeypatch):
    path = make_recording(tmp_path, n_frames=0)
    Image.new("RGB", (20, 10)).save(tmp_path / "shot.png")
    add_rows(path, "observations", observation("o", 0.0, "shot.png"))
    monkeypatch.chdir(tmp_path)
    (frame,) = select_frames(Path("escribano.db"), "r1", 0).frames
    assert (frame.image_path, frame.width) == (tmp_path / "shot.png", 20)


@pytest.mark.parametrize(
    ("stored", "names"),
    [
        *((nothing, None) for nothing in (None, "", "null", b"\xff")),
        ("[]", ()),
        ('["VS Code", "", null]', ("VS Code",)),
        ("VS Code, Chrome", ("VS Code", "Chrome")),
        ('"VS Code"', ("VS Code",)),
        ("[VS Code, Chrome]", ("VS Code", "Chrome")),
        ('["the "new" editor","Chrome"]', ('the "new" editor', "Chrome")),
        ("[1, 2]", ("1", "2")),
        ("2048", ("2048",)),
        ("[" * 100_000, ("[" * 99_999,)),
    ],
)
def test_names_are_read_from_json_and_from_plain_lists_and_null_stays_unknown(stored, names):
    assert parse_names(stored) == names


def test_a_reference_has_trimmed_fields_and_the_model_of_the_run_under_way(tmp_path):
    path = make_recording(tmp_path, n_frames=0)
    image = make_image(tmp_path / "a.jpg")
    for name, started in (("first", "2026-02-01T10:00:00.000Z"), ("second", "2026-03-01T10:00:00.000Z")):
        run = {"id": name, "recording_id": "r1", "run_type": "force", "started_at": started}
        # One of the app's migrations left invalid JSON.
        add_rows(path, "processing_runs", run | {"metadata": f'{{"vlm_model": "{name}","env":{{,}}'})
    written = ("2026-02-01T10:05:00.000Z", "2026-03-01 10:05:00", "2026-01-01T00:00:00.000Z")
    rows = [observation(f"o{i}", i, image, created_at=at) for i, at in enumerate(written)]
    rows[0] |= {"vlm_description": " Reading docs ", "activity_type": " Reading ", "apps": '["Chrome"]'}
    add_rows(path, "observations", *rows)
    references = [frame.reference for frame in select_frames(path, "r1", 0).frames]
    assert [reference.model for reference in references] == ["first", "second", None]
    assert (references[0].description, references[0].activity) == ("Reading docs", "reading")
    assert (references[0].apps, references[0].topics) == (("Chrome",), None)
    assert (references[1].activity, references[1].apps) == (None, None)


def test_without_any_reference_the_frames_with_an_image_take_part(tmp_path):
    path = make_recording(tmp_path, n_frames=0)
    image = make_image(tmp_path / "a.jpg")
    add_rows(path, "observations", *(observation(f"o{i}", i, image, vlm_description=None) for i in range(3)))
    chosen = select_frames(path, "r1", 0)
    assert [frame.reference_problem for frame in chosen.frames] == ["no description stored"] * 3
    assert chosen.counts["usable without a reference: no description stored, e.g. a.jpg"] == 3


@pytest.mark.usefixtures("berlin")
def test_recorder_rows_are_read_by_time_with_their_newest_description(tmp_path):
    image = make_image(tmp_path / "f.jpg")
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "frames", *(shot(f"f{i}", NOON + i, image, analyzed=i) for i in range(3)))
    add_rows(path, "frames", shot("at end", NOON + 600, image))
    rows = [
        ("new", "f1", 1, "13:00:00"),
        ("old", "f1", 1, "12:30:00"),
        ("orphan", "deleted", -60, "12:30:00"),
    ]
    for name, frame_id, after_s, written in [*rows, ("other day", "deleted", 90_000, "12:30:00")]:
        row = observation(name, NOON + after_s, image, vlm_description=name, recording_id=None)
        row |= {"frame_id": frame_id, "created_at": f"2026-11-20 {written}"}
        add_rows(path, "observations", row)
    chosen = select_frames(path, "2026-11-20T11:59Z/2026-11-20T12:10Z", 0)
    assert [frame.frame_id for frame in chosen.frames] == ["orphan", "new"]
    assert [frame.label for frame in chosen.frames] == ["frame 1 · 12:59", "frame 2 · 13:00"]
    assert chosen.frames[1].recording_id is None
    assert unusable(chosen.counts) == {
        "not described yet, e.g. f.jpg": 1,
        "the app gave up describing it, e.g. f.jpg": 1,
    }


@pytest.mark.usefixtures("berlin")
def test_days_and_windows_are_local_and_follow_the_change_of_the_clocks():
    for day, hours in (("2026-11-20", 24), ("2026-03-29", 23), ("2026-10-25", 25)):
        start_s, end_s = parse_window(day)
        assert end_s - start_s == 3600 * hours
        assert datetime.fromtimestamp(start_s).astimezone().isoformat()[:16] == f"{day}T00:00"
    local = parse_window("2026-11-20T09:00/2026-11-20T12:30")
    assert local == parse_window("2026-11-20T08:00Z/2026-11-20T11:30Z")
    for selection in ("latest", "cap-1", "a/b", "2026-11-20-standup", "20261120"):
        assert parse_window(selection) is None


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
    expected = {"started_at": "2026-02-01T10:00:00Z", "model": "qwen3-vl:4b", "n_frames": 182}
    assert old == expected | {"s_per_frame": 8.0}

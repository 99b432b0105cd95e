"""Frames: which rows are found, which are usable and why not, and what is known of each."""

import hashlib
import time
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image

from poc_lib.database import select_frames
from poc_lib.database.frames import parse_names, parse_window
from poc_lib.images import look_distance
from tests.schemas import (
    DAY,
    NOON,
    RawText,
    add_rows,
    make_database,
    make_image,
    make_recording,
    observation,
    shot,
)


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
    rows = {
        "new": ("f1", 1, "13:00:00"),
        "old": ("f1", 1, "12:30:00"),
        "orphan": ("deleted", -60, "12:30:00"),
    }
    rows["other day"] = ("deleted", 90_000, "12:30:00")
    for name, (frame_id, after_s, written) in rows.items():
        row = observation(
            name, NOON + after_s, image, recording_id=None, frame_id=frame_id, vlm_description=name
        )
        add_rows(path, "observations", row | {"created_at": f"2026-11-20 {written}"})
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

import json

import pytest
from PIL import Image

from poc_lib.errors import SetupProblem
from poc_lib.escribano import read_frames
from tests.schemas import (
    add_rows,
    make_database,
    make_image,
    make_recording,
    observation,
    recorder_frame,
    recording,
)

NOON = 1_795_176_000.0  # 2026-11-20T12:00:00Z
DAY = "2026-11-20T00:00:00+00:00/2026-11-21T00:00:00+00:00"


def _recorder(tmp_path, *frames):
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "frames", *frames)
    return path


def test_all_visual_rows_come_back_in_time_order_and_audio_does_not(tmp_path):
    path = make_recording(tmp_path)
    add_rows(
        path, "observations", observation("early", 5.0, None), observation("speech", 6.0, None, type="audio")
    )
    assert [frame.frame_id for frame in read_frames(path, "r1")] == ["o0", "early", "o1", "o2"]


def test_an_unusable_row_comes_back_with_its_reason_and_its_image(tmp_path):
    path = make_recording(tmp_path, n_frames=1)
    image = make_image(tmp_path / "b.jpg")
    add_rows(path, "observations", observation("bad", 50.0, image, vlm_description=None))
    bad = read_frames(path, "r1")[-1]
    assert bad.reference is None
    assert bad.reference_problem == "no description stored"
    assert bad.image_problem is None


def test_the_size_is_that_of_the_file_itself(tmp_path):
    path = make_recording(tmp_path, n_frames=1)
    add_rows(path, "observations", observation("large", 50.0, make_image(tmp_path / "l.jpg", (1920, 1080))))
    assert [(f.width, f.height) for f in read_frames(path, "r1")] == [(64, 36), (1920, 1080)]


def test_each_kind_of_bad_image_file_has_its_own_reason(tmp_path):
    empty, text, cut = (tmp_path / name for name in ("empty.jpg", "text.jpg", "cut.jpg"))
    empty.touch()
    text.write_text("no picture")
    noise = Image.effect_noise((200, 200), 90)
    noise.save(cut, format="JPEG")
    cut.write_bytes(cut.read_bytes()[:5000])
    images = [tmp_path / "gone.jpg", empty, text, cut, None, tmp_path]
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", recording())
    add_rows(path, "observations", *(observation(f"o{i}", i, image) for i, image in enumerate(images)))
    frames = read_frames(path, "r1")
    problems = [frame.image_problem for frame in frames]
    expected = ["missing", "empty file", "not an image", "cut short", "no image path stored", "missing"]
    assert problems == expected
    assert all(frame.width is None and frame.height is None for frame in frames)


def test_a_png_is_an_image_too_and_a_relative_path_counts_from_the_database(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "shot.png")
    path = make_database(tmp_path / "escribano.db")
    add_rows(path, "recordings", recording())
    add_rows(path, "observations", observation("o", 0.0, None) | {"image_path": "shot.png"})
    (frame,) = read_frames(path, "r1")
    assert (frame.image_path, frame.width) == (tmp_path / "shot.png", 20)


def test_the_model_is_that_of_the_run_under_way_when_the_row_was_written(tmp_path):
    path = make_recording(tmp_path, n_frames=0)
    for name, started in (("first", "2026-02-01T10:00:00.000Z"), ("second", "2026-03-01T10:00:00.000Z")):
        run = {"id": name, "recording_id": "r1", "run_type": "force", "started_at": started}
        add_rows(path, "processing_runs", run | {"metadata": json.dumps({"vlm_model": name})})
    add_rows(
        path,
        "observations",
        observation("a", 0.0, None, created_at="2026-02-01T10:05:00.000Z"),
        observation("b", 1.0, None, created_at="2026-03-01 10:05:00"),
        observation("c", 2.0, None, created_at="2026-01-01T00:00:00.000Z"),
    )
    assert [frame.reference.model for frame in read_frames(path, "r1")] == ["first", "second", None]


def test_recorder_rows_without_a_recording_are_read_by_time_with_their_descriptions(tmp_path):
    image = make_image(tmp_path / "f.jpg")
    path = _recorder(tmp_path, recorder_frame("f1", NOON, image), recorder_frame("f2", NOON + 60, image))
    described = observation("o1", NOON, image, recording_id=None, frame_id="f1", activity_type="coding")
    add_rows(path, "observations", described)
    first, second = read_frames(path, DAY)
    assert (first.frame_id, first.recording_id, first.timestamp_s) == ("o1", None, NOON)
    assert first.captured_at == "2026-11-20T12:00:00Z"
    assert first.reference.activity == "coding"
    assert (second.frame_id, second.reference, second.image_problem) == ("f2", None, None)


@pytest.mark.parametrize(
    ("analyzed", "problem"),
    [(0, "not described yet"), (1, "no description stored"), (2, "the app gave up describing it")],
)
def test_a_recorder_frame_without_a_description_says_how_far_the_app_got(tmp_path, analyzed, problem):
    image = make_image(tmp_path / "f.jpg")
    path = _recorder(tmp_path, recorder_frame("f", NOON, image, analyzed=analyzed))
    assert read_frames(path, DAY)[0].reference_problem == problem


def test_a_frame_described_twice_is_one_frame_with_its_newest_description(tmp_path):
    image = make_image(tmp_path / "f.jpg")
    path = _recorder(tmp_path, recorder_frame("f", NOON, image))
    common = {"recording_id": None, "frame_id": "f"}
    add_rows(
        path,
        "observations",
        observation(
            "new", NOON, image, vlm_description="new text", created_at="2026-11-20 13:00:00", **common
        ),
        observation(
            "old", NOON, image, vlm_description="old text", created_at="2026-11-20 12:30:00", **common
        ),
    )
    (frame,) = read_frames(path, DAY)
    assert (frame.frame_id, frame.reference.description) == ("new", "new text")


def test_a_recorder_observation_whose_frame_row_is_gone_still_comes_back_in_order(tmp_path):
    image = make_image(tmp_path / "f.jpg")
    path = _recorder(tmp_path, recorder_frame("f", NOON, image))
    common = {"recording_id": None, "frame_id": "deleted"}
    add_rows(
        path,
        "observations",
        observation("before", NOON - 5, image, **common),
        observation("other day", NOON + 90_000, image, **common),
        observation("of a recording", NOON, image, recording_id="r1"),
    )
    assert [frame.frame_id for frame in read_frames(path, DAY)] == ["before", "f"]


def test_a_window_holds_its_start_but_not_its_end(tmp_path):
    image = make_image(tmp_path / "f.jpg")
    times = {"at start": NOON, "inside": NOON + 599.9, "at end": NOON + 600}
    path = _recorder(tmp_path, *(recorder_frame(name, at, image) for name, at in times.items()))
    frames = read_frames(path, "2026-11-20T12:00Z/2026-11-20T12:10Z")
    assert [frame.frame_id for frame in frames] == ["at start", "inside"]


def test_an_empty_window_names_the_recorders_last_day(tmp_path):
    path = _recorder(tmp_path, recorder_frame("f", NOON, make_image(tmp_path / "f.jpg")))
    with pytest.raises(SetupProblem, match=r"no recorder frames in 2025-01-01: .*holds 1 frames"):
        read_frames(path, "2025-01-01")

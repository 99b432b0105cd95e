import pytest

from poc_lib.checks.data import check_frames, check_past_speed, count_in_videos
from poc_lib.escribano import PastSpeed
from poc_lib.records import Recording
from tests.builders import frame
from tests.test_checks_kit import assert_reads_well, one, states

LOST = {"image_problem": "missing; its video /Users/me/rec-1.mov is missing too"}


def frames(n, first=0, **changes):
    return [frame(f"f{first + index}", **changes) for index in range(n)]


def test_enough_frames_with_images_and_references_are_fine():
    checks = check_frames(frames(4), frames(9), 4)
    assert states(checks) == {"frames": "ok", "images": "ok", "references": "ok"}
    assert one(checks, "frames").found == "4 of 9 frames chosen"
    assert one(checks, "images").found == "all 9 there"


def test_too_few_frames_say_what_to_set():
    check = one(check_frames(frames(3), frames(3), 16), "frames")
    assert check.state == "warning"
    assert "16 wanted" in check.found
    assert "n_frames to 3" in check.to_do
    assert_reads_well(check)


def test_missing_images_are_counted_with_those_recovered_and_why_the_rest_is_lost():
    every = [*frames(5), *frames(3, 5, recovered=True), *frames(2, 8, **LOST)]
    check = one(check_frames(frames(5), every, 5), "images")
    assert check.state == "warning"
    assert check.found == (
        "5 of 10 are missing or broken: 3 cut again from the video, 2 lost (its video is missing too)"
    )
    assert_reads_well(check)


def test_images_that_were_all_recovered_are_fine():
    check = one(check_frames(frames(2), [*frames(2), *frames(2, 2, recovered=True)], 2), "images")
    assert (check.state, check.found) == ("ok", "2 of 4 are missing or broken: 2 cut again from the video")


def test_the_most_frequent_reason_is_named_when_there_are_several():
    every = [*frames(3, **LOST), frame("x", image_problem="not an image")]
    assert "3 of them: its video is missing too" in one(check_frames([], every, 1), "images").found


def test_images_that_could_be_recovered_say_how():
    every = [*frames(2), *frames(4, 2, image_problem="missing")]
    check = one(check_frames(every[:2], every, 2, n_in_videos=3), "images")
    assert check.state == "warning"
    assert "3 can be cut from the video" in check.found
    assert check.to_do == "set recover_missing to true"


def test_only_frames_whose_video_exists_can_be_recovered(tmp_path):
    video = tmp_path / "there.mov"
    video.write_bytes(b"x")
    recordings = [
        Recording("a", None, None, None, video, 1, 1),
        Recording("b", None, None, None, tmp_path / "gone.mov", 1, 1),
        Recording("c", None, None, None, None, 1, 1),
    ]
    lost = {"image_problem": "missing"}
    every = [frame(str(i), recording_id=name, **lost) for i, name in enumerate(["a", "b", "c", None])]
    assert count_in_videos([*every, frame("whole", recording_id="a")], recordings) == 1


@pytest.mark.parametrize(("n_without", "state"), [(2, "ok"), (6, "warning")])
def test_references_only_matter_when_there_is_none(n_without, state):
    every = [*frames(6 - n_without), *frames(n_without, 6, reference=None, reference_problem="empty")]
    check = one(check_frames(every, every, 6), "references")
    assert check.state == state
    assert check.found.startswith(f"{n_without} of 6 frames")
    assert_reads_well(check)


def test_the_apps_own_speed_is_told_where_it_was_recorded():
    assert check_past_speed([]) == []
    newest = PastSpeed("r", "2026-02-01", "qwen3-vl:4b", 182, 1456.0, 8.0)
    (check,) = check_past_speed([newest, PastSpeed("r", None, None, 1, 1.0, 1.0)])
    assert check.found == "8.00 s a frame over 182 frames (qwen3-vl:4b, 2026-02-01)"

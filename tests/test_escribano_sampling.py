from pathlib import Path

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.escribano import count_frames, sample_frames
from poc_lib.records import Frame, Reference

REFERENCE = Reference("Editing", "coding", None, None, None)


def _frame(at, image_problem=None, reference=REFERENCE, **more):
    problem = None if reference else "no description stored"
    return Frame(
        f"f{at}",
        float(at),
        Path("x.jpg"),
        image_problem=image_problem,
        reference=reference,
        reference_problem=problem,
        **more,
    )


def _times(frames):
    return [frame.timestamp_s for frame in frames]


def test_an_even_sample_spreads_over_time_and_not_over_rows():
    busy_start = [_frame(at) for at in (0, 1, 2, 3, 4, 5, 50, 100)]
    assert _times(sample_frames(busy_start, 3, "even", 0)) == [0, 50, 100]


def test_an_even_sample_never_repeats_a_frame_where_time_has_a_gap():
    gap = [_frame(at) for at in (0, 1, 2, 1000)]
    assert _times(sample_frames(gap, 3, "even", 0)) == [0, 2, 1000]


def test_an_even_sample_leaves_enough_frames_for_the_moments_that_follow():
    sparse_end = [_frame(at) for at in (0, 1, 2, 3, 10)]
    assert _times(sample_frames(sparse_end, 4, "even", 0)) == [0, 2, 3, 10]


def test_a_sample_of_one_is_from_the_middle():
    assert _times(sample_frames([_frame(at) for at in range(11)], 1, "even", 0)) == [5]


def test_equal_times_do_not_upset_the_sample():
    frames = [_frame(7, recording_id=str(i)) for i in range(5)]
    assert len(sample_frames(frames, 3, "even", 0)) == 3


def test_a_random_sample_depends_on_the_seed_alone_and_comes_in_time_order():
    frames = [_frame(at) for at in range(40)]
    first = sample_frames(frames, 6, "random", 1)
    assert sample_frames(frames[::-1], 6, "random", 1) == first
    assert sample_frames(frames, 6, "random", 2) != first
    assert _times(first) == sorted(_times(first))


@pytest.mark.parametrize("sample", ["even", "random"])
def test_frames_that_cannot_be_sent_or_have_no_reference_are_not_drawn(sample):
    frames = [_frame(0), _frame(1, "missing"), _frame(2, reference=None), _frame(3)]
    assert _times(sample_frames(frames, 3, sample, 0)) == [0, 3]


def test_without_any_reference_the_frames_with_an_image_are_drawn():
    frames = [_frame(0, reference=None), _frame(1, "missing"), _frame(2, reference=None)]
    assert _times(sample_frames(frames, 5, "even", 0)) == [0, 2]


def test_fewer_frames_than_wanted_are_all_returned_in_time_order():
    assert _times(sample_frames([_frame(2), _frame(1)], 9, "even", 0)) == [1, 2]


def test_no_image_at_all_is_a_problem_that_counts_the_reasons():
    frames = [
        _frame(0, "missing"),
        _frame(1, "missing; its video v.mp4 is missing too"),
        _frame(2, "empty file"),
    ]
    with pytest.raises(SetupProblem, match=r"none of 3 frames.*2 × image: missing; 1 × image: empty file"):
        sample_frames(frames, 2, "even", 0)


def test_no_frames_at_all_is_a_problem():
    with pytest.raises(SetupProblem, match="no frames"):
        sample_frames([], 2, "even", 0)


def test_the_counts_add_up_and_name_every_reason():
    counts = count_frames(
        [
            _frame(0),
            _frame(1, "missing"),
            _frame(2, reference=None),
            _frame(3, recovered=True),
            _frame(4, "missing; x"),
        ]
    )
    assert counts == {
        "frames": 5,
        "usable (image and reference)": 2,
        "images that can be sent": 3,
        "recovered from the video": 1,
        "usable references": 4,
        "image: missing": 2,
        "no reference: no description stored": 1,
    }

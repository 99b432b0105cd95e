import numpy as np
import pandas as pd

from poc_lib.intervals import group_frames
from poc_lib.intervals.groups import GROUPS_AT_LEAST, GROUPS_AT_MOST, group_for_intervals
from poc_lib.looks import LOOKS_DIFFERENT_BITS

SCENES = ["0000000000000000", "ffff000000000000", "0000ffff00000000", "00000000ffff0000"]


def frames(hashes: list[str | None]) -> pd.DataFrame:
    n = len(hashes)
    return pd.DataFrame({"frame_id": [f"f{i}" for i in range(n)], "timestamp_s": range(n), "phash": hashes})


def different(n: int) -> list[str]:
    return [SCENES[i % 4] for i in range(n)]


def test_groups_hold_at_least_so_many_frames_and_the_short_rest_joins_the_last():
    assert group_frames(frames(different(8)), 3).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert group_frames(frames(different(3)), 1).tolist() == [0, 1, 2]
    assert group_frames(frames(different(3)), 5).tolist() == [0, 0, 0]


def test_a_run_of_neighbours_that_look_alike_is_never_cut():
    hashes = [SCENES[0], SCENES[1], SCENES[1], SCENES[1], SCENES[2], SCENES[3]]
    assert group_frames(frames(hashes), 2).tolist() == [0, 0, 0, 0, 1, 1]
    assert group_frames(frames(hashes), 1).tolist() == [0, 1, 1, 1, 2, 3]


def test_alike_means_fewer_bits_than_tell_two_screens_apart():
    just_alike, just_different = (
        f"{2**bits - 1:016x}" for bits in (LOOKS_DIFFERENT_BITS - 1, LOOKS_DIFFERENT_BITS)
    )
    assert group_frames(frames([SCENES[0], just_alike])).tolist() == [0, 0]
    assert group_frames(frames([SCENES[0], just_different])).tolist() == [0, 1]


def test_frames_without_a_hash_count_as_different():
    assert group_frames(frames([None, None, SCENES[0]])).tolist() == [0, 1, 2]


def test_groups_follow_time_not_the_order_of_rows():
    shuffled = frames(different(4)).iloc[[2, 0, 3, 1]]
    groups = group_frames(shuffled, 2)
    assert groups.index.tolist() == ["f0", "f1", "f2", "f3"]
    assert groups.tolist() == [0, 0, 1, 1]


def test_intervals_use_whole_waves_where_enough_groups_remain():
    groups = group_for_intervals(frames(different(50)), 8)
    assert groups.value_counts().sort_index().tolist() == [8, 8, 8, 8, 8, 10]


def test_many_frames_make_few_large_groups():
    assert group_for_intervals(frames(different(100)), 1).nunique() <= GROUPS_AT_MOST


def test_waves_larger_than_the_run_allows_are_split_rather_than_leave_two_groups():
    assert group_for_intervals(frames(different(12)), 8).nunique() == GROUPS_AT_LEAST
    assert group_for_intervals(frames(different(3)), 8).nunique() == 3


def test_one_still_screen_is_one_group_whatever_is_wanted():
    assert group_for_intervals(frames([SCENES[0]] * 20), 4).tolist() == [0] * 20
    assert group_for_intervals(frames([]), 4).empty
    assert np.issubdtype(group_for_intervals(frames([]), 4).dtype, np.integer)

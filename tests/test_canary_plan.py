import pytest

from poc_lib.canary.codes import canary_id, is_canary, make_codes
from poc_lib.canary.plan import aborted_ids, canary_plan
from tests.builders import frame

CANARIES = [frame(canary_id(code)) for code in make_codes(6, seed=0)]
FRAMES = [frame(f"f{i}") for i in range(40)]


def marks(plan) -> str:
    return "".join("c" if is_canary(one.frame_id) else "r" for one in plan)


def test_canaries_and_as_many_real_frames_take_turns():
    assert marks(canary_plan(FRAMES, CANARIES, concurrency=4, seed=0)) == "cr" * 6


@pytest.mark.parametrize("concurrency", [1, 2, 4, 8, 16])
def test_every_level_gets_two_rounds_and_every_stretch_of_it_holds_canaries(concurrency):
    plan = canary_plan(FRAMES, CANARIES, concurrency, seed=0)
    assert len(plan) == max(12, 2 * concurrency)
    assert len({one.frame_id for one in plan}) == len(plan)
    assert {one.frame_id for one in CANARIES} < {one.frame_id for one in plan}
    width = len(plan) // 6 + 1
    windows = [marks(plan)[i : i + width] for i in range(len(plan) - width + 1)]
    assert all("c" in window for window in windows)
    assert marks(plan).startswith("c")


def test_fewer_frames_than_wanted_are_all_sent():
    assert sorted(marks(canary_plan(FRAMES[:3], CANARIES, 8, seed=0))) == ["c"] * 6 + ["r"] * 3
    assert marks(canary_plan([], CANARIES, 2, seed=0)) == "cccccc"
    assert canary_plan(FRAMES, [], 2, seed=0) == []


def test_a_plan_is_the_same_for_every_server_and_another_with_another_seed():
    assert canary_plan(FRAMES, CANARIES, 4, seed=0) == canary_plan(FRAMES, CANARIES, 4, seed=0)
    assert canary_plan(FRAMES, CANARIES, 4, seed=0) != canary_plan(FRAMES, CANARIES, 4, seed=1)


def test_about_every_third_is_given_up_canaries_and_real_frames_alike():
    plan = canary_plan(FRAMES, CANARIES, 12, seed=0)
    aborts = aborted_ids(plan, seed=0)
    assert list(aborts) == [one.frame_id for one in plan if one.frame_id in aborts]
    assert sum(map(is_canary, aborts)) == 2
    assert len(aborts) == 8
    assert aborts == aborted_ids(plan, seed=0)


def test_most_are_given_up_in_mid_answer_and_some_by_the_clock():
    aborts = aborted_ids(canary_plan(FRAMES, CANARIES, 12, seed=0), seed=0, before_first_s=0.1).values()
    assert [one.after_s for one in aborts if one.after_chunks is None] == [0.1, 0.1]
    assert all(1 <= one.after_chunks <= 5 for one in aborts if one.after_s is None)


@pytest.mark.parametrize(("n", "n_aborted"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2)])
def test_some_canaries_are_always_left_to_be_judged(n, n_aborted):
    assert len(aborted_ids(CANARIES[:n], seed=0)) == n_aborted

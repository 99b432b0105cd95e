import numpy as np
import pytest
from scipy import stats

from poc_lib.intervals import mean_interval, paired_mean_interval, share_interval


def test_ungrouped_values_give_the_textbook_t_interval():
    values = [1.0, 2.0, 4.0, 9.0]
    found = mean_interval(values, ["a", "b", "c", "d"])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found[:2] == pytest.approx((expected.low, expected.high))
    assert (found.n, found.n_groups) == (4, 4)


def test_copies_of_a_value_in_its_group_add_nothing():
    once = mean_interval([1.0, 2.0, 4.0, 9.0], [1, 2, 3, 4])
    thrice = mean_interval(np.repeat([1.0, 2.0, 4.0, 9.0], 3), np.repeat([1, 2, 3, 4], 3))
    assert thrice[:2] == pytest.approx(once[:2])
    assert (thrice.n, thrice.n_groups) == (12, 4)


def test_one_large_group_among_small_ones_widens_the_interval():
    values = np.tile([1.0, 2.0, 3.0, 4.0], 4)
    even = mean_interval(values, np.repeat(range(4), 4))
    uneven = mean_interval(values, [0] * 13 + [1, 2, 3])
    assert uneven.high - uneven.low > even.high - even.low


def test_a_mean_of_one_group_has_no_interval():
    found = mean_interval([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert np.isnan(found.low)
    assert np.isnan(found.high)
    assert (found.n, found.n_groups) == (3, 1)


def test_values_that_are_not_scorable_are_left_out_with_their_groups():
    found = mean_interval([1.0, None, 3.0, float("nan")], ["a", "b", "c", "d"])
    assert found == mean_interval([1.0, 3.0], ["a", "c"])
    assert found.n_groups == 2


def test_a_difference_that_clears_zero_in_every_group_clears_it_in_the_interval():
    found = paired_mean_interval([0.2, 0.21, 0.19, 0.2], list("abcd"))
    assert 0.15 < found.low < 0.2 < found.high < 0.25


def test_a_share_of_independent_values_has_wilsons_interval():
    successes = [True] * 8 + [False] * 2
    found = share_interval(successes, range(10))
    expected = stats.binomtest(8, 10).proportion_ci(method="wilson")
    assert found[:2] == pytest.approx((expected.low, expected.high))
    assert (found.n, found.n_effective) == (10, 10)


def test_answers_that_agree_in_their_group_count_once():
    successes, groups = np.repeat([1, 1, 1, 0, 1, 0], 3), np.repeat(range(6), 3)
    found = share_interval(successes, groups)
    assert found.n == 18
    assert found.n_effective == pytest.approx(6)
    assert found.high - found.low > share_interval(successes, range(18)).high - 0.5


def test_few_groups_are_worth_less_than_their_values_even_where_they_look_independent():
    successes, groups = [1, 0] * 6, np.repeat(range(6), 2)  # every group holds one of each
    expected = 12 * (stats.t.isf(0.025, 11) / stats.t.isf(0.025, 5)) ** 2
    assert share_interval(successes, groups).n_effective == pytest.approx(expected)


def test_groups_more_even_than_chance_are_never_worth_more_than_their_values():
    successes = [1, 1, 0, 0, *[1, 0] * 38]
    found = share_interval(successes, np.repeat(range(40), 2))
    assert 70 < found.n_effective <= found.n == 80


def test_no_success_at_all_still_leaves_room_and_counts_groups_not_values():
    found = share_interval([0] * 30, np.repeat(range(10), 3))
    expected = stats.binomtest(0, 10).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((0.0, expected.high))
    assert found.n_effective == pytest.approx(10)


def test_nothing_to_score_is_nan_with_n_0():
    found = share_interval([None, float("nan")], ["a", "b"])
    assert np.isnan(found.low)
    assert np.isnan(found.n_effective)
    assert found.n == 0
    assert mean_interval([], []).n == 0


def test_labels_that_do_not_fit_the_values_are_refused():
    with pytest.raises(ValueError, match="3 values and 2 group labels"):
        mean_interval([1, 2, 3], ["a", "b"])


def test_mean_intervals_of_few_uneven_groups_hold_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        groups = np.repeat(range(6), [8, 4, 2, 2, 1, 1])
        values = rng.normal(size=6)[groups] + 0.3 * rng.normal(size=18)
        found = mean_interval(values, groups)
        held.append(found.low <= 0 <= found.high)
    assert 0.93 <= np.mean(held) <= 0.99

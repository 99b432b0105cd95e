import numpy as np
import pytest
from scipy import stats

from poc_lib.intervals.crossed import (
    Spread,
    block_share,
    half_width,
    half_width_by_parts,
    log_ratio,
    rate_interval,
    spread_of_mean,
)


def spread(by_blocks: float, by_groups: float, rest: float) -> Spread:
    """Of three blocks and five groups of equal size."""
    parts = [np.asarray(value) for value in (by_blocks, by_groups, rest)]
    return Spread(*parts, 3, 5, np.asarray(2.0), np.asarray(4.0))


def t(freedom: int) -> float:
    return float(stats.t.isf(0.025, freedom))


def test_the_log_ratio_is_that_of_the_totals_and_its_terms_have_mean_0():
    over, under = np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([[1.0, 1.0], [2.0, 2.0]])
    estimate, linear = log_ratio([over], [under])
    assert np.exp(estimate) == pytest.approx(2.0)
    assert linear.mean() == pytest.approx(0.0)
    assert linear[1, 1] == pytest.approx(6 / 3 - 2 / 1.5)


@pytest.mark.filterwarnings("error")
def test_a_total_of_0_has_no_ratio():
    estimate, low, high = rate_interval([np.zeros((2, 3))], [np.ones((2, 3))], 0.95)
    assert np.isnan([estimate, low, high]).all()


def test_mean_squares_are_those_of_a_two_way_analysis_of_variance():
    values = np.array([[1.0, 3.0], [2.0, 8.0]])
    found = spread_of_mean(values, [np.ones((2, 2))])
    block_means, group_means = [2.0, 5.0], [1.5, 5.5]
    assert found.by_blocks == pytest.approx(np.var(block_means, ddof=1) / 2)
    assert found.by_groups == pytest.approx(np.var(group_means, ddof=1) / 2)
    assert found.rest == pytest.approx(1.0)  # four residuals of 1, one degree of freedom, four values


def test_groups_of_unequal_weight_leave_fewer_degrees_of_freedom():
    values = np.arange(8.0).reshape(2, 4)
    even = spread_of_mean(values, [np.ones((2, 4))])
    uneven = spread_of_mean(values, [np.array([[5.0, 1, 1, 1]] * 2)])
    assert even.df_groups == pytest.approx(3)
    assert uneven.df_groups == pytest.approx(64 / 28 - 1)
    assert even.df_blocks == 1


def test_each_mean_square_has_the_quantile_of_its_own_degrees_of_freedom():
    blocks_lead = half_width(spread(9.0, 4.0, 1.0), 0.95)
    assert blocks_lead == pytest.approx(np.sqrt(t(2) ** 2 * 9 + t(4) ** 2 * 3))
    groups_lead = half_width(spread(1.0, 9.0, 2.0), 0.95)
    assert groups_lead == pytest.approx(np.sqrt(t(2) ** 2 * 1 + t(4) ** 2 * 7))
    few_blocks_alike = half_width(spread(0.01, 9.0, 2.0), 0.95)
    assert few_blocks_alike == pytest.approx(np.sqrt(t(4) ** 2 * 9))


def test_by_parts_each_part_of_the_variance_has_its_own_quantile():
    found = half_width_by_parts(spread(9.0, 4.0, 1.0), 0.95)
    assert found == pytest.approx(np.sqrt(t(2) ** 2 * 8 + t(4) ** 2 * 3 + t(8) ** 2 * 1))
    assert found < half_width(spread(9.0, 4.0, 1.0), 0.95)


def test_the_share_of_blocks_is_what_exceeds_the_rest():
    assert block_share(spread(9.0, 4.0, 1.0)) == pytest.approx(8 / 12)
    assert block_share(spread(0.5, 4.0, 1.0)) == 0
    assert np.isnan(block_share(spread(0.0, 0.0, 0.0)))


def test_one_group_leaves_the_t_interval_of_the_block_means():
    blocks = np.array([[2.0], [3.0], [5.0]])
    _, linear = log_ratio([blocks], [np.ones((3, 1))])
    half = half_width(spread_of_mean(linear, [blocks]), 0.95)
    assert half == pytest.approx(t(2) * stats.sem(blocks.ravel() / blocks.mean()))


def test_many_runs_at_once_give_what_each_gives_alone():
    rng = np.random.default_rng(5)
    over, under = rng.gamma(5, size=(4, 3, 6)), rng.gamma(5, size=(4, 3, 6))
    together = rate_interval([over], [under], 0.95)
    for run in range(4):
        alone = rate_interval([over[run]], [under[run]], 0.95)
        assert [part[run] for part in together] == pytest.approx([float(part) for part in alone])

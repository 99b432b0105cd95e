import itertools
import math

import numpy as np
import pandas as pd
import pytest

from poc_lib.confusion.chance import (
    allowed_p_value,
    association_p_value,
    holm,
    paired_p_value,
    poisson_binomial_tail,
    rare_p_value,
    upper_bound,
)
from poc_lib.confusion.placing import tail_chance


def answers(flagged, blocks=1):
    """Whether each answer is flagged; a frame's flag holds in its first block only."""
    index = pd.MultiIndex.from_product([range(len(flagged)), range(blocks)], names=["frame_id", "block"])
    return pd.Series([bool(flagged[frame]) and block == 0 for frame, block in index], index=index)


def test_nothing_wrong_among_64_leaves_room_for_less_than_six_percent():
    assert upper_bound(0, 64) == pytest.approx(1 - 0.025 ** (1 / 64))
    assert f"{upper_bound(0, 64):.1%}" == "5.6%"
    assert math.isnan(upper_bound(0, 0))
    assert upper_bound(3, 3) == 1.0


def test_against_one_calm_level_the_test_is_mcnemars():
    loaded, calm = [1] * 7 + [0] * 3, [0] * 5 + [1] * 2 + [1] + [0] * 2
    # five frames flagged under load only, one without only, two at both, two at neither
    expected = sum(math.comb(6, k) for k in (5, 6)) / 2**6
    assert paired_p_value(answers(loaded), [answers(calm)]) == pytest.approx(expected)


def test_a_frame_flagged_at_every_level_accuses_nobody():
    terse = answers([1] * 40)
    assert paired_p_value(terse, [terse]) == 1.0
    assert paired_p_value(answers([1] * 40), [answers([0] * 40)]) == pytest.approx(2.0**-40)


def test_more_calm_levels_make_the_same_count_less_likely_by_chance():
    loaded, calm = answers([1, 1, 0]), answers([0, 0, 0])
    assert paired_p_value(loaded, [calm]) == pytest.approx(1 / 4)
    assert paired_p_value(loaded, [calm, calm]) == pytest.approx(1 / 9)


def test_blocks_of_one_frame_count_once_and_only_blocks_that_all_levels_have():
    assert paired_p_value(answers([1], blocks=3), [answers([0], blocks=3)]) == pytest.approx(1 / 2)
    only_second = answers([1, 0], blocks=2).drop((0, 0))  # the flagged block was not measured without load
    assert paired_p_value(answers([1, 0], blocks=2), [only_second.astype(bool)]) == 1.0
    assert math.isnan(paired_p_value(answers([1]), []))


def test_the_tail_of_a_sum_of_unequal_coins_equals_full_enumeration():
    p = np.array([0.5, 0.5, 0.25, 1.0, 0.0])
    for k in range(6):
        chance = sum(
            np.prod(np.where(heads, p, 1 - p))
            for heads in itertools.product([0, 1], repeat=5)
            if sum(heads) >= k
        )
        assert poisson_binomial_tail(p, k) == pytest.approx(float(chance))


def test_fast_answers_that_are_all_repeats_are_no_coincidence():
    p_value, expected = association_p_value([(50, 3, 3, 3)])
    assert p_value == pytest.approx(1 / math.comb(50, 3))
    assert expected == pytest.approx(9 / 50)
    assert association_p_value([(50, 3, 3, 0)])[0] == 1.0
    one, two = association_p_value([(10, 1, 1, 1)])[0], association_p_value([(10, 1, 1, 1)] * 2)[0]
    assert (one, two) == (pytest.approx(1 / 10), pytest.approx(1 / 100))


def test_where_there_is_no_repeat_or_no_fast_answer_there_is_nothing_to_test():
    p_value, expected = association_p_value([(50, 0, 5, 0), (50, 5, 0, 0), (0, 0, 0, 0)])
    assert math.isnan(p_value)
    assert expected == 0


def test_wrong_references_are_allowed_for_where_no_server_vouches_for_them():
    assert allowed_p_value(answers([1] * 2 + [0] * 48), 0.05) > 0.5
    assert allowed_p_value(answers([1] * 12 + [0] * 38), 0.05) < 1e-4
    assert math.isnan(allowed_p_value(answers([]), 0.05))


def chances(values):
    return pd.Series(values, index=pd.Index(range(len(values)), name="frame_id"))


def test_one_glaring_answer_and_a_few_odd_ones_both_count():
    usual = [1.0] * 47
    assert rare_p_value(chances([*usual, 1.0, 1.0, 1e-8])) == pytest.approx(5 * 50 * 1e-8, rel=1e-3)
    assert rare_p_value(chances([*usual, 1e-3, 1e-3, 1e-3])) < 2e-4
    assert rare_p_value(chances([*usual, 1.0, 1.0, 1e-3])) > 0.2


def test_the_same_frame_odd_in_every_block_counts_once():
    frames = pd.Index([0, 0, 0, *range(1, 50)], name="frame_id")
    thrice = pd.Series([1e-3] * 3 + [1.0] * 49, index=frames)
    assert rare_p_value(thrice) > 0.5
    assert math.isnan(rare_p_value(chances([np.nan])))


def test_uniform_chances_give_a_valid_p_value():
    draw = np.random.default_rng(1)
    values = [rare_p_value(chances(draw.uniform(size=40))) for _ in range(400)]
    assert np.mean(np.array(values) <= 0.05) <= 0.05


def test_holms_adjustment_is_his():
    assert holm([0.01, 0.04, 0.03, np.nan]).tolist()[:3] == pytest.approx([0.03, 0.06, 0.06])
    assert math.isnan(holm([0.01, np.nan])[1])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]


def test_the_tail_is_that_of_the_servers_own_upper_quarter():
    pool = pd.Series(np.random.default_rng(0).exponential(0.1, 4000))
    found = tail_chance(pd.Series([0.4, 0.8, 0.05]), pool)
    assert found[0] == pytest.approx(math.exp(-4), rel=0.4)
    assert found[1] == pytest.approx(math.exp(-8), rel=0.7)
    assert found[2] == 1.0
    assert tail_chance(pd.Series([0.4]), pd.Series(dtype=float)).tolist() == [1.0]


def test_one_confused_answer_in_ten_does_not_hide_itself_in_the_tail():
    honest = np.random.default_rng(0).normal(-0.4, 0.1, 180)
    alone, among = pd.Series([0.5]), pd.Series([*honest, *[0.5] * 20])
    assert tail_chance(alone, among)[0] < 1e-3

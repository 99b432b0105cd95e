"""When requests of an open loop are due."""

import statistics

import pytest

from poc_lib.arrivals import plan_arrivals


def test_constant_arrivals_are_evenly_spaced_from_the_start():
    assert plan_arrivals(4, 0.5, "constant", seed=1) == [0.0, 2.0, 4.0, 6.0]


@pytest.mark.parametrize("rate_per_s", [0.25, 20.0])
def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential(rate_per_s):
    due_s = plan_arrivals(20_000, rate_per_s, "poisson", seed=3)
    gaps_s = [later - earlier for earlier, later in zip([0.0, *due_s], due_s, strict=False)]
    assert min(gaps_s) > 0
    assert statistics.mean(gaps_s) * rate_per_s == pytest.approx(1, rel=0.03)
    assert statistics.pstdev(gaps_s) * rate_per_s == pytest.approx(1, rel=0.03)
    assert statistics.median(gaps_s) * rate_per_s == pytest.approx(0.693, rel=0.04)  # ln 2


def test_the_seed_decides_the_moments():
    drawn = plan_arrivals(5, 1.0, "poisson", seed=7)
    assert plan_arrivals(5, 1.0, "poisson", seed=7) == drawn
    assert plan_arrivals(5, 1.0, "poisson", seed=8) != drawn


def test_another_rate_is_the_same_pattern_faster():
    slow = plan_arrivals(50, 1.0, "poisson", seed=7)
    fast = plan_arrivals(50, 4.0, "poisson", seed=7)
    assert fast == pytest.approx([moment / 4 for moment in slow])


def test_fewer_requests_are_the_beginning_of_more():
    assert plan_arrivals(3, 2.0, "poisson", seed=7) == plan_arrivals(9, 2.0, "poisson", seed=7)[:3]


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, float("nan")])
def test_a_rate_that_is_no_rate_is_refused(rate_per_s):
    with pytest.raises(ValueError, match="a rate above 0 requests per second expected"):
        plan_arrivals(3, rate_per_s, "constant", seed=0)


def test_a_closed_loop_has_no_moments():
    with pytest.raises(ValueError, match="'constant' or 'poisson' expected, got 'closed'"):
        plan_arrivals(3, 1.0, "closed", seed=0)

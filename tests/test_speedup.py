"""The estimate, its interval and the blocks that it rests on."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks import coverage
from poc_lib.metrics import speedup
from poc_lib.metrics.speedup import estimate, look_blocks, summarize_blocks

SPREAD = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0])


def blocks_around(ratio: float, spread: float = 0.02, n: int = 6) -> np.ndarray:
    return np.log(ratio) + spread * np.resize(SPREAD, n)


@pytest.mark.parametrize(
    ("ratio", "spread", "label", "is_open"),
    [
        (0.6, 0.02, "not recommended", False),
        (1.2, 0.02, "not recommended", False),
        (1.47, 0.02, "inconclusive", True),
        (1.7, 0.02, "marginal", False),
        (1.7, 0.12, "inconclusive", True),
        (1.95, 0.03, "marginal", True),
        (2.4, 0.02, "recommendation", False),
        (2.9, 0.05, "recommendation", True),
        (3.6, 0.05, "strong recommendation", False),
        (9.0, 0.50, "strong recommendation", False),
    ],
)
def test_the_label_is_the_highest_step_that_the_lower_bound_reaches(ratio, spread, label, is_open):
    found = estimate(blocks_around(ratio, spread), 12)
    assert (found.label, found.open_above, found.decided) == (label, is_open, not is_open)
    assert (found.more_blocks is None) == found.decided


def test_anyone_can_recompute_the_interval_in_three_lines():
    ratios = np.log([2.1, 2.6, 2.3, 2.2, 2.5, 2.4, 2.0, 2.7])
    found = estimate(ratios, 12)
    low, high = stats.t.interval(found.confidence, len(ratios) - 1, ratios.mean(), stats.sem(ratios))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert found.speedup == pytest.approx(stats.gmean([2.1, 2.6, 2.3, 2.2, 2.5, 2.4, 2.0, 2.7]))


def test_fewer_than_two_blocks_give_no_interval_and_decide_nothing():
    none, one = estimate([], 12), estimate([math.nan, math.log(9)], 12)
    assert math.isnan(none.speedup)
    assert one.speedup == pytest.approx(9)
    for found, missing in ((none, 4), (one, 3)):
        assert np.isnan([found.low, found.high, found.confidence]).all()
        assert (found.label, found.decided, found.open_above) == ("inconclusive", False, False)
        assert found.more_blocks == missing


def test_equal_blocks_do_not_claim_to_know_the_speed_up_exactly():
    found = estimate([math.log(2.4)] * 4, 12)
    assert found.low < 2.39 < 2.41 < found.high
    assert estimate([math.log(2.0)] * 4, 12).decided is False


def test_a_block_without_a_ratio_is_not_counted():
    with_gap = estimate([*blocks_around(2.4), math.nan], 12)
    assert with_gap == estimate(blocks_around(2.4), 12)
    assert with_gap.n_blocks == 6


def test_looks_come_after_four_blocks_and_every_two_up_to_the_last():
    assert [look_blocks(most) for most in range(6)] == [[], [], [2], [3], [4], [5]]
    assert [look_blocks(most) for most in (6, 7)] == [[4, 6], [4, 7]]
    assert look_blocks(13) == [4, 6, 8, 10, 13]


@pytest.mark.parametrize("max_blocks", [2, 5, 6, 12, 13, 24, 60])
def test_all_looks_together_err_in_five_per_cent_of_runs(max_blocks):
    drawn = np.random.default_rng(max_blocks).standard_normal((20_000, max_blocks))
    missed = np.zeros(len(drawn), dtype=bool)
    for n in look_blocks(max_blocks):
        t = np.abs(drawn[:, :n].mean(axis=1)) / stats.sem(drawn[:, :n], axis=1)
        missed |= t > stats.t.isf((1 - speedup.confidence_at(n, max_blocks)) / 2, n - 1)
    assert 0.035 < missed.mean() < 0.057


def test_more_blocks_are_foreseen_from_the_spread_and_the_distance_to_a_threshold():
    near, nearer, noisy = (
        estimate(blocks_around(*at), 12) for at in ((2.1, 0.05), (2.03, 0.05), (2.1, 0.15))
    )
    assert 0 < near.more_blocks < noisy.more_blocks <= speedup.MANY_BLOCKS
    assert near.more_blocks < nearer.more_blocks
    assert estimate(blocks_around(2.0, 0.05), 12).more_blocks == speedup.MANY_BLOCKS


def test_binomial_bounds_are_clopper_and_pearsons():
    for k, n in ((0, 24), (1, 24), (12, 24), (24, 24), (3, 150)):
        exact = stats.binomtest(k, n).proportion_ci(0.9, "exact")
        assert speedup.binomial_bounds(k, n, 0.9) == pytest.approx((exact.low, exact.high))
        assert speedup.binomial_upper(k, n, 0.95) == pytest.approx(exact.high)
    assert np.isnan([speedup.binomial_upper(0, 0), *speedup.binomial_bounds(0, 0)]).all()


def test_the_interval_of_a_mean_leaves_unknown_values_out():
    low, high = speedup.mean_interval([1.0, math.nan, 2.0, 4.0], 0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 2, 7 / 3, stats.sem([1, 2, 4])))
    assert all(map(math.isnan, speedup.mean_interval([1.0, math.nan])))
    assert speedup.mean_interval([3.0, 3.0]) == (3.0, 3.0)


def cell(server: str, level: int, s_per_frame: float, *, block=0, n=24, start=0.0, **fields) -> pd.DataFrame:
    """A cell that works in even waves: ``s_per_frame`` × level for a wave of as many frames as its level."""
    place = np.arange(n)
    rows = pd.DataFrame({"frame_id": [f"frame {block}-{i}" for i in place], "position": place})
    rows["start_s"] = start + place // level * level * s_per_frame
    columns = {"server": server, "concurrency": level, "block": block, "total_s": level * s_per_frame}
    columns |= {"phase": "confirm", "complete": True, "error_class": None}
    return rows.assign(**columns | {"output_tokens": 50.0} | fields)


def blocks_of(*cells: pd.DataFrame, **recorded) -> pd.DataFrame:
    return summarize_blocks(pd.concat(cells, ignore_index=True), "fast", 8, "slow", 1, **recorded)


def test_a_block_without_loss_is_judged_by_wall_clocks():
    blocks = blocks_of(
        cell("slow", 1, 2.2),
        cell("fast", 8, 1.0, start=100.0),
        cell("fast", 8, 1.0, block=1),
        cell("slow", 1, 3.3, block=1, start=50.0),
        cell("fast", 4, 0.1),  # another level
        cell("fast", 8, 0.1, phase="pilot"),
        cell("fast", 8, 0.1, complete=False),
    )
    assert blocks.columns.tolist() == list(speedup.BLOCK_COLUMNS)
    assert blocks["speedup"].tolist() == pytest.approx([2.2, 3.3])
    assert blocks["log_ratio"].tolist() == pytest.approx(np.log([2.2, 3.3]))
    first = blocks.iloc[0]
    assert (first["candidate_wall_s"], first["baseline_wall_s"]) == pytest.approx((24.0, 52.8))
    rates = first[["candidate_output_tok_per_s", "baseline_output_tok_per_s"]].tolist()
    assert rates == pytest.approx([50, 50 / 2.2])
    assert (first["n_frames"], first["n_common"], first["note"]) == (24, 24, "")
    assert blocks_of(cell("slow", 1, 2.2, phase="pilot")).columns.tolist() == list(speedup.BLOCK_COLUMNS)


def test_ten_time_outs_of_the_baseline_never_inflate_the_ratio():
    slow = cell("slow", 1, 2.2, n=48)
    late = slow.index[5:15]
    slow.loc[late, ["error_class", "total_s"]] = ["timeout", 120.0]
    slow["start_s"] = slow["total_s"].cumsum() - slow["total_s"]
    block = blocks_of(slow, cell("fast", 8, 1.0, n=48)).iloc[0]
    assert block["speedup"] == pytest.approx(2.2)
    assert (block["n_frames"], block["n_common"]) == (48, 38)
    assert (block["candidate_lost"], block["baseline_lost"]) == (0, 10)
    assert block["note"].startswith("slow lost 10 of 48: judged on the 38 frames that both answered")


def test_failures_of_the_candidate_neither_slow_it_down_nor_speed_it_up():
    for total_s in (0.01, 600.0):
        fast = cell("fast", 8, 1.0)
        fast.loc[[3, 11], ["error_class", "total_s"]] = ["timeout", total_s]
        block = blocks_of(cell("slow", 1, 2.2), fast).iloc[0]
        assert block["speedup"] == pytest.approx(2.2)
        assert block["candidate_lost"] == 2


def test_slots_that_stood_idle_at_the_end_still_count_where_the_other_side_lost_frames():
    fast = cell("fast", 8, 1.0)
    fast.loc[23, "total_s"] = 32.0  # one long answer, while seven slots have nothing to do
    slow = cell("slow", 1, 2.0)
    slow.loc[0, "error_class"] = "truncated"
    block = blocks_of(slow, fast).iloc[0]
    assert block["candidate_wall_s"] == pytest.approx(48.0 * (23 * 8 + 24) / (23 * 8 + 32), rel=0.01)


def test_frames_that_were_never_sent_are_lost():
    block = blocks_of(cell("slow", 1, 2.2), cell("fast", 8, 1.0, n=1)).iloc[0]
    assert (block["candidate_lost"], block["n_common"], block["speedup"]) == pytest.approx((23, 1, 2.2))
    assert block["note"].startswith("fast lost 23 of 24: judged on the 1 frame that both answered")


def test_a_block_in_which_a_side_answered_nothing_has_no_ratio():
    blocks = blocks_of(
        cell("slow", 1, 2.2, error_class="connect"),
        cell("fast", 8, 1.0),
        cell("fast", 8, 1.0, block=1),
        cell("slow", 1, 2.0, block=2),
    )
    assert blocks["log_ratio"].isna().all()
    assert blocks["note"].str.endswith("no frame was answered on both sides, so there is no ratio").all()
    assert blocks[["candidate_lost", "baseline_lost"]].to_numpy().tolist() == [[0, 24], [0, 24], [24, 0]]
    assert estimate(blocks["log_ratio"], 12).n_blocks == 0


def test_a_frame_that_comes_twice_in_a_block_counts_twice():
    fast, slow = cell("fast", 8, 1.0), cell("slow", 1, 2.2)
    for side in (fast, slow):
        side["frame_id"] = [f"frame {i % 12}" for i in range(24)]
    assert blocks_of(fast, slow).iloc[0]["n_common"] == 24
    fast.loc[14, "error_class"] = "timeout"
    block = blocks_of(fast, slow).iloc[0]
    assert (block["n_common"], block["candidate_lost"], block["baseline_lost"]) == (23, 1, 0)


def test_a_recorded_baseline_takes_its_seconds_a_frame_and_loses_nothing():
    fast = cell("fast", 8, 1.0)
    whole = blocks_of(fast, recorded_s_per_frame=8.0).iloc[0]
    assert (whole["speedup"], whole["baseline_wall_s"]) == pytest.approx((8.0, 192.0))
    assert math.isnan(whole["baseline_output_tok_per_s"])
    fast.loc[0, "error_class"] = "timeout"
    lossy = blocks_of(fast, recorded_s_per_frame=8.0).iloc[0]
    assert (lossy["speedup"], lossy["candidate_lost"], lossy["baseline_lost"]) == pytest.approx((8.0, 1, 0))


def test_unknown_token_counts_give_no_token_rate():
    fast = cell("fast", 8, 1.0)
    fast.loc[3, "output_tokens"] = math.nan
    block = blocks_of(cell("slow", 1, 2.2), fast).iloc[0]
    assert math.isnan(block["candidate_output_tok_per_s"])


@pytest.mark.parametrize(
    ("truth", "cells_differ", "right_step", "decided"),
    [(2.4, 0.03, 0.95, 0.90), (2.4, 0.08, 0.80, 0.80), (3.6, 0.08, 0.80, 0.80), (1.8, 0.03, 0.90, 0.70)],
)
def test_the_verdict_is_right_in_worlds_with_a_known_speed_up(truth, cells_differ, right_step, decided):
    runs = coverage.simulate(truth, cells_differ, 100)
    assert runs["covers"].mean() >= 0.91
    assert runs["right_step"].mean() >= right_step
    assert runs["decided"].mean() >= decided


@pytest.mark.parametrize("truth", [1.5 * 0.97, 2 * 0.97, 3 * 0.97])
def test_a_step_that_is_just_missed_is_hardly_ever_claimed(truth):
    runs = coverage.simulate(truth, 0.08, 400)
    assert runs["false_claim"].mean() <= 0.025
    assert runs["covers"].mean() >= 0.93

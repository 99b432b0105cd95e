import numpy as np
import pandas as pd
import pytest
from scipy import stats

from poc_lib.intervals import blocks_to_settle, estimate_speedups, frames_to_settle, spanned_thresholds
from poc_lib.intervals.settle import expected_half_width

from .interval_runs import frames_table, run


def row_of(speedup: float, **changes: float) -> pd.Series:
    """A row of estimate_speedups: three blocks of 24 frames in 8 groups, whose blocks differ by 8 %."""
    requests = run(speedups={1: speedup}, own_blocks=0.08, seed=3)
    row = estimate_speedups(requests, frames_table(24), "ollama", 1).iloc[0]
    return row if not changes else pd.Series({**row.to_dict(), **changes})


def test_what_is_expected_of_the_same_run_again_is_its_own_interval():
    row = row_of(2.0)
    half = expected_half_width(row, np.array([3]), np.array([24]))[0]
    assert np.exp(-half) * row["speedup_frames"] == pytest.approx(row["simultaneous_low"])


def test_an_interval_between_two_thresholds_is_settled():
    row = row_of(2.0, speedup_frames=2.4, simultaneous_low=2.1, simultaneous_high=2.8, var_by_blocks=1e-5)
    row["var_by_groups"] = row["var_rest"] = 1e-6
    assert spanned_thresholds(row) == []
    assert blocks_to_settle(row) == 0
    assert frames_to_settle(row) == 0


def test_the_number_of_blocks_is_the_smallest_that_clears_the_nearest_threshold():
    row = row_of(2.0, speedup_frames=2.4, var_by_blocks=0.01, var_by_groups=0.001, var_rest=0.001)
    more = blocks_to_settle(row)
    assert more is not None
    assert more > 0
    nearest = np.log(2.4 / 2.0)
    expected = [
        expected_half_width(row, np.array([3 + m]), np.array([24]))[0] <= nearest for m in (more - 1, more)
    ]
    assert expected == [False, True]


def test_an_estimate_on_a_threshold_cannot_be_settled():
    row = row_of(2.0, speedup_frames=2.0)
    assert spanned_thresholds(row) == [2.0]
    assert blocks_to_settle(row) is None
    assert frames_to_settle(row) is None


def test_where_frames_differ_and_blocks_do_not_only_more_frames_help():
    parts = {"var_by_blocks": 0.0001, "var_by_groups": 0.01, "var_rest": 0.0001}
    row = row_of(2.0, speedup_frames=2.4, **parts)
    assert blocks_to_settle(row) is None
    assert frames_to_settle(row) > 0


def test_where_blocks_differ_and_frames_do_not_only_more_blocks_help():
    parts = {"var_by_blocks": 0.01, "var_by_groups": 0.0001, "var_rest": 0.0001}
    row = row_of(2.0, speedup_frames=2.4, **parts)
    assert blocks_to_settle(row) > 0
    assert frames_to_settle(row) is None


def test_more_blocks_also_bring_degrees_of_freedom():
    row = row_of(2.0, var_by_blocks=0.01, var_by_groups=0.0, var_rest=0.0)
    now, then = expected_half_width(row, np.array([3, 12]), np.array([24, 24]))
    assert then / now == pytest.approx(stats.t.isf(0.025, 11) / stats.t.isf(0.025, 2) / 2)


def test_one_block_tells_nothing_about_more_of_them():
    requests = run(n_blocks=1)
    row = estimate_speedups(requests, frames_table(24), "ollama", 1).iloc[0]
    assert blocks_to_settle(row, thresholds=(1.0, 10.0)) is None


def test_other_thresholds_can_be_asked_for():
    row = row_of(2.0, speedup_frames=2.0)
    assert blocks_to_settle(row, thresholds=(1.0, 10.0)) is not None


def test_a_level_without_a_simultaneous_interval_is_not_settled_by_anything():
    row = row_of(2.0, simultaneous_low=np.nan, simultaneous_high=np.nan)
    assert blocks_to_settle(row) is None
    assert frames_to_settle(row) is None

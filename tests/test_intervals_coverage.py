"""Whether the intervals hold the truth as often as they say; the full table is docs/coverage.md."""

import numpy as np
from scipy import stats

from poc_lib.intervals import estimate_speedups
from poc_lib.intervals.crossed import half_width, log_ratio, spread_of_mean

from .interval_runs import frames_table, run

N_RUNS = 40


def drawn(rng: np.random.Generator, n_blocks: int, own_blocks: float) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of baseline and candidate, 2000 runs × blocks × 8 groups; the true speed-up is 1."""
    frames = rng.normal(0, 0.4, (2000, 1, 8))
    sides = []
    for _ in range(2):
        own, block = rng.normal(0, 0.15, (2000, 1, 8)), rng.normal(0, own_blocks, (2000, n_blocks, 1))
        sides.append(np.exp(frames + own + block + rng.normal(0, 0.1, (2000, n_blocks, 8))))
    return sides[0], sides[1]


def held(n_blocks: int, own_blocks: float) -> tuple[float, float]:
    """How often our interval and the one that takes all frames as independent hold the truth."""
    baseline, candidate = drawn(np.random.default_rng(11), n_blocks, own_blocks)
    estimate, linear = log_ratio([baseline], [candidate])
    half = half_width(spread_of_mean(linear, [baseline, candidate]), 0.95)
    n = n_blocks * 8
    naive = stats.t.isf(0.025, n - 1) * linear.std(axis=(1, 2), ddof=1) / np.sqrt(n)
    return float((np.abs(estimate) <= half).mean()), float((np.abs(estimate) <= naive).mean())


def test_intervals_hold_where_blocks_differ_and_where_they_do_not():
    for n_blocks in (2, 3, 5, 8):
        for own_blocks in (0.0, 0.05, 0.3):
            ours, _ = held(n_blocks, own_blocks)
            assert 0.93 <= ours <= 0.995, (n_blocks, own_blocks, ours)


def test_frames_taken_as_independent_would_not_hold():
    ours, naive = held(n_blocks=5, own_blocks=0.3)
    assert ours > 0.93
    assert naive < 0.7


def test_whole_tables_of_requests_hold_the_true_speed_up():
    frames = frames_table(12, alike=2)
    rows = [
        estimate_speedups(
            run(n_blocks=4, n_frames=12, speedups={1: 2.0}, seed=seed, own_blocks=0.1, scene=2),
            frames,
            "ollama",
            1,
        ).iloc[0]
        for seed in range(N_RUNS)
    ]
    inside = [row["speedup_frames_low"] <= 2.0 <= row["speedup_frames_high"] for row in rows]
    assert 0.89 <= np.mean(inside) <= 1.0
    assert np.mean([row["speedup_frames"] for row in rows]) < 2.1

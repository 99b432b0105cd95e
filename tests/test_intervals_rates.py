import numpy as np
import pytest
from scipy import stats

from poc_lib.intervals import latency_intervals, rate_intervals
from poc_lib.intervals.rates import effective_size, order_statistics
from poc_lib.metrics import summarize_latency, summarize_speed

from .builders import failed, table
from .interval_runs import cell, frames_table, run


def test_each_level_has_its_rates_inside_their_intervals():
    requests = run(speedups={1: 2.0, 4: 3.0})
    found = rate_intervals(requests, frames_table(24)).set_index(["server", "concurrency"])
    speed = summarize_speed(requests, 24, 24).set_index(["server", "concurrency"])
    assert len(found) == 3
    for rate in ("frames_per_s", "output_tok_per_s"):
        assert (found[f"{rate}_low"] < speed[rate]).all()
        assert (speed[rate] < found[f"{rate}_high"]).all()
    assert found[["n", "n_blocks"]].to_numpy().tolist() == [[72, 3]] * 3


def test_blocks_that_differ_widen_a_rate():
    steady, shaky = (rate_intervals(run(own_blocks=sd), frames_table(24)).iloc[0] for sd in (0.0, 0.5))
    assert shaky["frames_per_s_high"] / shaky["frames_per_s_low"] > 2 * (
        steady["frames_per_s_high"] / steady["frames_per_s_low"]
    )


def test_a_rate_of_tokens_without_their_counts_is_unknown():
    requests = run()
    requests.loc[requests["role"] == "candidate", "output_tokens"] = None
    found = rate_intervals(requests, frames_table(24)).set_index("role")
    assert np.isnan(found["output_tok_per_s_low"]["candidate"])
    assert found["output_tok_per_s_low"]["baseline"] > 0


def test_failed_requests_lower_the_rate_and_are_not_counted():
    rows = [*cell("vllm-mlx", np.ones(8)), *cell("vllm-mlx", np.ones(8), block=1)]
    lossy = [*rows[:-1], failed("f7", block=1, start_s=7.0, total_s=1.0)]
    found = rate_intervals(table(lossy), frames_table(8)).iloc[0]
    assert found["n"] == 15
    assert found["frames_per_s_low"] < 15 / 16 < found["frames_per_s_high"]


def test_percentiles_are_those_of_the_latency_table():
    requests = run()
    found = latency_intervals(requests, frames_table(24)).set_index(["role", "measure"])
    expected = summarize_latency(requests).set_index(["role", "measure"])
    for key in (("candidate", "total_s"), ("baseline", "ttft_s")):
        assert found["p50"][key] == pytest.approx(expected["p50"][key])
        assert found["p95"][key] == pytest.approx(expected["p95"][key])


def test_a_median_lies_inside_its_interval_and_a_p95_of_few_answers_has_no_upper_end():
    requests = run(n_blocks=5, own_blocks=0.0)
    found = latency_intervals(requests, frames_table(24)).set_index(["role", "measure"]).loc["candidate"]
    total = found.loc["total_s"]
    assert total["p50_low"] < total["p50"] < total["p50_high"]
    assert total["n"] == 120
    assert total["p95_n_effective"] < 72
    assert np.isnan(total["p95_high"])
    assert total["p95_low"] < total["p95"]


def test_a_failed_request_has_no_latency():
    rows = [*cell("vllm-mlx", np.ones(8)), *cell("vllm-mlx", np.ones(7), block=1)]
    lossy = table([*rows, failed("f7", block=1, start_s=7.0, total_s=0.1)])
    total = latency_intervals(lossy, frames_table(8)).set_index("measure").loc["total_s"]
    assert total["n"] == 15
    assert total[["p50_low", "p50", "p50_high"]].tolist() == [1.0, 1.0, 1.0]


def test_alike_frames_tell_less_about_a_median():
    requests = run(n_blocks=3, own_blocks=0.0, scene=6)
    seen = latency_intervals(requests, frames_table(24, alike=6)).set_index("measure")
    hidden = latency_intervals(requests, frames_table(24)).set_index("measure")
    assert seen["n_groups"].max() < hidden["n_groups"].min()
    assert (seen["p50_n_effective"]["total_s"] < hidden["p50_n_effective"]["total_s"]).all()


def test_a_measure_nobody_reported_has_a_row_with_n_0():
    requests = run()
    requests["ttft_s"] = None
    found = latency_intervals(requests, frames_table(24)).set_index("measure").loc[["ttft_s"]]
    assert found["n"].tolist() == [0, 0]
    assert found["p50_low"].isna().all()


def test_order_statistics_are_those_of_the_binomial():
    ordered = np.arange(1, 101) * 1.0
    low, high = order_statistics(ordered, 0.5, 100, 0.95)
    assert (low, high) == (40, 61)  # the textbook ranks of a median of 100
    assert stats.binom.cdf(60, 100, 0.5) - stats.binom.cdf(39, 100, 0.5) >= 0.95
    ends = [np.isnan(order_statistics(np.arange(float(n)), 0.95, n, 0.95)[1]) for n in (71, 72)]
    assert ends == [True, False]


def test_a_share_known_exactly_is_worth_all_its_values_and_never_more():
    assert effective_size(0.0, 0.5, 30, 0.95) == 30
    assert effective_size(0.01, 0.5, 30, 0.95) == 30
    assert effective_size(0.4, 0.5, 30, 0.95) == 6
    assert np.isnan(effective_size(np.nan, 0.5, 30, 0.95))

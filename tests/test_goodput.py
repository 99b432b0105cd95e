"""What an open loop showed; every expected number is worked out by hand."""

import math

import pytest

from poc_lib.goodput import add_from_due, describe_level, highest_rate, summarize_open_loop
from tests.builders import failed, reply, table

OPEN = {"phase": "open_loop", "arrivals": "constant", "rate_per_s": 1.0, "concurrency": 8}


def asked(number, due_s, start_s=None, make=reply, **changes):
    """One request of an open loop; by default sent on time, first token after 0.5 s, 2 s in all."""
    sent = {"due_s": due_s, "start_s": due_s if start_s is None else start_s}
    return make(f"f{number}", **(OPEN | sent | changes))


def series(rate_per_s, waits_s, **changes):
    """Requests at a rate that each wait so long for their first token and take 1 s more."""
    return [
        asked(i, i / rate_per_s, rate_per_s=rate_per_s, ttft_s=wait_s, total_s=wait_s + 1, **changes)
        for i, wait_s in enumerate(waits_s)
    ]


def one_row(replies, slo_ttft_s=1.0, slo_total_s=0.0, slo_share=0.75, **changes):
    return summarize_open_loop(table(replies), slo_ttft_s, slo_total_s, slo_share, **changes).iloc[0]


def served_one_by_one():
    """Due every second, served in 2 s, one connection: so each is 1 s later than the one before."""
    return [asked(i, float(i), start_s=2.0 * i, concurrency=1) for i in range(4)]


def test_latency_counts_from_the_moment_a_request_was_due():
    rows = add_from_due(table(served_one_by_one()))
    assert list(rows["dispatch_delay_s"]) == [0, 1, 2, 3]
    assert list(rows["ttft_from_due_s"]) == [0.5, 1.5, 2.5, 3.5]
    assert list(rows["total_from_due_s"]) == [2, 3, 4, 5]


def test_the_backlog_shows_from_due_and_not_in_the_service_time():
    row = one_row(served_one_by_one())
    assert (row["total_from_due_p50_s"], row["total_p50_s"]) == (3.5, 2)
    assert (row["ttft_from_due_p50_s"], row["ttft_p50_s"]) == (2, 0.5)
    assert row["total_from_due_p95_s"] == pytest.approx(4.85)  # 4 + 0.85 of the last gap
    assert row["ttft_from_due_p99_s"] == pytest.approx(3.47)


def test_rates_are_over_the_time_from_the_first_due_to_the_last_reply():
    row = one_row(served_one_by_one())  # due at 0, last reply at 6 + 2 = 8 s
    assert row["rate_per_s"] == row["due_rate_per_s"] == 1
    assert row["answered_per_s"] == 4 / 8
    assert row["mean_in_flight"] == 4 * 2 / 8
    assert row["goodput_per_s"] == 1 / 8  # one first token within 1 s


def test_a_service_level_counts_both_limits_from_due():
    row = one_row(served_one_by_one(), slo_ttft_s=3.0, slo_total_s=3.0)
    assert row["n_good"] == 2  # totals 2 and 3 of 2, 3, 4, 5
    assert one_row(served_one_by_one(), slo_ttft_s=3.0)["n_good"] == 3
    assert one_row(served_one_by_one(), slo_ttft_s=0.0)["n_good"] == 4


def test_a_failed_request_is_not_good_however_fast_it_failed():
    replies = [asked(0, 0.0), asked(1, 1.0, make=failed), asked(2, 2.0), asked(3, 3.0)]
    row = one_row(replies, slo_ttft_s=0.0, slo_total_s=9.0)
    assert (row["n_due"], row["n_ok"], row["n_failed"], row["n_good"]) == (4, 3, 1, 3)
    assert row["good_share"] == 0.75
    mostly = [asked(0, 0.0), asked(1, 1.0, make=failed), asked(2, 2.0, make=failed)]
    assert one_row(mostly)["total_p50_s"] == 2  # the failures' 0.1 s are not among the latencies


def test_the_bounds_of_the_good_share_are_exact():
    """Nothing bad among n: the lower bound is 0.025^(1/n)."""
    row = one_row([asked(i, float(i)) for i in range(10)])
    assert (row["good_share"], row["good_share_high"]) == (1, 1)
    assert row["good_share_low"] == pytest.approx(0.025 ** (1 / 10))


def test_the_level_holds_from_the_share_on_that_was_asked_for():
    replies = [asked(0, 0.0), asked(1, 1.0), asked(2, 2.0), asked(3, 3.0, ttft_s=1.9)]
    assert one_row(replies, slo_share=0.75)["holds"] is True
    assert one_row(replies, slo_share=0.76)["holds"] is False


def test_without_any_limit_nothing_is_said_of_a_level():
    assert one_row(served_one_by_one(), slo_ttft_s=0.0)["holds"] is None


def test_requests_never_sent_count_where_they_can_decide():
    replies = [asked(i, float(i)) for i in range(6)]
    row = one_row(replies, slo_share=0.75, n_frames=12)
    assert (row["n_due"], row["n_sent"], row["n_not_sent"]) == (12, 6, 6)
    assert row["holds"] is None  # 6 to 12 of 12
    assert one_row(replies, slo_share=0.5, n_frames=12)["holds"] is True
    slow = [asked(i, float(i), ttft_s=1.9) for i in range(6)]
    assert one_row(slow, slo_share=0.75, n_frames=12)["holds"] is False  # 0 to 6 of 12


def test_only_delays_below_the_limit_of_connections_are_this_programs_own():
    replies = [
        asked(0, 0.0, start_s=0.001, in_flight=1, concurrency=2),
        asked(1, 1.0, start_s=1.003, in_flight=2, concurrency=2),
        asked(2, 2.0, start_s=7.0, in_flight=2, concurrency=2),
        asked(3, 9.0, start_s=9.002, in_flight=1, concurrency=2),
    ]
    row = one_row(replies)
    assert row["dispatch_delay_max_s"] == pytest.approx(0.002)
    assert row["dispatch_delay_p99_s"] == pytest.approx(0.00199)
    assert (row["n_at_limit"], row["max_in_flight"], row["slots"]) == (2, 2, 2)
    assert math.isnan(one_row(served_one_by_one())["dispatch_delay_max_s"])  # one connection: none is free


def test_a_cell_that_went_on_later_adds_up_its_sittings():
    first = [asked(i, 10.0 + i) for i in range(3)]  # 10 to 14 s
    second = [asked(3 + i, 100.0 + i, sitting=1) for i in range(3)]  # 100 to 104 s of another clock
    row = one_row(first + second)
    assert row["answered_per_s"] == 6 / 8
    assert row["due_rate_per_s"] == 4 / 4


def test_rows_are_one_per_server_arrivals_and_rate_and_leave_the_closed_loop_out():
    replies = [
        *series(2.0, [0.5] * 3),
        *series(1.0, [0.5] * 3),
        *series(1.0, [0.5] * 3, arrivals="poisson"),
        *series(1.0, [0.5] * 3, server="ollama", role="baseline"),
        reply("f9"),
    ]
    assert len(add_from_due(table(replies))) == 12
    rows = summarize_open_loop(table(replies), 1.0, 0.0, 0.95)
    assert [tuple(row) for row in rows[["server", "arrivals", "rate_per_s", "n_due"]].to_numpy()] == [
        ("vllm-mlx", "constant", 1, 3),
        ("vllm-mlx", "constant", 2, 3),
        ("vllm-mlx", "poisson", 1, 3),
        ("ollama", "constant", 1, 3),
    ]


def test_a_run_without_an_open_loop_has_no_rows():
    rows = summarize_open_loop(table([reply()]), 1.0, 0.0, 0.95)
    assert rows.empty
    assert {"n_due", "holds", "kept_up", "slo_share"} <= set(rows.columns)
    assert highest_rate(rows).empty


def test_a_steady_wait_is_keeping_up():
    assert one_row(series(1.0, [0.5, 0.9, 0.4] * 4))["kept_up"] is True


def test_a_wait_that_grows_with_time_is_falling_behind():
    """0.5 s more with each request a second later: 4 s more after 8 s; the first take 2.25 s in all."""
    assert one_row(series(1.0, [0.5 + 0.5 * i for i in range(12)]))["kept_up"] is False


def test_the_filling_of_an_empty_server_is_not_falling_behind():
    """The wait grows by 0.8 s, less than the 1.2 s of one request, and then stays."""
    assert one_row(series(1.0, [0.2] * 4 + [1.0] * 8))["kept_up"] is True


def test_a_slow_drift_of_a_long_cell_is_not_falling_behind():
    """1.8 s more within 40 s: above one request's time, but below a tenth of the time."""
    assert one_row(series(1.0, [0.2] * 20 + [1.1] * 20 + [2.0] * 20))["kept_up"] is True


def test_too_few_requests_or_too_short_a_time_cannot_tell():
    assert one_row(series(1.0, [0.5] * 8))["kept_up"] is None
    assert one_row(series(100.0, [0.5] * 12))["kept_up"] is None  # 0.08 s between thirds, 1.5 s a request


def test_a_server_that_refuses_is_not_keeping_up():
    answered = [asked(i, float(i)) for i in range(8)]
    refused = [asked(i, float(i), make=failed) for i in range(8, 12)]
    assert one_row(answered + refused)["kept_up"] is False
    assert one_row([asked(i, float(i), make=failed) for i in range(12)])["kept_up"] is False


def test_the_trend_is_taken_within_each_cell():
    """Two blocks that each keep up, the second slower: no growth within any of them."""
    blocks = [series(1.0, [0.5] * 15), series(1.0, [5.0] * 15, block=1)]
    assert one_row([one for block in blocks for one in block])["kept_up"] is True


def rates_that(*good_counts, slo_ttft_s=1.0):
    """Ten requests each at 1, 2, 3, ... requests/s, of which so many are good."""
    replies = [
        one
        for rate, n_good in enumerate(good_counts, start=1)
        for one in series(float(rate), [0.5] * n_good + [3.0] * (10 - n_good))
    ]
    return highest_rate(summarize_open_loop(table(replies), slo_ttft_s, 0.0, 0.9)).iloc[0]


def test_the_highest_rate_is_the_last_before_the_first_that_does_not_hold():
    row = rates_that(10, 9, 8)
    assert (row["highest_rate_per_s"], row["next_rate_per_s"], row["n_rates"]) == (2, 3, 3)
    assert row["sentence"] == (
        "vllm-mlx, constant arrivals: first token within 1 s for 90 % of requests held up to 2 requests/s "
        "(9 of 10 in time, 95 % interval 55 to 100 %); 3 requests/s "
        "(8 of 10 in time, 95 % interval 44 to 97 %)."
    )


def test_a_rate_that_holds_above_one_that_does_not_is_not_taken():
    assert rates_that(10, 5, 10)["highest_rate_per_s"] == 1


def test_when_every_rate_holds_the_limit_is_not_known():
    row = rates_that(10, 10)
    assert row["highest_rate_per_s"] == 2
    assert math.isnan(row["next_rate_per_s"])
    assert "the highest rate measured, so the limit lies above it" in row["sentence"]


def test_when_no_rate_holds_there_is_no_highest_one():
    row = rates_that(5, 10)
    assert math.isnan(row["highest_rate_per_s"])
    assert "held at none of the 2 rates measured; 1 requests/s (5 of 10 in time" in row["sentence"]


def test_without_a_level_the_rate_that_was_kept_up_with_remains():
    replies = series(1.0, [0.5] * 12) + series(0.5, [0.5] * 12) + series(2.0, [2.0 * i for i in range(12)])
    row = highest_rate(summarize_open_loop(table(replies), 0.0, 0.0, 0.9)).iloc[0]
    assert math.isnan(row["highest_rate_per_s"])
    assert row["kept_up_rate_per_s"] == 1
    assert row["sentence"].endswith("no service level was asked for, so no rate holds one.")


def test_a_service_level_in_words():
    both = describe_level(2.0, 10.0, 0.95)
    assert both == "first token within 2 s and whole answer within 10 s for 95 % of requests"
    assert describe_level(0.0, 10.0, 0.999) == "whole answer within 10 s for 99.9 % of requests"
    assert describe_level(0.0, 0.0, 0.95) == "no limit"

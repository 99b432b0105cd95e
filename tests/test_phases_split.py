import math

import pytest

from poc_lib.phases import add_phases, summarize_phases
from poc_lib.phases.split import FROM_CHUNKS, FROM_SERVER, FROM_TTFT, covered_s
from tests.builders import failed, reply, table


def only(replies, **level) -> dict:
    rows = summarize_phases(table(replies))
    for name, value in level.items():
        rows = rows[rows[name] == value]
    (row,) = rows.to_dict("records")
    return row


def told(frame_id="f1", **changes):
    """Ollama at 4 in flight: 6 s in the queue, 0.5 s load, 1 s prefill, 2 s decode."""
    values = {"server": "ollama", "role": "baseline", "concurrency": 4, "total_s": 9.5, "ttft_s": 7.5}
    times = {"server_load_s": 0.5, "server_prefill_s": 1.0, "server_decode_s": 2.0}
    return reply(frame_id, **(values | {"arrivals_s": [7.5, 9.5], "output_tokens": 21} | times | changes))


def test_a_request_is_waiting_then_decoding_then_its_held_back_end():
    row = add_phases(table([reply(total_s=2.5)])).iloc[0]
    assert (row["ttft_s"], row["decode_s"], row["after_s"]) == (0.5, 1.5, 0.5)
    assert math.isnan(row["queue_s"])


def test_the_queue_is_what_the_servers_own_times_do_not_explain():
    assert add_phases(table([told()])).iloc[0]["queue_s"] == 6.0
    assert add_phases(table([told(server_load_s=None)])).iloc[0]["queue_s"] == 6.5
    assert add_phases(table([told(server_prefill_s=9.0)])).iloc[0]["queue_s"] == 0.0


def test_means_medians_and_shares_are_over_answered_requests():
    slow = reply("b", ttft_s=1.5, arrivals_s=[1.5, 6.0], total_s=6.0)
    third = reply("c", ttft_s=1.0, arrivals_s=[1.0, 2.0], total_s=2.0)
    row = only([reply("a"), slow, third, failed("d"), reply("w", phase="warmup")])
    assert row["n"] == row["n_split"] == 3
    assert (row["ttft_mean_s"], row["ttft_median_s"]) == (1.0, 1.0)
    assert row["decode_mean_s"] == pytest.approx((1.5 + 4.5 + 1.0) / 3)
    assert row["decode_median_s"] == 1.5
    assert (row["ttft_share"], row["decode_share"], row["after_share"]) == pytest.approx((0.3, 0.7, 0.0))


def test_an_answer_in_one_chunk_has_no_decode_time():
    row = only([reply(arrivals_s=[2.0], ttft_s=2.0)])
    assert math.isnan(row["decode_mean_s"])
    assert math.isnan(row["level_decode_tok_per_s"])
    assert row["decode_source"] is None
    assert (row["n_split"], row["n_decode"]) == (0, 0)
    assert math.isnan(only([reply(), reply("b", arrivals_s=[2.0])])["level_decode_tok_per_s"])
    assert math.isnan(row["ttft_share"])


def test_prefill_is_the_ttft_at_one_in_flight_of_the_same_server():
    replies = [reply("a"), reply("a", concurrency=8, ttft_s=4.0, arrivals_s=[4.0, 6.0], total_s=6.0)]
    replies += [reply("a", concurrency=8, server="other", ttft_s=4.0)]
    row = only(replies, server="vllm-mlx", concurrency=8)
    assert (row["prefill_s"], row["prefill_source"], row["n_prefill"]) == (0.5, FROM_TTFT, 1)
    assert (row["decode_s"], row["decode_source"]) == (2.0, FROM_CHUNKS)
    unknown = only(replies, server="other")
    assert math.isnan(unknown["prefill_s"])
    assert unknown["prefill_source"] is None


def test_what_the_server_tells_is_preferred_and_named():
    row = only([told(), told("f2", server_prefill_s=2.0, server_decode_s=1.5)])
    assert (row["prefill_s"], row["prefill_source"], row["n_prefill"]) == (1.5, FROM_SERVER, 2)
    assert (row["decode_s"], row["decode_source"], row["n_decode"]) == (1.75, FROM_SERVER, 2)
    assert (row["load_mean_s"], row["queue_mean_s"], row["n_told"]) == (0.5, 5.5, 2)
    assert row["decode_tok_per_s"] == pytest.approx((21 / 2 + 21 / 1.5) / 2)
    beside_one = only([told(), reply(server="ollama", role="baseline")], concurrency=4)
    assert (beside_one["prefill_s"], beside_one["prefill_source"]) == (1.0, FROM_SERVER)


def test_a_wave_costs_the_sum_of_its_prefills():
    wave = [reply(f"f{i}", concurrency=8) for i in range(12)]
    row = only([reply("a"), *wave], concurrency=8)
    assert (row["wave_size"], row["wave_prefill_s"]) == (8, 4.0)
    small = only([reply("a"), *wave[:3]], concurrency=8)
    assert (small["wave_size"], small["wave_prefill_s"]) == (3, 1.5)


def test_the_levels_decode_rate_counts_wall_clock_once_and_idle_time_not():
    # 31 tokens each: two decode from 0.5 to 2.0 together, one from 10.5 to 12.0
    replies = [reply("a", concurrency=2), reply("b", concurrency=2), reply("c", concurrency=2, start_s=10.0)]
    row = only(replies)
    assert row["decoding_wall_s"] == 3.0
    assert row["level_decode_tok_per_s"] == 30.0
    assert (row["decode_tok_per_s"], row["n_decode_rate"]) == (20.0, 3)


def test_a_missing_token_count_leaves_the_levels_rate_unknown():
    row = only([reply("a"), reply("b", output_tokens=None)])
    assert math.isnan(row["level_decode_tok_per_s"])
    assert (row["decode_tok_per_s"], row["n_decode_rate"]) == (20.0, 1)


def test_a_level_that_answered_nothing_has_a_row_of_unknowns():
    row = only([failed("a"), failed("b")])
    assert row["n"] == 0
    assert math.isnan(row["ttft_mean_s"])
    assert math.isnan(row["prefill_s"])


def test_spans_that_overlap_count_once():
    assert covered_s([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.7)]) == 4.0
    assert covered_s([]) == 0.0


def test_no_measured_request_gives_an_empty_table():
    assert summarize_phases(table([reply(phase="warmup")])).empty

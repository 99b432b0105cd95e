"""Speed, against numbers worked out by hand."""

import math

import pandas as pd
import pytest

from poc_lib.metrics import (
    Baseline,
    add_derived,
    add_speedup,
    pick_baseline,
    summarize_cells,
    summarize_failures,
    summarize_latency,
    summarize_speed,
)
from tests.builders import failed, reply, table

RECORDED = Baseline("ollama", False, 1, 0.125, 38.0, True)

# Two slots and 3 s of wall clock: slot 0 sends at 0 and 2, slot 1 at 0 and 1; the latencies add up to 6 s.
FOUR = [
    reply("f1", concurrency=2, slot=0, start_s=0.0, total_s=2.0, ttft_s=0.5, output_tokens=31),
    reply("f2", concurrency=2, slot=1, start_s=0.0, total_s=1.0, ttft_s=0.4, output_tokens=13),
    reply("f3", concurrency=2, slot=1, start_s=1.0, total_s=2.0, ttft_s=1.0, output_tokens=11),
    reply("f4", concurrency=2, slot=0, start_s=2.0, total_s=1.0, ttft_s=0.6, output_tokens=5),
]


def speed_of(replies, n_frames=4, recording_frames=180):
    rows = summarize_speed(table(replies), n_frames, recording_frames)
    assert len(rows) == 1
    return rows.iloc[0]


def test_throughput_is_work_by_wall_clock_not_by_the_sum_of_latencies():
    speed = speed_of(FOUR)
    assert speed["wall_s"] == 3.0
    assert speed["frames_per_s"] == pytest.approx(4 / 3)
    assert speed["s_per_frame"] == pytest.approx(0.75)
    assert speed["output_tok_per_s"] == pytest.approx(60 / 3)
    assert speed["total_tok_per_s"] == pytest.approx((60 + 400) / 3)
    assert speed["mean_in_flight"] == pytest.approx(6 / 3)
    assert speed["tokens_per_answer"] == 15.0
    assert speed["recording_min"] == pytest.approx(180 * 0.75 / 60)


def test_the_clock_starts_with_the_cells_first_request_not_with_the_run():
    later = [reply(f"f{n}", start_s=100.0 + 2 * n) for n in range(4)]
    assert speed_of(later)["wall_s"] == 8.0


def test_failures_take_time_and_are_no_work():
    lost = failed("f4", concurrency=2, slot=0, start_s=2.0, total_s=2.0, output_tokens=None)
    speed = speed_of([*FOUR[:3], lost])
    assert (speed["n_requests"], speed["n_ok"], speed["n_failed"], speed["n_not_sent"]) == (4, 3, 1, 0)
    assert speed["wall_s"] == 4.0
    assert speed["frames_per_s"] == pytest.approx(3 / 4)
    assert speed["output_tok_per_s"] == pytest.approx(55 / 4)
    assert not speed["complete"]


def test_fast_refusals_never_look_like_speed():
    speed = speed_of([failed(f"f{n}", start_s=0.1 * n) for n in range(4)])
    assert math.isnan(speed["frames_per_s"])
    assert math.isnan(speed["output_tok_per_s"])
    assert math.isnan(speed["s_per_frame"])
    assert math.isnan(speed["ttft_p50_s"])
    assert speed["n_ok"] == 0


def test_frames_that_were_not_sent_make_a_level_incomplete():
    speed = speed_of(FOUR, n_frames=6)
    assert (speed["n_not_sent"], speed["complete"]) == (2, False)
    assert speed_of(FOUR)["complete"]


def test_a_missing_token_count_makes_the_token_rate_unknown():
    speed = speed_of([*FOUR[:3], reply("f4", concurrency=2, start_s=2.0, total_s=1.0, output_tokens=None)])
    assert math.isnan(speed["output_tok_per_s"])
    assert math.isnan(speed["total_tok_per_s"])
    assert math.isnan(speed["tokens_per_answer"])
    assert speed["n_with_usage"] == 3
    assert speed["frames_per_s"] == pytest.approx(4 / 3)


@pytest.mark.parametrize("prompt_tokens", [None, 0])
def test_a_missing_prompt_count_makes_only_the_total_rate_unknown(prompt_tokens):
    last = reply("f4", concurrency=2, start_s=2.0, total_s=1.0, output_tokens=5, prompt_tokens=prompt_tokens)
    speed = speed_of([*FOUR[:3], last])
    assert math.isnan(speed["total_tok_per_s"])
    assert speed["output_tok_per_s"] == pytest.approx(60 / 3)


def test_the_warm_up_is_not_counted():
    speed = speed_of([reply("f9", phase="warmup", start_s=-50.0, total_s=40.0), *FOUR])
    assert (speed["n_requests"], speed["wall_s"]) == (4, 3.0)


def test_several_sittings_add_up_and_are_marked():
    again = [
        reply("f3", concurrency=2, sitting=1, start_s=10.0, total_s=2.0),
        reply("f4", concurrency=2, sitting=1, start_s=11.0, total_s=2.5),
    ]
    speed = speed_of([*FOUR[:2], *again])
    assert speed["wall_s"] == 2.0 + 3.5
    assert speed["interrupted"]
    assert speed["complete"]
    assert not speed_of(FOUR)["interrupted"]


def test_repeats_are_one_level_with_their_walls_added():
    second = [reply(f"f{n}", concurrency=2, block=1, start_s=50.0 + n, total_s=1.0) for n in range(4)]
    speed = speed_of([*FOUR, *second])
    assert (speed["blocks"], speed["n_ok"], speed["wall_s"]) == (2, 8, 3.0 + 4.0)
    assert speed["frames_per_s"] == pytest.approx(8 / 7)
    assert speed["complete"]


def test_one_incomplete_repeat_makes_the_level_incomplete():
    assert not speed_of([*FOUR, *(reply(f"f{n}", concurrency=2, block=1) for n in range(3))])["complete"]


def test_a_cell_is_a_server_a_level_and_a_repeat():
    cells = summarize_cells(table([*FOUR, reply("f1", concurrency=2, block=1), reply("f1")]), 4)
    assert cells[["concurrency", "block", "n_ok"]].to_numpy().tolist() == [[2, 0, 4], [2, 1, 1], [1, 0, 1]]


def test_answers_cut_at_max_tokens_are_counted():
    assert speed_of([*FOUR[:3], reply("f4", concurrency=2, finish_reason="length")])["n_at_max_tokens"] == 1


def test_one_simulated_answer_makes_a_level_simulated():
    assert speed_of([*FOUR[:3], reply("f4", concurrency=2, simulated=True)])["simulated"]
    assert not speed_of(FOUR)["simulated"]


def test_tpot_leaves_out_the_first_token_and_the_wait_after_the_last():
    replies = [
        reply("f1", output_tokens=31, ttft_s=0.5, arrivals_s=[0.5, 1.0, 2.0], total_s=2.0),
        reply("late end", output_tokens=31, ttft_s=0.5, arrivals_s=[0.5, 1.0, 2.0], total_s=9.0),
        reply("at once", output_tokens=31, ttft_s=0.5, arrivals_s=[0.5], total_s=2.0),
        reply("one", output_tokens=1),
        reply("none", output_tokens=None),
        failed("no"),
    ]
    rows = add_derived(table(replies))
    tpot = dict(zip(rows["frame_id"], rows["tpot_s"], strict=True))
    assert tpot["f1"] == tpot["late end"] == pytest.approx(1.5 / 30)
    assert all(math.isnan(tpot[frame_id]) for frame_id in ("at once", "one", "none", "no"))


def latency_of(replies, measure):
    rows = summarize_latency(table(replies))
    return rows[rows["measure"] == measure].iloc[0]


def test_percentiles_travel_with_their_n():
    total = latency_of([reply(f"f{n}", total_s=float(n)) for n in range(1, 12)], "total_s")
    assert (total["n"], total["mean"], total["p50"], total["p90"]) == (11, 6.0, 6.0, 10.0)
    assert (total["p95"], total["p99"]) == (pytest.approx(10.5), pytest.approx(10.9))


def test_gaps_between_chunks_are_pooled_over_answers():
    replies = [
        reply("f1", arrivals_s=[0.5, 0.6, 0.9]),
        reply("f2", arrivals_s=[1.0, 1.2]),
        reply("f3", arrivals_s=[2.0]),
        failed("f4", arrivals_s=[0.1, 9.0]),
    ]
    gaps = latency_of(replies, "itl_s")
    assert (gaps["n"], gaps["p50"]) == (3, pytest.approx(0.2))
    assert gaps["mean"] == pytest.approx((0.1 + 0.3 + 0.2) / 3)


def test_failures_have_no_latency():
    assert latency_of([*FOUR, failed("f9", concurrency=2, ttft_s=99.0)], "ttft_s")["n"] == 4


def test_nothing_to_measure_is_nan_and_n_0():
    gaps = latency_of([reply("f1", arrivals_s=[1.0])], "itl_s")
    assert gaps["n"] == 0
    assert math.isnan(gaps["mean"])
    assert math.isnan(gaps["p99"])


def test_the_speed_table_shows_the_latencies_of_its_level():
    replies = [*FOUR, reply("f1", start_s=10.0, ttft_s=7.0), failed("f1", concurrency=4)]
    speed = summarize_speed(table(replies), 4, 180).set_index("concurrency")
    assert speed["ttft_p50_s"].tolist()[:2] == [pytest.approx(0.55), 7.0]
    assert math.isnan(speed.loc[4, "total_p95_s"])
    assert speed.index.tolist() == [2, 1, 4]


def test_without_measured_requests_the_tables_are_empty_with_their_columns():
    nothing = table([reply("f1", phase="warmup")])
    assert summarize_speed(nothing, 4, 180).empty
    assert "frames_per_s" in summarize_speed(nothing, 4, 180).columns
    assert summarize_latency(nothing).empty
    assert summarize_failures(nothing).columns.tolist()[-3:] == ["n", "out_of", "example"]


def test_failures_are_counted_by_class_and_level_with_an_example():
    replies = [
        *FOUR[:2],
        failed("f3", concurrency=2),
        failed("f4", concurrency=2, error_message="second"),
        failed("f5", concurrency=2, error_class="timeout", error_message="ReadTimeout"),
    ]
    rows = summarize_failures(table(replies))
    assert rows[["error_class", "n", "out_of"]].to_numpy().tolist() == [["busy", 2, 5], ["timeout", 1, 5]]
    assert rows["example"].tolist() == ["HTTP 503: busy", "ReadTimeout"]
    assert summarize_failures(table(FOUR)).empty


def speeds(*rows):
    columns = ["server", "role", "concurrency", "frames_per_s", "output_tok_per_s", "complete"]
    return pd.DataFrame(rows, columns=columns)


def test_the_baseline_is_the_fastest_level_that_answered_every_frame():
    rows = speeds(
        ("ollama", "baseline", 1, 0.2, 20.0, True),
        ("ollama", "baseline", 2, 0.3, 30.0, True),
        ("ollama", "baseline", 4, 0.9, 90.0, False),
        ("vllm-mlx", "candidate", 4, 2.0, 90.0, True),
    )
    assert pick_baseline(rows, RECORDED) == Baseline("ollama", True, 2, 0.3, 30.0, True)
    assert pick_baseline(rows, RECORDED).label == "ollama at 2 in flight (measured)"


def test_a_baseline_that_lost_frames_everywhere_says_so():
    rows = speeds(("ollama", "baseline", 1, 0.2, 20.0, False))
    assert pick_baseline(rows, RECORDED).complete is False


def test_without_a_measured_baseline_the_recorded_one_is_named_recorded():
    rows = speeds(("vllm-mlx", "candidate", 4, 2.0, 90.0, True))
    assert pick_baseline(rows, RECORDED) is RECORDED
    assert RECORDED.label == "ollama at 1 in flight (recorded, not measured)"


def test_the_speed_up_is_a_ratio_of_rates_for_the_candidate_alone():
    rows = speeds(
        ("ollama", "baseline", 1, 0.25, 20.0, True),
        ("vllm-mlx", "candidate", 4, 0.75, math.nan, True),
    )
    rows = add_speedup(rows, pick_baseline(rows, RECORDED))
    assert math.isnan(rows["speedup_frames"][0])
    assert rows["speedup_frames"][1] == 3.0
    assert math.isnan(rows["speedup_tokens"][1])

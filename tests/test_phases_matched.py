import math

import pytest

from poc_lib.phases import summarize_length_matched
from tests.builders import failed, reply, table


def ollama(frame_id="f1", **changes):
    return reply(frame_id, **({"server": "ollama", "role": "baseline", "total_s": 4.0} | changes))


def matched(*replies):
    return summarize_length_matched(table(replies), "ollama", 1).iloc[0]


def test_decode_is_scaled_to_the_baselines_tokens_and_the_rest_stays():
    # ours: 0.5 s TTFT, 1.5 s for 30 tokens after the first, 0.5 s held back; theirs has 60 after the first
    row = matched(ollama(output_tokens=61), reply(total_s=2.5))
    assert row["time_ratio"] == pytest.approx((0.5 + 3.0 + 0.5) / 2.5)
    assert (row["wall_s"], row["matched_wall_s"]) == pytest.approx((2.5, 4.0))
    assert (row["frames_per_s"], row["matched_frames_per_s"]) == pytest.approx((0.4, 0.25))
    assert row["baseline_frames_per_s"] == 0.25
    assert (row["speedup_frames"], row["matched_speedup_frames"]) == pytest.approx((1.6, 1.0))
    assert (row["tokens_per_answer"], row["baseline_tokens_per_answer"]) == (31, 61)
    assert row["token_ratio"] == pytest.approx(61 / 31)


def test_the_same_lengths_change_nothing():
    row = matched(ollama(), reply())
    assert row["matched_frames_per_s"] == row["frames_per_s"] == 0.5
    assert row["matched_speedup_frames"] == row["speedup_frames"] == 2.0


def test_lengths_are_matched_frame_by_frame():
    replies = [ollama("a", output_tokens=61), ollama("b", output_tokens=16, start_s=4.0)]
    row = matched(*replies, reply("a"), reply("b", start_s=2.0))
    assert row["time_ratio"] == pytest.approx((0.5 + 3.0 + 0.5 + 0.75) / 4.0)


def test_the_baselines_blocks_are_averaged_and_its_other_levels_ignored():
    replies = [ollama(output_tokens=41), ollama(output_tokens=81, block=1)]
    replies.append(ollama(output_tokens=1001, concurrency=4))
    row = matched(*replies, reply())
    assert (row["baseline_tokens_per_answer"], row["n_baseline"]) == (61, 2)


def test_each_candidate_level_has_a_row():
    replies = [ollama(), reply(), reply(concurrency=4), reply(server="mlx-vlm")]
    rows = summarize_length_matched(table(replies), "ollama", 1)
    assert rows[["server", "concurrency"]].values.tolist() == [
        ["vllm-mlx", 1],
        ["vllm-mlx", 4],
        ["mlx-vlm", 1],
    ]


@pytest.mark.parametrize(
    "replies",
    [
        [ollama(output_tokens=None), reply()],
        [ollama(), reply(output_tokens=None)],
        [ollama(), reply(arrivals_s=[2.0])],
        [ollama(), reply(output_tokens=1)],
        [failed(server="ollama", role="baseline"), reply()],
        [ollama("other"), reply()],
    ],
)
def test_what_cannot_be_matched_is_unknown(replies):
    row = matched(*replies)
    assert math.isnan(row["matched_frames_per_s"])
    assert math.isnan(row["matched_speedup_frames"])
    assert row["n_matched"] == 0
    assert row["frames_per_s"] == 0.5


def test_a_few_unmatched_answers_are_tolerated_and_counted():
    replies = [ollama(f"f{i}", start_s=4.0 * i, output_tokens=61) for i in range(10)]
    ours = [reply(f"f{i}", start_s=2.0 * i) for i in range(10)]
    ours[0].output_tokens = ours[1].output_tokens = None
    row = matched(*replies, *ours)
    assert (row["n_matched"], row["n_ok"]) == (8, 10)
    assert row["time_ratio"] == pytest.approx(3.5 / 2)
    ours[2].output_tokens = None
    assert math.isnan(matched(*replies, *ours)["time_ratio"])


def test_a_level_that_answered_nothing_has_no_rate():
    row = matched(ollama(), failed())
    assert math.isnan(row["frames_per_s"])
    assert row["n_ok"] == 0

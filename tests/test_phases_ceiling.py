import math

import pytest

from poc_lib.phases import ceiling_frames_per_s, ceiling_sentence, summarize_ceiling
from poc_lib.phases.ceiling import DECODE, PREFILL, SERVER
from tests.builders import failed, reply, table


def alone(prefill_s=0.5, decode_s=1.5, n=2):
    """At 1 in flight, one after the other."""
    each_s = prefill_s + decode_s
    return [
        reply(f"f{i}", start_s=i * each_s, total_s=each_s, ttft_s=prefill_s, arrivals_s=[prefill_s, each_s])
        for i in range(n)
    ]


def at_four(wall_s, n=8, in_flight=4):
    """n frames at 4 in flight within a wall clock, in_flight of them together."""
    each_s = wall_s * in_flight / n
    return [
        reply(f"f{i}", concurrency=4, start_s=(i // in_flight) * each_s, total_s=each_s) for i in range(n)
    ]


def row_of(replies, concurrency=4):
    rows = summarize_ceiling(table(replies))
    return rows[rows["concurrency"] == concurrency].iloc[0]


def test_the_ceiling_is_amdahls_with_prefill_serial():
    assert ceiling_frames_per_s(0.5, 1.5, 1) == 0.5
    assert ceiling_frames_per_s(0.5, 1.5, 3) == 1.0
    assert ceiling_frames_per_s(0.5, 0.0, 8) == 2.0
    assert math.isnan(ceiling_frames_per_s(float("nan"), 1.0, 2))


def test_a_row_holds_the_ceiling_its_limit_and_what_was_measured():
    row = row_of([*alone(), *at_four(wall_s=8.0)])
    assert row["ceiling_frames_per_s"] == pytest.approx(1 / 0.875)
    assert row["limit_frames_per_s"] == 2.0
    assert (row["frames_per_s"], row["n_ok"], row["n_at_1"]) == (1.0, 8, 2)
    assert row["share_of_ceiling"] == pytest.approx(0.875)
    assert row["prefill_share"] == pytest.approx(0.5 / 0.875)


@pytest.mark.parametrize(
    ("replies", "limited_by"),
    [
        ([*alone(), *at_four(8.0)], PREFILL),  # 0.5 of 0.875 s are prefill
        ([*alone(0.1, 1.9), *at_four(5.0)], DECODE),  # 0.1 of 0.575 s
        ([*alone(), *at_four(9.0)], SERVER),  # 78 % of the ceiling
        ([*alone(), *at_four(16.0)], SERVER),
        ([*alone(), *at_four(6.0)], None),  # 117 %
    ],
)
def test_what_limits_follows_the_shares(replies, limited_by):
    assert row_of(replies)["limited_by"] == limited_by


def test_above_the_ceiling_the_assumption_is_said_to_be_wrong():
    table_of = summarize_ceiling(table([*alone(), *at_four(4.0)]))
    sentence = ceiling_sentence(table_of, "vllm-mlx")
    assert "batched or its result cached" in sentence
    assert "limited by" not in sentence


def test_without_a_measurement_at_one_there_is_no_ceiling():
    row = row_of(at_four(8.0))
    assert math.isnan(row["ceiling_frames_per_s"])
    assert math.isnan(row["share_of_ceiling"])
    assert row["frames_per_s"] == 1.0
    assert row["limited_by"] is None
    sentence = ceiling_sentence(summarize_ceiling(table(at_four(8.0))), "vllm-mlx")
    assert sentence == "vllm-mlx has no ceiling: no answer at 1 in flight."


def test_another_servers_level_one_makes_no_ceiling():
    others = [reply(f"f{i}", server="ollama", role="baseline", start_s=2.0 * i) for i in range(2)]
    assert math.isnan(row_of([*others, *at_four(8.0)])["ceiling_frames_per_s"])


def test_answers_in_one_chunk_cannot_be_split():
    row = row_of([reply(ttft_s=2.0, arrivals_s=[2.0]), *at_four(8.0)])
    assert math.isnan(row["ceiling_frames_per_s"])
    assert "one chunk" in row["note"]


def test_the_servers_own_times_come_before_the_clients():
    told = [reply("f0", server_prefill_s=0.25, server_decode_s=1.0)]
    row = row_of([*told, *at_four(8.0)])
    assert row["ceiling_frames_per_s"] == 2.0
    assert row["prefill_source"] == "told by the server"


def test_empty_slots_are_told_beside_the_limit():
    row = row_of([*alone(), *at_four(8.0, in_flight=2)])
    assert row["mean_in_flight"] == 2.0
    assert "only 2.0 of 4 slots" in row["note"]
    assert row_of([*alone(), *at_four(8.0)])["note"] is None


def test_failed_frames_are_no_work():
    lost = [failed("x", concurrency=4, start_s=0.0, total_s=8.0)]
    assert row_of([*alone(), *at_four(8.0), *lost])["frames_per_s"] == 1.0
    silent = summarize_ceiling(table([failed()]))
    assert "answered nothing" in ceiling_sentence(silent, "vllm-mlx")


def test_the_sentence_speaks_of_the_fastest_level_in_numbers():
    sentence = ceiling_sentence(summarize_ceiling(table([*alone(), *at_four(8.0)])), "vllm-mlx")
    for words in ("0.50 s", "1.50 s", "2.00 frames/s", "1.14 at 4", "1.00 frames/s", "88% of that", PREFILL):
        assert words in sentence
    assert "nan" not in sentence.lower()

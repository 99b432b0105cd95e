import math

import pytest
from scipy.stats import ttest_rel

from poc_lib.phases import summarize_repeat_image
from poc_lib.phases.repeat_image import HELPS, NOTHING, SLOWER, UNTOLD
from tests.builders import failed, reply, table


def passes(cold_s, warm_s):
    """The frames of two passes with these TTFTs; each decodes 1 s."""
    return [
        reply(f"f{i}", phase="repeat_image", block=block, ttft_s=ttft_s, total_s=ttft_s + 1.0)
        for block, times in enumerate((cold_s, warm_s))
        for i, ttft_s in enumerate(times)
    ]


def one(replies):
    return summarize_repeat_image(table(replies)).iloc[0]


def test_a_cache_that_halves_the_first_token_is_found():
    row = one(passes([1.0, 1.1, 0.9, 1.0], [0.5, 0.5, 0.5, 0.5]))
    assert (row["n_pairs"], row["ttft_cold_median_s"], row["ttft_warm_median_s"]) == (4, 1.0, 0.5)
    assert row["saving_s_per_frame"] == pytest.approx(0.5)
    assert (row["frames_per_s_cold"], row["frames_per_s_if_warm"]) == pytest.approx((0.5, 1 / 1.5))
    assert row["effect"] == HELPS
    assert "saves 0.50 s a frame: 0.67 instead of 0.50 frames/s" in row["sentence"]


def test_the_interval_is_students_over_the_logarithms_of_pairs():
    cold, warm = [1.0, 2.0, 4.0], [0.5, 1.6, 3.0]
    row = one(passes(cold, warm))
    interval = ttest_rel([math.log(w) for w in warm], [math.log(c) for c in cold]).confidence_interval(0.95)
    assert row["ttft_ratio"] == pytest.approx((0.5 * 0.8 * 0.75) ** (1 / 3))
    assert (row["ttft_ratio_low"], row["ttft_ratio_high"]) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high))
    )
    assert row["effect"] == UNTOLD


@pytest.mark.parametrize(
    ("cold", "warm", "effect", "words"),
    [
        ([1.0, 1.0, 1.0], [1.0, 1.01, 0.99], NOTHING, "gains nothing"),
        ([1.0, 1.0, 1.0], [0.97, 0.97, 0.97], NOTHING, "gains nothing"),
        ([1.0, 1.0, 1.0], [1.5, 1.6, 1.4], SLOWER, "no cache helps"),
        ([1.0, 1.0, 1.0], [0.2, 1.0, 2.0], UNTOLD, "cannot be told"),
        ([1.0, 1.0, 1.0], [0.86, 0.87, 0.88], HELPS, "a cache helps"),
        # A drift of the machine between the passes looks like this; both happened without any cache.
        ([1.0, 1.0, 1.0, 1.0], [0.80, 0.91, 0.88, 0.95], UNTOLD, "cannot be told"),
        ([1.0, 1.0, 1.0, 1.0], [1.25, 1.09, 1.12, 1.07], UNTOLD, "cannot be told"),
        ([1.0], [0.1], UNTOLD, "n = 1"),
    ],
)
def test_the_sentence_says_no_more_than_the_interval(cold, warm, effect, words):
    row = one(passes(cold, warm))
    assert row["effect"] == effect
    assert words in row["sentence"]
    assert "nan" not in row["sentence"]


def test_only_frames_answered_in_both_passes_count():
    replies = passes([1.0, 1.0, 9.0], [0.5, 0.5])
    replies.append(failed("f2", phase="repeat_image", block=1))
    row = one(replies)
    assert (row["n_pairs"], row["n_sent"]) == (2, 6)
    assert row["frames_per_s_cold"] == 0.5


def test_measured_requests_are_another_phase():
    replies = [*passes([1.0, 1.0], [0.5, 0.5]), reply("f0", ttft_s=99.0), reply("f0", block=1)]
    assert one(replies)["n_pairs"] == 2
    assert summarize_repeat_image(table([reply()])).empty


def test_servers_have_rows_of_their_own():
    replies = passes([1.0, 1.0], [0.5, 0.5])
    for r in passes([1.0, 1.0], [1.0, 1.0]):
        r.server, r.role = "ollama", "baseline"
        replies.append(r)
    rows = summarize_repeat_image(table(replies))
    assert dict(zip(rows["server"], rows["effect"], strict=True)) == {"vllm-mlx": HELPS, "ollama": NOTHING}


def test_nothing_answered_twice_is_said():
    replies = [reply(phase="repeat_image"), failed(phase="repeat_image", block=1)]
    row = one(replies)
    assert row["n_pairs"] == 0
    assert "no frame was answered twice" in row["sentence"]
    assert math.isnan(row["ttft_ratio"])

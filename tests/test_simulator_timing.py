from dataclasses import replace

import pytest

from poc_lib.simulator.timing import (
    OLLAMA,
    VLLM_MLX,
    draw,
    image_tokens,
    jittered,
    prefill_seconds,
    sleep_until,
    step_seconds,
    timing_at_speed,
)


def test_a_wave_member_costs_less_than_a_request_alone():
    alone = step_seconds(VLLM_MLX, 1)
    assert step_seconds(VLLM_MLX, 8) < 8 * alone
    assert step_seconds(VLLM_MLX, 8) - step_seconds(VLLM_MLX, 7) == pytest.approx(VLLM_MLX.step_member_s)


def test_prefill_grows_with_the_pixels_of_all_images():
    text_only = prefill_seconds(VLLM_MLX, [])
    one = prefill_seconds(VLLM_MLX, [(1024, 576)]) - text_only
    assert one == pytest.approx(VLLM_MLX.prefill_s)
    assert prefill_seconds(VLLM_MLX, [(2048, 576), (1024, 576)]) - text_only == pytest.approx(3 * one)


def test_speed_divides_every_time_and_leaves_the_relative_jitter():
    fast = timing_at_speed(OLLAMA, 4)
    assert fast.load_s == OLLAMA.load_s / 4
    assert fast.jitter == OLLAMA.jitter
    assert prefill_seconds(fast, [(640, 480)]) == pytest.approx(prefill_seconds(OLLAMA, [(640, 480)]) / 4)
    assert step_seconds(fast, 5) == pytest.approx(step_seconds(OLLAMA, 5) / 4)


@pytest.mark.parametrize(("size", "tokens"), [((1024, 576), 576), ((32, 32), 1), ((33, 32), 2), ((1, 1), 1)])
def test_an_image_counts_one_token_for_each_started_square(size, tokens):
    assert image_tokens(*size) == tokens


def test_a_draw_depends_on_its_keys_alone_and_fills_the_unit_interval():
    values = [draw("seed", i) for i in range(500)]
    assert values == [draw("seed", i) for i in range(500)]
    assert 0 <= min(values) < 0.05
    assert 0.95 < max(values) < 1


def test_jitter_stays_within_its_share_and_varies():
    values = [jittered(10.0, VLLM_MLX, i) for i in range(100)]
    assert all(abs(value - 10) <= 10 * VLLM_MLX.jitter for value in values)
    assert len(set(values)) == 100
    assert jittered(10.0, replace(VLLM_MLX, jitter=0.0), 1) == 10.0


async def test_a_passed_deadline_does_not_wait():
    await sleep_until(-1.0)

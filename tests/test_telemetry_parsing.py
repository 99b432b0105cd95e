"""What servers and tools really say, read into the fields of a sample."""

import orjson
import pytest

from poc_lib.telemetry.parsing import parse_macmon, parse_metrics, parse_ollama_ps, parse_vllm_status
from tests.recorded_telemetry import (
    MACMON_0_7,
    MACMON_0_8,
    MLX_VLM_LATEST,
    MLX_VLM_METRICS_COLD,
    VLLM_METRICS,
    VLLM_METRICS_COLD,
    VLLM_STATUS_BUSY,
    VLLM_STATUS_IDLE,
)


def test_an_idle_vllm_mlx_tells_totals_and_without_metal_no_memory():
    assert parse_vllm_status(VLLM_STATUS_IDLE) == {
        "num_running": 0,
        "num_waiting": 0,
        "requests_total": 16,
        "prompt_tokens_total": 884,
        "completion_tokens_total": 39,
    }


def test_a_busy_vllm_mlx_tells_how_many_run():
    busy = parse_vllm_status(VLLM_STATUS_BUSY)
    assert (busy["num_running"], busy["completion_tokens_total"]) == (5, 623)


def test_metal_memory_is_read_where_the_server_tells_it():
    metal = {"active_memory_gb": 3.1, "peak_memory_gb": 3.9, "cache_memory_gb": 0.4}
    said = parse_vllm_status(orjson.dumps({"num_running": 0, "metal": metal}))
    assert said == {"num_running": 0, "mlx_active_gb": 3.1, "mlx_peak_gb": 3.9, "mlx_cache_gb": 0.4}


def test_prometheus_counters_are_summed_over_streamed_and_plain_requests():
    assert parse_metrics(VLLM_METRICS) == {
        "in_flight": 0,  # of chat requests; the other paths do not count
        "answered_prompt_tokens_total": 1252 + 2987,
        "answered_completion_tokens_total": 156 + 736,
        "results": {"success": 49, "error": 5, "client_error": 2, "cancelled": 1, "client_closed": 1},
    }


def test_only_chat_requests_are_in_flight():
    body = b"""\
# TYPE vllm_mlx_http_requests_in_flight gauge
vllm_mlx_http_requests_in_flight{method="GET",path="/metrics"} 1.0
vllm_mlx_http_requests_in_flight{method="POST",path="/v1/chat/completions"} 6.0
"""
    assert parse_metrics(body) == {"in_flight": 6}


def test_families_without_a_sample_are_not_known_rather_than_zero():
    assert parse_metrics(VLLM_METRICS_COLD) == {}


def test_mlx_vlm_answers_the_same_route_with_json():
    cold = parse_metrics(MLX_VLM_METRICS_COLD)
    assert cold == {
        "in_flight": 0,
        "num_waiting": 0,
        "requests_total": 0,
        "prompt_tokens_total": 0,
        "completion_tokens_total": 0,
        "results": {"success": 0, "failed": 0},
    }
    warm = orjson.loads(MLX_VLM_METRICS_COLD) | {"latest": orjson.loads(MLX_VLM_LATEST)}
    assert parse_metrics(orjson.dumps(warm)) == cold | {"mlx_peak_gb": 0.03644498}


def test_ollama_tells_of_the_model_that_is_measured_and_of_no_other():
    other = {"name": "llama3:8b", "size_vram": 9_000_000_000, "context_length": 8192}
    ours = {"name": "tiny:latest", "size_vram": 3_300_000_000, "context_length": 4096, "expires_at": "soon"}
    body = orjson.dumps({"models": [other, ours]})
    assert parse_ollama_ps(body, "tiny") == {
        "size_vram_gb": 3.3,
        "context_length": 4096,
        "expires_at": "soon",
    }
    assert parse_ollama_ps(orjson.dumps({"models": [other]}), "tiny") == {}


def test_both_forms_of_macmon_are_read():
    powers = {"gpu_power_w": 0.017451683, "soc_power_w": 0.22231553, "system_power_w": 5.876533}
    assert parse_macmon(MACMON_0_7) == {"gpu_util_pct": pytest.approx(2.1497859), **powers}
    assert parse_macmon(MACMON_0_8) == {"gpu_util_pct": pytest.approx(9.0), **powers}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"[1]",
        b'{"models":[1,{"name":7}],"metal":3,"summary":null,"gpu_usage":[1]}',
        b"\xff\x00",
        b'vllm_mlx_prompt_tokens_total{endpoint="chat',
        b'{"num_running":"2","num_waiting":true,"gpu_power":null,"gpu_usage":[1,"x"]}',
    ],
)
def test_text_of_another_kind_tells_nothing(body):
    assert parse_vllm_status(body) == parse_metrics(body) == parse_macmon(body) == {}
    assert parse_ollama_ps(body, "tiny") == {}

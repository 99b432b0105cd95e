"""The simulated vllm-mlx beside what was recorded from the real one (0.6.0, continuous batching)."""

import asyncio
import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from poc_lib.simulator import simulated_server
from poc_lib.simulator.timing import image_tokens
from tests.test_simulator_kit import BMP_PIXELS, MODEL, ask, openai_body, write_answers

RECORDED_STATUS = """{"status":"running","model":"tiny","residency":null,"embedding":null,"uptime_s":17.7,
"steps_executed":293,"num_running":5,"num_waiting":0,"total_requests_processed":42,"total_prompt_tokens":3674,
"total_completion_tokens":623,"generation_tps":317.7,"prompt_tps":129.8,"metal":{"active_memory_gb":null,
"peak_memory_gb":null,"cache_memory_gb":null},"cache":{"hits":0,"misses":3,"hit_rate":0.0,"evictions":0,
"tokens_saved":0,"current_memory_mb":0.0,"max_memory_mb":4714.98,"memory_utilization":0.0,"entry_count":0,
"store_rejections":0},"mtp":{"enabled":false},"requests":[{"request_id":"77e6046c-1273-4e0e-9ac9-9724c2f64c03",
"status":"running","phase":"generation","elapsed_s":1.83,"prompt_tokens":90,"completion_tokens":1,"max_tokens":40,
"progress":0.025,"tokens_per_second":613.1,"ttft_s":1.825,"cache_hit_type":null,"cached_tokens":0}]}"""

RECORDED_CACHE = """{"engine_cache":{"prefix_cache":{"hits":0,"misses":3,"hit_rate":0.0,"evictions":0,
"tokens_saved":0,"current_memory_mb":0.0,"max_memory_mb":4714.98,"memory_utilization":0.0,"entry_count":0,
"store_rejections":0},"vision_embedding_cache":{"pixel_cache_hits":14,"pixel_cache_misses":36,
"pixel_hit_rate":0.28,"encoding_cache_hits":0,"encoding_cache_misses":0,"encoding_hit_rate":0.0,
"total_time_saved":0.06,"total_images_processed":34,"pixel_cache_size":34,"pixel_only_cache_size":0,
"encoding_cache_size":0}},"error":"Cache stats not available (mlx_vlm not loaded)"}"""


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    answers = write_answers(tmp_path_factory.mktemp("answers"), 20)
    with simulated_server("openai", MODEL, answers, speed=4) as server:
        yield server.url


@pytest.fixture(scope="module")
def client():
    with httpx.Client(timeout=30, trust_env=False) as client:
        yield client


def shape(value):
    """The keys of nested objects in their order; lists by their first entry."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    return [shape(value[0])] if isinstance(value, list) and value else None


async def status_after_the_first_token(url):
    async with httpx.AsyncClient(timeout=30, trust_env=False) as sender:
        request = sender.build_request("POST", url + "/chat/completions", json=openai_body(0))
        answer = await sender.send(request, stream=True)
        async for line in answer.aiter_lines():
            if '"content"' in line:
                break
        status = await sender.get(url + "/status")
        await answer.aclose()
        return status.json()


def test_the_status_of_a_busy_server_has_the_recorded_shape(url):
    status = asyncio.run(status_after_the_first_token(url))
    assert shape(status) == shape(json.loads(RECORDED_STATUS))
    assert (status["num_running"], status["requests"][0]["phase"]) == (1, "generation")


def test_a_request_given_up_goes_on_for_a_while_and_its_tokens_are_counted(url, client):
    before = client.get(url + "/status").json()
    asyncio.run(status_after_the_first_token(url))
    after = client.get(url + "/status").json()
    while after["num_running"]:
        after = client.get(url + "/status").json()
    assert after["total_completion_tokens"] > before["total_completion_tokens"]


def test_the_counters_grow_by_exactly_the_usage(url, client):
    before = client.get(url + "/status").json()
    while before["num_running"]:
        before = client.get(url + "/status").json()
    usages = [ask(client, url, openai_body(i)).last["usage"] for i in range(3)]
    after = client.get(url + "/status").json()
    for counter, field in (
        ("total_prompt_tokens", "prompt_tokens"),
        ("total_completion_tokens", "completion_tokens"),
    ):
        assert after[counter] - before[counter] == sum(usage[field] for usage in usages)
    assert after["total_requests_processed"] - before["total_requests_processed"] == 3


def test_an_image_counts_among_the_prompt_tokens(url, client):
    with_image = ask(client, url, openai_body(1)).last["usage"]["prompt_tokens"]
    body = openai_body(1)
    del body["messages"][0]["content"][1]
    without = ask(client, url, body).last["usage"]["prompt_tokens"]
    assert with_image - without == image_tokens(*BMP_PIXELS)


def test_the_caches_have_the_recorded_shape_and_clearing_empties_them(url, client):
    ask(client, url, openai_body(5))
    ask(client, url, openai_body(5))
    stats = client.get(url + "/cache/stats").json()
    assert shape(stats) == shape(json.loads(RECORDED_CACHE))
    assert stats["engine_cache"]["vision_embedding_cache"]["pixel_cache_hits"] > 0
    assert client.delete(url + "/cache").json() == {
        "status": "cleared",
        "engine_cache": {"vision_cache": True, "prefix_cache": True},
        "error": "Cache clear not available (mlx_vlm not loaded)",
    }
    vision = client.get(url + "/cache/stats").json()["engine_cache"]["vision_embedding_cache"]
    assert vision["pixel_cache_hits"] == vision["pixel_cache_misses"] == 0
    assert client.delete(url + "/cache/prefix").json() == {"status": "cleared", "rewarm_scheduled": False}


def test_the_metrics_can_be_parsed_and_count_answers_by_result(url, client):
    usage = ask(client, url, openai_body(6)).last["usage"]
    text = client.get(url.removesuffix("/v1") + "/metrics").text
    samples = {
        (sample.name, sample.labels.get("result"), sample.labels.get("stream")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["vllm_mlx_inference_requests_total", "success", "true"] >= 1
    assert samples["vllm_mlx_completion_tokens_total", None, "true"] >= usage["completion_tokens"]
    assert samples["vllm_mlx_inference_ttft_seconds_count", None, "true"] >= 1
    assert samples["vllm_mlx_scheduler_running_requests", None, None] == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/version", 404, '{"detail":"Not Found"}'),
        ("POST", "/v1/nothing", 404, '{"detail":"Not Found"}'),
        ("GET", "/v1/chat/completions", 405, '{"detail":"Method Not Allowed"}'),
    ],
)
def test_wrong_routes_are_answered_as_recorded(url, client, method, path, status, body):
    response = client.request(method, url.removesuffix("/v1") + path)
    assert (response.status_code, response.text) == (status, body)
    assert response.headers.get("allow") == ("POST" if status == 405 else None)


def test_malformed_json_is_answered_as_recorded(url, client):
    response = client.post(url + "/chat/completions", content=b'{"model": "tiny", "messages": [}')
    assert response.status_code == 422
    assert response.text == (
        '{"detail":[{"type":"json_invalid","loc":["body",31],"msg":"JSON decode error","input":{},'
        '"ctx":{"error":"Expecting value"}}]}'
    )


def test_empty_messages_break_the_server_as_recorded(url):
    with httpx.Client(trust_env=False) as short_lived:
        response = short_lived.post(url + "/chat/completions", json={"model": MODEL, "messages": []})
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert response.headers["content-type"] == "text/plain; charset=utf-8"

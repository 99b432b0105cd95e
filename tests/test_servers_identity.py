import pytest

import poc_lib.servers
from poc_lib.servers import check_server, clear_cache
from tests.builders import MODEL, http_response, json_pages, raw_server, spec

MODELS = {"/v1/models": {"object": "list", "data": [{"id": MODEL}, {"id": "other"}]}}
HEALTH = {"/health": {"status": "healthy", "engine_type": "batched", "model_name": MODEL}}
OLLAMA = {
    "/api/version": {"version": "0.12.6"},
    "/api/tags": {"models": [{"name": MODEL, "digest": "abc", "details": {"quantization_level": "Q4_K_M"}}]},
    "/api/show": {"capabilities": ["vision", "thinking"]},
}


def vllm(url, **changes):
    return spec(f"{url}/v1", **changes)


def ollama(url, **changes):
    return spec(url, **({"name": "ollama", "role": "baseline", "api": "ollama"} | changes))


async def identity_of(answer, make, **changes):
    async with raw_server(answer) as server:
        return await check_server(make(server.url, **changes))


def assert_one_clear_line(identity, *words):
    """What was found, a colon, what to do: the checklist splits the line there."""
    found, colon, to_do = identity.problem.partition(": ")
    assert "\n" not in identity.problem
    assert found
    assert colon
    assert to_do
    for word in words:
        assert word in identity.problem


def test_the_room_exports_what_the_benchmark_uses():
    assert set(poc_lib.servers.__all__) == {
        "ChatSettings",
        "PreparedRequest",
        "Sending",
        "check_server",
        "clear_cache",
        "open_client",
        "prepare_request",
        "prepare_requests",
        "request_id",
        "run_clock_ns",
        "send_request",
    }


async def test_a_vllm_mlx_server_says_who_it_is():
    identity = await identity_of(json_pages(MODELS | HEALTH), vllm)
    assert identity.problem is None
    assert (identity.reachable, identity.software, identity.version) == (True, "vllm-mlx", None)
    assert identity.models == (MODEL, "other")
    assert identity.details["health"]["engine_type"] == "batched"
    assert identity.simulated is False


async def test_a_simulated_server_says_so():
    health = {"/health": {"simulated": True}}
    assert (await identity_of(json_pages(MODELS | health), vllm)).simulated is True
    version = {"/api/version": {"version": "0.0.0-simulated"}}
    assert (await identity_of(json_pages(OLLAMA | version), ollama)).simulated is True


async def test_an_mlx_vlm_server_tells_its_version_in_a_header():
    body = b'{"data": [{"id": "tiny-vlm"}]}'
    identity = await identity_of([http_response(200, body, b"server: mlx_vlm/0.7.10\r\n")], vllm)
    assert (identity.software, identity.version) == ("mlx-vlm", "0.7.10")


async def test_a_server_without_health_is_still_fine():
    identity = await identity_of(json_pages(MODELS), vllm)
    assert (identity.problem, identity.software, identity.details) == (None, None, {"health": {}})


async def test_an_ollama_server_says_who_it_is():
    identity = await identity_of(json_pages(OLLAMA), ollama)
    assert identity.problem is None
    assert (identity.software, identity.version, identity.models) == ("ollama", "0.12.6", (MODEL,))
    assert identity.details == {
        "digest": "abc",
        "details": {"quantization_level": "Q4_K_M"},
        "capabilities": ["vision", "thinking"],
    }


async def test_ollamas_latest_tag_may_be_left_out():
    tags = {"/api/tags": {"models": [{"name": "llava:latest", "digest": "abc"}]}}
    assert (await identity_of(json_pages(OLLAMA | tags), ollama, model="llava")).problem is None


@pytest.mark.parametrize(("make", "start"), [(vllm, "vllm-mlx serve tiny-vlm"), (ollama, "`ollama serve`")])
async def test_a_server_that_is_down_is_to_be_started(make, start):
    async with raw_server([]) as server:
        pass
    identity = await check_server(make(server.url))
    assert identity.reachable is False
    assert_one_clear_line(identity, "does not answer", server.url, start)


async def test_a_wrong_model_is_named_beside_the_served_ones():
    identity = await identity_of(json_pages(MODELS | HEALTH), vllm, model="typo")
    assert_one_clear_line(identity, "'typo'", "tiny-vlm, other", "set candidate_model")


@pytest.mark.parametrize("models", [[], None])
async def test_a_model_that_ollama_lacks_is_to_be_pulled(models):
    identity = await identity_of(json_pages(OLLAMA | {"/api/tags": {"models": models}}), ollama)
    assert_one_clear_line(identity, "but none", "`ollama pull tiny-vlm`")


@pytest.mark.parametrize("make", [vllm, ollama])
@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_says_where_the_key_belongs(make, status):
    identity = await identity_of([http_response(status, b'{"detail": "Invalid API key"}')], make)
    assert_one_clear_line(identity, f"HTTP {status}", "api_key_env")


async def test_a_missing_v1_is_suspected():
    identity = await identity_of(json_pages(MODELS), lambda url: spec(url))
    assert_one_clear_line(identity, "HTTP 404", "ends in /v1")


async def test_another_server_at_ollamas_port_is_not_told_to_pull():
    identity = await identity_of(json_pages(MODELS | HEALTH), ollama)
    assert_one_clear_line(identity, "HTTP 404", "check the URL")
    assert "pull" not in identity.problem


@pytest.mark.parametrize("make", [vllm, ollama])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>router</html>",
        b"[]",
        b'"hello"',
        b"null",
        b"{}",
        b'{"data": 3}',
        b'{"data": ["a"]}',
        b'{"data": [{"x": 1}]}',
        b"\xff",
    ],
)
async def test_something_else_that_listens_is_not_taken_for_the_server(make, body):
    identity = await identity_of([http_response(200, body)], make)
    assert_one_clear_line(identity, "but not with", f"{identity.role}_url")


async def test_an_answer_that_cannot_be_unpacked_is_something_else():
    packed = http_response(200, b"not gzip", b"content-encoding: gzip\r\n")
    assert_one_clear_line(await identity_of([packed], vllm), "but not with")


async def test_bytes_that_are_not_http_are_no_server():
    assert_one_clear_line(await identity_of([b"220 mail.example ESMTP\r\n"], vllm), "does not answer")


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://h/v1", "http://", "http://h:99999/v1", "http://h:x/v1", "/v1", ""]
)
async def test_a_url_that_is_none_is_named(url):
    identity = await check_server(spec(url))
    assert identity.reachable is False
    assert_one_clear_line(identity, f"'{url}'", "http://host:port", "candidate_url")


async def test_the_key_is_sent_and_not_kept():
    async with raw_server(json_pages(MODELS | HEALTH)) as server:
        identity = await check_server(vllm(server.url), "sk-very-secret")
    assert b"authorization: bearer sk-very-secret" in server.requests[0].lower()
    assert "sk-very-secret" not in repr(identity)


async def test_the_cache_is_cleared_with_the_key_where_the_server_can():
    async with raw_server(json_pages({"/v1/cache": {"status": "cleared"}})) as server:
        assert await clear_cache(vllm(server.url), "sk-very-secret") is True
    assert server.requests[0].startswith(b"DELETE /v1/cache ")
    assert b"bearer sk-very-secret" in server.requests[0].lower()


async def test_a_cache_that_cannot_be_cleared_is_no_problem():
    async with raw_server(json_pages({})) as server:
        assert await clear_cache(vllm(server.url)) is False
        assert await clear_cache(ollama(server.url)) is False
        assert len(server.requests) == 1
    assert await clear_cache(vllm(server.url)) is False

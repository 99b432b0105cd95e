"""What is asked of one server: bounded, and with nothing that is raised."""

import os

import psutil
import pytest

from poc_lib.checks import facts as facts_module
from poc_lib.checks import sending
from poc_lib.checks.facts import GB, Asking, ask_facts, ask_memory
from poc_lib.checks.memory import check_memory
from poc_lib.checks.replies import check_replies, check_thinking
from poc_lib.checks.servers import check_probe, check_server_facts
from tests.builders import KEEP_OPEN, MODEL, OK_HEAD, http_response
from tests.test_checks_kit import (
    ASKING,
    chat_server,
    ollama_answer,
    ollama_pages,
    ollama_spec,
    one,
    openai_answer,
    picture_in,
    serving,
    vllm_pages,
    vllm_spec,
)

PROBE = "vllm-mlx: answers depend on the image"


@pytest.fixture(autouse=True)
def nobody_is_looked_up(monkeypatch):
    """The servers of these tests listen in the tests' own process."""
    monkeypatch.setattr(facts_module, "find_server_process", lambda url: None)


async def facts_of_server(answer, make=vllm_spec, asking=ASKING, memory=True):
    async with serving(answer) as server:
        asked = make(server.base_url if make is vllm_spec else server.url)
        facts = await ask_facts(asked, asking)
        if memory:
            await ask_memory([facts], None)
    return facts, server


def lines_of(facts):
    return [*check_server_facts(facts), *check_replies(facts, 64), *check_probe(facts)]


def seeing(body):
    """An answer that depends on the picture, whose tokens count."""
    picture = picture_in(body)
    return openai_answer(f"{len(picture)} characters", 230 if picture else 28)


def blind(body):
    return openai_answer("a desktop with some windows", 28)


async def test_a_server_in_order_is_asked_everything():
    facts, _ = await facts_of_server(chat_server(vllm_pages(), seeing))
    assert (facts.metrics, facts.n_foreign, facts.sent) == (200, 0, True)
    assert facts.reply.error_class is None
    assert facts.probe.image_tokens == 202
    assert {check.state for check in lines_of(facts)} == {"ok"}


async def test_a_text_only_model_is_told_by_health_and_by_the_pictures():
    facts, _ = await facts_of_server(chat_server(vllm_pages(model_type="llm"), blind))
    assert "text-only" in one(lines_of(facts), "vllm-mlx: model").found
    assert "does not see images" in one(lines_of(facts), PROBE).found


async def test_a_text_only_model_that_claims_vision_is_told_by_the_pictures():
    facts, _ = await facts_of_server(chat_server(vllm_pages(), blind))
    assert one(lines_of(facts), "vllm-mlx: model").state == "ok"
    assert one(lines_of(facts), PROBE).state == "problem"


async def test_metrics_that_are_off_are_told():
    facts, _ = await facts_of_server(chat_server(vllm_pages() | {"/metrics": 404}, seeing))
    assert one(lines_of(facts), "vllm-mlx: /metrics").to_do == "add --enable-metrics"


async def test_requests_of_others_are_counted_before_ours():
    busy = {"/v1/status": {"num_running": 2, "num_waiting": 1}}
    facts, _ = await facts_of_server(chat_server(vllm_pages() | busy, seeing))
    assert facts.n_foreign == 3


async def test_max_tokens_above_the_limit_does_not_keep_the_pictures_from_being_sent():
    def limited(request):
        if b'"max_tokens":64,' in request and b"/chat/" in request:
            return [http_response(400, b'{"detail": "max_tokens exceeds server limit (50)"}')]
        return chat_server(vllm_pages(), seeing)(request)

    facts, _ = await facts_of_server(limited)
    assert one(check_replies(facts, 64), "vllm-mlx: max_tokens").state == "problem"
    assert facts.probe is not None


async def test_a_thinking_ollama_model_is_told_with_its_tag_and_its_memory():
    pages = ollama_pages(["completion", "vision", "thinking"], size=3 * GB, size_vram=3 * GB)
    chat = chat_server(pages, lambda body: ollama_answer(f"{len(picture_in(body))}", thinking="Hm."))
    facts, server = await facts_of_server(chat, ollama_spec)
    candidate, _ = await facts_of_server(chat_server(vllm_pages(), seeing))
    (check,) = check_thinking([facts, candidate])
    assert "thinks (3 characters before this answer)" in check.found
    assert (facts.held_gb, facts.held_by) == (3.0, "Ollama")
    assert one(check_memory([facts], 36, 20), "ollama: memory").found == "3.0 GB, all on the GPU"
    assert facts.metrics is None
    assert not [request for request in server.requests if b"GET /metrics" in request]


@pytest.mark.parametrize(
    "page", [404, b"not json", {"models": None}, {"models": "x"}, [], {"models": [None, 3]}]
)
async def test_an_odd_list_of_loaded_models_is_no_failure(page):
    pages = ollama_pages(["vision"]) | {"/api/ps": page}
    facts, _ = await facts_of_server(chat_server(pages, lambda body: ollama_answer("x")), ollama_spec)
    assert facts.loaded in (None, [])
    assert check_memory([facts], 36, 20)


async def test_memory_comes_from_mlx_and_else_from_the_process():
    told = {"/v1/status": {"metal": {"active_memory_gb": 3.0, "cache_memory_gb": 0.5}}}
    facts, _ = await facts_of_server(chat_server(vllm_pages() | told, seeing))
    assert (facts.held_gb, facts.held_by) == (pytest.approx(3.5e9 / GB), "MLX")
    facts, _ = await facts_of_server(chat_server(vllm_pages(), seeing), memory=False)
    facts.process = type("Here", (), {"pid": os.getpid()})
    await ask_memory([facts], None)
    assert facts.held_gb * GB == pytest.approx(psutil.Process().memory_info().rss, rel=0.5)
    assert facts.held_by == "its process"


async def test_another_model_name_is_asked_for_all_but_answers():
    facts, server = await facts_of_server(
        chat_server(vllm_pages() | {"/v1/models": {"data": [{"id": "other"}]}}, seeing)
    )
    assert (facts.sent, facts.metrics) == (False, 200)
    assert one(lines_of(facts), "vllm-mlx: server and model").to_do == "set candidate_model to other"
    assert not [request for request in server.requests if b"POST" in request]


async def test_without_settings_nothing_is_sent():
    facts, server = await facts_of_server(chat_server(vllm_pages(), seeing), asking=Asking(None, None))
    assert facts.sent is False
    assert not [request for request in server.requests if b"POST" in request]


async def test_heartbeats_without_an_answer_end_at_the_limit(monkeypatch):
    def heartbeats(request):
        if b"POST" in request:
            return [OK_HEAD, b": heartbeat\n\n", KEEP_OPEN]
        return chat_server(vllm_pages(), seeing)(request)

    monkeypatch.setattr(sending, "CHECK_LIMIT_S", 0.2)
    facts, _ = await facts_of_server(heartbeats)
    assert one(lines_of(facts), "vllm-mlx: one request").state == "problem"
    assert facts.probe is None


async def test_a_server_that_takes_connections_and_is_silent_is_asked_again_and_not_told_to_start(
    monkeypatch,
):
    monkeypatch.setattr("poc_lib.servers.identity.ASK_TIMEOUT_S", 0.1)
    facts, server = await facts_of_server([KEEP_OPEN])
    assert server.n_connections == facts_module.TRIES
    (check,) = lines_of(facts)
    assert "takes connections but does not answer" in check.found


async def test_metrics_that_never_come_are_named(monkeypatch):
    def stuck(request):
        return [KEEP_OPEN] if b"/metrics" in request else chat_server(vllm_pages(), seeing)(request)

    monkeypatch.setattr(facts_module, "PATIENCE_S", 0.1)
    monkeypatch.setattr(facts_module, "LIMIT_S", 0.3)
    facts, _ = await facts_of_server(stuck)
    assert facts.metrics == "ReadTimeout"
    assert "not readable (ReadTimeout)" in one(lines_of(facts), "vllm-mlx: /metrics").found


async def test_a_model_without_a_tag_is_the_latest():
    assert facts_module.is_same_model({"name": f"{MODEL}:latest"}, MODEL)
    assert facts_module.is_same_model({"name": MODEL}, MODEL)
    assert not facts_module.is_same_model({"name": f"{MODEL}:4b"}, MODEL)
    assert not facts_module.is_same_model({}, MODEL)

"""What the tests of the checklist share: servers' facts made by hand, and servers that say given things."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from poc_lib.checks.check import Check
from poc_lib.checks.facts import Asking, ServerFacts
from poc_lib.checks.probe import Probe
from poc_lib.records import Reply, ServerIdentity, ServerSpec
from tests.builders import (
    DONE,
    MODEL,
    RawServer,
    delta,
    http_response,
    ndjson,
    raw_server,
    reply,
    settings,
    spec,
    sse,
)

HEALTH = {
    "status": "healthy",
    "model_loaded": True,
    "model_name": MODEL,
    "model_type": "mllm",
    "engine_type": "batched",
}
OLLAMA_DETAILS = {"capabilities": ["completion", "vision"], "details": {"family": "gemma3"}}
ASKING = Asking(settings(), frame=None)


def vllm_spec(url: str = "http://127.0.0.1:8000/v1", **changes: Any) -> ServerSpec:
    return spec(url, **({"concurrency": (1, 4)} | changes))


def ollama_spec(url: str = "http://127.0.0.1:11434", **changes: Any) -> ServerSpec:
    return spec(url, **({"name": "ollama", "role": "baseline", "api": "ollama"} | changes))


def identity_of(asked: ServerSpec, **changes: Any) -> ServerIdentity:
    """What a server in order says of itself."""
    software = "ollama" if asked.api == "ollama" else "vllm-mlx"
    details = OLLAMA_DETAILS if asked.api == "ollama" else {"health": HEALTH}
    values = {"reachable": True, "software": software, "model": asked.model, "models": (asked.model,)}
    values |= {"details": details} | changes
    return ServerIdentity(name=asked.name, role=asked.role, url=asked.url, api=asked.api, **values)


def facts_of(asked: ServerSpec, identity: dict | None = None, **changes: Any) -> ServerFacts:
    """A server in order that was sent one request, and what differs from that."""
    answered = reply("f1", server=asked.name, role=asked.role)
    values = {"reply": answered, "sent": True} | changes
    return ServerFacts(asked, identity_of(asked, **(identity or {})), **values)


def probe_of(
    *texts: str, ttfts_s: tuple = (0.5, 0.5, 0.5, 0.1), tokens: tuple = (260, 260, 260, 30)
) -> Probe:
    """A probe's replies: first picture, second, first again, none."""
    answers = zip((*texts, "x"), ttfts_s, tokens, strict=True)
    return Probe(tuple(reply(text=text, ttft_s=ttft_s, prompt_tokens=n) for text, ttft_s, n in answers))


def one(checks: list[Check], about: str) -> Check:
    """The one line about something."""
    found = [check for check in checks if check.about == about]
    assert len(found) == 1, [check.about for check in checks]
    return found[0]


def states(checks: list[Check]) -> dict[str, str]:
    return {check.about: check.state for check in checks}


def assert_reads_well(check: Check) -> None:
    """One short line of what was found; what is not in order says what to do, in the imperative."""
    assert check.found
    assert "\n" not in check.found + check.to_do
    assert len(check.found) < 200
    assert len(check.to_do) < 200
    assert bool(check.to_do) == (check.state != "ok"), check
    assert not check.to_do.endswith(".")


@asynccontextmanager
async def serving(answer: Callable[[bytes], list] | list) -> AsyncIterator[RawServer]:
    """A raw_server whose connections have all ended when the block does."""
    async with raw_server(answer) as server:
        yield server
    if connections := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(connections, timeout=5)


def chat_server(pages: dict[str, Any], answer: Callable[[dict], bytes]) -> Callable[[bytes], list]:
    """For raw_server: JSON pages (an int is a bare status), and an answer to each chat body."""

    def respond(request: bytes) -> list:
        path, body = request.split(b" ", 2)[1].decode(), request.partition(b"\r\n\r\n")[2]
        if path in ("/v1/chat/completions", "/api/chat"):
            return [http_response(200, answer(orjson.loads(body)))]
        page = pages.get(path, 404)
        if isinstance(page, int):
            return [http_response(page, b'{"detail": "Not Found"}')]
        return [http_response(200, page if isinstance(page, bytes) else orjson.dumps(page))]

    return respond


def vllm_pages(**changes: Any) -> dict[str, Any]:
    """The pages of a vllm-mlx in order; ``changes`` are fields of /health."""
    models = {"object": "list", "data": [{"id": MODEL}]}
    return {"/v1/models": models, "/health": HEALTH | changes, "/metrics": b"", "/v1/status": {}}


def ollama_pages(capabilities: list[str], **loaded: Any) -> dict[str, Any]:
    """The pages of an Ollama; ``loaded`` are fields of the model's entry in /api/ps."""
    tag = {"name": f"{MODEL}:latest", "digest": "abc", "details": {"family": "gemma3"}}
    return {
        "/api/version": {"version": "0.30.1"},
        "/api/tags": {"models": [tag]},
        "/api/show": {"capabilities": capabilities, "details": tag["details"]},
        "/api/ps": {"models": [tag | loaded]},
    }


def openai_answer(text: str, prompt_tokens: int) -> bytes:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 7, "total_tokens": prompt_tokens + 7}
    return (
        sse(delta(role="assistant"), delta(content=text), delta("stop"), {"usage": usage, "choices": []})
        + DONE
    )


def ollama_answer(text: str, thinking: str = "") -> bytes:
    last = {"done": True, "done_reason": "stop", "prompt_eval_count": 300, "eval_count": 7}
    return ndjson(
        {"message": {"role": "assistant", "content": "", "thinking": thinking}, "done": False},
        {"message": {"role": "assistant", "content": text}, "done": False},
        {"message": {"role": "assistant", "content": ""}, **last},
    )


def picture_in(body: dict) -> str:
    """The base64 image of a chat body; empty where it has none."""
    found = re.findall(rb'"(?:data:image/jpeg;base64,)?(/9j/[^"]+)"', orjson.dumps(body))
    return found[0].decode() if found else ""


def failed_reply(error_class: str, message: str, **changes: Any) -> Reply:
    nothing = {"ttft_s": None, "arrivals_s": [], "output_tokens": None, "finish_reason": None, "text": ""}
    return reply(**(nothing | {"error_class": error_class, "error_message": message} | changes))

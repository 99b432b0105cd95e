from contextlib import asynccontextmanager

import numpy as np
import pytest
from aiohttp import web

from poc_lib import servers_embeddings
from poc_lib.errors import SetupProblem
from poc_lib.servers_embeddings import send_embeddings


def vector(text):
    return [float(len(text)), 1.0]


def openai_page(texts):
    data = [{"object": "embedding", "index": i, "embedding": vector(text)} for i, text in enumerate(texts)]
    return {"object": "list", "data": data[::-1]}  # in any order: the index counts


def ollama_page(texts):
    return {"model": "m", "embeddings": [vector(text) for text in texts]}


@asynccontextmanager
async def server(page=None, status=200):
    """A fake of both APIs on 127.0.0.1, and what it was sent."""
    seen = []

    async def answer(request):
        sent = await request.json()
        seen.append((request.path, sent["model"], sent["input"], request.headers.get("authorization")))
        own = openai_page if request.path == "/v1/embeddings" else ollama_page
        return web.json_response((page or own)(sent["input"]), status=status)

    app = web.Application()
    app.router.add_post("/v1/embeddings", answer)
    app.router.add_post("/api/embed", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}", seen
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("api", "path"), [("openai", "/v1/embeddings"), ("ollama", "/api/embed")])
async def test_each_distinct_text_gets_its_own_vector_from_either_api(api, path):
    async with server() as (url, seen):
        base = f"{url}/v1/" if api == "openai" else url
        found = await send_embeddings(base, api, "m", ["a", "bbb", "a"], api_key="secret")
    assert {text: list(one) for text, one in found.items()} == {"a": [1.0, 1.0], "bbb": [3.0, 1.0]}
    assert seen == [(path, "m", ["a", "bbb"], "Bearer secret")]


async def test_many_texts_go_in_batches(monkeypatch):
    monkeypatch.setattr(servers_embeddings, "BATCH", 2)
    async with server() as (url, seen):
        found = await send_embeddings(url, "ollama", "m", ["a", "bb", "ccc", "dddd", "eeeee"])
    assert [sent[2] for sent in seen] == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert [found[text][0] for text in ("a", "dddd", "eeeee")] == [1.0, 4.0, 5.0]


async def test_vectors_on_file_are_not_asked_for_again_and_no_text_is_on_file(tmp_path):
    cache = tmp_path / "embeddings.npz"
    async with server() as (url, seen):
        await send_embeddings(url, "ollama", "m", ["private words"], cache=cache)
        found = await send_embeddings(url, "ollama", "m", ["private words", "b"], cache=cache)
        again = await send_embeddings(url, "ollama", "m", ["b"], cache=cache)
    assert [sent[2] for sent in seen] == [["private words"], ["b"]]
    assert list(found["private words"]) == [13.0, 1.0]
    assert np.array_equal(again["b"], found["b"])
    assert [path.name for path in tmp_path.iterdir()] == ["embeddings.npz"]
    held = cache.read_bytes()
    assert not any("private".encode(code) in held for code in ("utf-8", "utf-16-le", "utf-32-le"))


async def test_another_models_vectors_on_file_are_not_used(tmp_path):
    async with server() as (url, seen):
        for model in ("m", "n"):
            await send_embeddings(url, "ollama", model, ["a"], cache=tmp_path / "e.npz")
    assert [sent[1] for sent in seen] == ["m", "n"]


async def test_vectors_that_came_before_a_failure_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(servers_embeddings, "BATCH", 1)
    cache = tmp_path / "e.npz"
    async with server(lambda texts: ollama_page(texts) if texts == ["a"] else {}) as (url, _):
        with pytest.raises(SetupProblem):
            await send_embeddings(url, "ollama", "m", ["a", "b"], cache=cache)
    async with server() as (url, seen):
        await send_embeddings(url, "ollama", "m", ["a", "b"], cache=cache)
    assert [sent[2] for sent in seen] == [["b"]]


@pytest.mark.parametrize(
    ("page", "status", "message"),
    [
        (lambda _: {"error": "model 'm' not found"}, 404, "HTTP 404 for model 'm' .*not found"),
        (lambda _: {"choices": []}, 200, "no vectors"),
        (lambda _: [1, 2], 200, "no vectors"),
        (lambda _: {"embeddings": [["x"], ["y"]]}, 200, "no vectors"),
        (lambda _: {"embeddings": [[], []]}, 200, "no vectors"),
        (lambda _: {"embeddings": [[1.0]]}, 200, "1 vectors for 2 texts"),
        (lambda _: {"embeddings": [[1.0], [1.0, 2.0]]}, 200, "2 numbers where others have 1"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_one_clear_problem(page, status, message):
    async with server(page, status) as (url, _):
        with pytest.raises(SetupProblem, match=message) as problem:
            await send_embeddings(url, "ollama", "m", ["a", "b"])
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "no url at all", "http://[::1"])
async def test_a_server_that_cannot_be_reached_is_named(url):
    with pytest.raises(SetupProblem, match="embeddings: "):
        await send_embeddings(url, "ollama", "m", ["a"])


@pytest.mark.parametrize("broken", [b"not an npz", b"PK\x03\x04cut off", b""])
async def test_a_broken_file_is_named_and_nothing_is_sent(tmp_path, broken):
    cache = tmp_path / "e.npz"
    cache.write_bytes(broken)
    async with server() as (url, seen):
        with pytest.raises(SetupProblem, match="delete it"):
            await send_embeddings(url, "ollama", "m", ["a"], cache=cache)
    assert seen == []
    assert cache.read_bytes() == broken


async def test_no_text_needs_no_server():
    assert await send_embeddings("http://127.0.0.1:9", "ollama", "m", []) == {}

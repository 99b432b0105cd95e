"""Who answers, and what its process tells: one clear line for whatever is not as it should be."""

import asyncio
import os
import subprocess
import sys
import sysconfig

import psutil
import pytest

from poc_lib.client import check_server, clear_cache, find_listener, identity, quantisation, replay_risk
from poc_lib.records import Identity
from tests.wire import KEEP_OPEN, KEY, json_pages, raw_server, response, server_at, untrusted_tls

MODEL = "tiny-vlm"
MODELS = {"/v1/models": {"object": "list", "data": [{"id": MODEL}, {"id": "other"}]}}
HEALTH = {"/health": {"status": "healthy", "engine_type": "batched", "model_name": MODEL}}
TAG = {"name": MODEL, "digest": "abc", "details": {"quantization_level": "Q4_K_M"}}
OLLAMA = {
    "/api/version": {"version": "0.12.6"},
    "/api/tags": {"models": [TAG]},
    "/api/show": {"capabilities": ["vision", "thinking"]},
}
APIS = ("openai", "ollama")


def at(url, api="openai", **changes):
    if api == "ollama":
        return server_at(url, **({"name": "ollama", "role": "baseline", "api": api} | changes))
    return server_at(f"{url}/v1", **changes)


async def identity_of(answer, api="openai", **changes):
    async with raw_server(answer) as (url, _):
        return await asyncio.wait_for(check_server(at(url, api, **changes)), 20)


def assert_one_clear_line(found, *words):
    """What was found, a colon, what to do."""
    said, colon, to_do = found.problem.partition(": ")
    assert said
    assert colon
    assert to_do
    assert "\n" not in found.problem
    assert not [word for word in words if word not in found.problem]


async def test_a_server_says_who_it_is():
    found = await identity_of(json_pages(MODELS | HEALTH))
    assert (found.problem, found.reachable, found.software) == (None, True, "vllm-mlx")
    assert (found.models, found.simulated) == ((MODEL, "other"), False)
    assert found.details["health"]["engine_type"] == "batched"
    found = await identity_of(json_pages(OLLAMA), "ollama")
    assert (found.problem, found.software, found.version) == (None, "ollama", "0.12.6")
    assert found.details["capabilities"] == ["vision", "thinking"]
    assert (found.details["digest"], found.details["details"]) == ("abc", TAG["details"])
    tags = {"/api/tags": {"models": [{"name": "llava:latest"}]}, "/api/show": b"[" * 100_000}
    assert (await identity_of(json_pages(OLLAMA | tags), "ollama", model="llava")).problem is None


LISTED = b'{"data": [{"id": "tiny-vlm"}]}'
TOLD = [
    (json_pages(MODELS | {"/health": {"simulated": True}}), None, None, True),
    (json_pages(MODELS | {"/health": {"engine_type": "a", "version": "0.7.0"}}), "vllm-mlx", "0.7.0", False),
    ([response(200, LISTED, b"server: mlx_vlm/0.7.10")], "mlx-vlm", "0.7.10", False),
    (json_pages(MODELS | {"/health": b"[" * 100_000}), None, None, False),
    (json_pages(MODELS), None, None, False),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "software", "version", "simulated"), TOLD)
async def test_what_a_server_does_not_tell_is_unknown(answer, software, version, simulated):
    found = await identity_of(answer)
    assert (found.problem, found.software, found.version) == (None, software, version)
    assert found.simulated is simulated


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
MOVED = response(308, b"", b"location: https://me:pw@b/v1")
STRANGE = [b"<html>", b"[]", b'"hello"', b"null", b"{}", b'{"data": 3}', b'{"data": ["a"]}', b"\xff"]
STRANGE += [b"[" * 100_000, b'{"data": [{"id": 1}], "version": 3}', b'{"data": [{"id": "\\ud800"}]}']
PROBLEMS = [
    ("openai", json_pages(MODELS), {"model": "typo"}, ["'typo'", "tiny-vlm, other", "candidate_model"]),
    ("ollama", json_pages(OLLAMA | {"/api/tags": {"models": None}}), {}, ["but none", "ollama pull tiny-v"]),
    ("openai", json_pages({}), {}, ["HTTP 404", "ends in /v1"]),
    ("openai", [response(401, b"{}")], {}, ["HTTP 401", "POC_API_KEY"]),
    ("openai", [response(503, b"loading")], {}, ["HTTP 503", "wait until it has loaded"]),
    ("openai", [MOVED], {}, ["HTTP 308", "set candidate_url to where it leads, https://b/v1"]),
    ("openai", [b"220 mail.example ESMTP\r\n\r\n"], {}, ["not an HTTP answer", "check candidate_url"]),
    ("openai", [HEAD, b"x" * 17_000_000], {}, ["does not answer", "more than 16000000"]),
    ("openai", [HEAD, *[b" ", 0.05] * 400], {}, ["does not answer", "no end", "wait until"]),
    ("openai", [KEEP_OPEN], {}, ["does not answer", "wait until"]),
    *[(api, [response(200, body)], {}, ["no list of models", "_api"]) for api in APIS for body in STRANGE],
]  # fmt: skip


@pytest.mark.parametrize(("api", "answer", "changes", "words"), PROBLEMS)
async def test_a_server_that_is_odd_is_one_line_and_always_ends(api, answer, changes, words, monkeypatch):
    monkeypatch.setattr(identity, "ASK_S", 0.6)
    assert_one_clear_line(await identity_of(answer, api, **changes), *words)


async def test_a_certificate_that_nobody_trusts_is_named(tmp_path):
    tls = untrusted_tls(tmp_path)
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=tls) as listening:
        url = f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        assert_one_clear_line(await check_server(at(url)), "certificate", "check candidate_url")


WRONG = ["", "/v1", "localhost:8000/v1", "ftp://h/v1", "http://", "http://h:x/v1", "http://[::1"]
WRONG += ["http://a\nb/v1", "http://me:secret-word@h:x/v1", "http://me:a/secret-word@h/v1"]
HOSTS = "127.0.0.1:1", "127.0.0.1:99999", "a" * 70, "a..b", "me:secret-word@nowhere.invalid"
DOWN = [f"http://{host}/v1" for host in HOSTS]


@pytest.mark.parametrize("url", WRONG + DOWN)
async def test_an_address_that_is_none_or_silent_is_named_without_its_password(url):
    found = await check_server(server_at(url))
    assert found.reachable is False
    words = "start it, e.g. `vllm-mlx serve tiny-vlm" if url in DOWN else "e.g. http://host:port"
    assert_one_clear_line(found, words)
    assert "secret-word" not in repr(found)
    assert await clear_cache(server_at(url if url in DOWN else DOWN[0])) is False


async def test_the_key_is_sent_and_kept_nowhere_even_if_the_server_echoes_it():
    pages = MODELS | {"/health": {"engine_type": "batched", "echo": f"Bearer {KEY}"}, "/v1/cache": {}}
    async with raw_server(json_pages(pages)) as (url, requests):
        found = await check_server(at(url), KEY)
        assert await clear_cache(at(url), KEY) is True
        assert all(f"bearer {KEY}".encode() in request.lower() for request in requests)
        assert requests[-1].startswith(b"DELETE /v1/cache ")
        assert KEY not in repr(found)
        assert await clear_cache(at(url, "ollama"), KEY) is False
        found = await check_server(at(url.replace("//", "//me:secret-word@")), KEY)
        assert (found.problem, found.url) == (None, f"{url}/v1")
        assert b"authorization: basic" in requests[-1].lower()


SERVE = """
import http.server, json, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"data": [{"id": "tiny-vlm"}], "engine_type": "batched"}).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Page)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def vllm_process(tmp_path):
    """Starts what looks like vllm-mlx of a version in an environment of its own; gives its URL."""
    started = []

    def start(version, *flags):
        site = tmp_path / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        about = site / f"vllm_mlx-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm-mlx\nVersion: {version}\n")
        script = tmp_path / "bin" / "vllm-mlx"
        script.parent.mkdir()
        script.write_text(SERVE)
        words = [sys.executable, script, "serve", "tiny-vlm", "--api-key", KEY, *flags]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE))
        return f"http://127.0.0.1:{int(started[0].stdout.readline())}"

    yield start
    for process in started:
        process.terminate()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("denied", [False, True])
async def test_a_local_process_tells_version_and_flags_and_no_secret(vllm_process, denied, monkeypatch):
    def sockets_of(process, kind, real=psutil.Process.net_connections):  # on macOS, for whoever is not root
        if denied and process.ppid() != os.getpid():
            raise psutil.AccessDenied
        return real(process, kind)

    monkeypatch.setattr(psutil.Process, "net_connections", sockets_of)
    url = vllm_process("0.5.0", "--mllm", "--max-num-seqs=16", "--completion-batch-size", "8")
    found = await check_server(at(url))
    assert (found.version, found.software) == ("0.5.0", "vllm-mlx")
    flags = {"mllm": True, "max-num-seqs": 16, "completion-batch-size": 8}
    assert found.details["process"] == {"flags": flags}
    assert KEY not in repr(found)
    assert "--disable-prefix-cache" in replay_risk(found)


def test_the_listener_of_another_machine_or_of_a_free_port_is_nobody():
    for url in ("http://192.0.2.1:80", "http://example.invalid:80", "http://127.0.0.1:1"):
        assert find_listener(url) is None


def test_the_replaying_prefix_cache_is_known_by_version_and_flag():
    def risk(version, software="vllm-mlx", **flags):
        told = {"software": software, "version": version, "details": {"process": {"flags": flags}}}
        return replay_risk(Identity("a", "candidate", "http://h", "openai", True, **told))

    assert all(risk(version) for version in ("0.5.0", "0.5.10rc1", "0.4.1"))
    assert not any(risk(version) for version in ("0.6.0", "0.10.2", "1.0", None, "unknown"))
    assert risk("0.5.0", **{"disable-prefix-cache": True}) is None
    assert risk("0.5.0", software="mlx-vlm") is None


WAYS = "4bit 3bit 4-bit q4_K_M Q4_K_XL iq3_xxs int8 fp8 mxfp4 bf16 AWQ GPTQ dwq 8bit w4a16 F16 q8_0 4.5bit"


def test_the_quantisation_is_read_from_every_way_of_naming_it():
    for told in WAYS.split():
        assert quantisation(f"mlx-community/Qwen3-VL-4B-Instruct-{told}") == told
        assert quantisation(f"qwen3-vl:4b-{told}") == told
    assert quantisation("M-4bit-DWQ") == "4bit"
    for name in ("Qwen3-VL-8B-Instruct", "llava", "qwen3-vl:4b", "tiny-vlm", "int-v2", "seq2seq", "bit"):
        assert quantisation(name) is None, name

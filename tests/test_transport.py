"""The exact transport, and fetch over it and over httpx's own, against raw sockets on the local machine."""

import asyncio
import socket
import ssl
import time
from contextlib import ExitStack, asynccontextmanager, closing, suppress

import httpx
import pytest

from poc_lib.client.transport import ExactTransport, Exchange, fetch
from tests.wire import untrusted_tls

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
TEXT, DONE, END = b"data: some text of an answer\n\n" * 3, b"data: [DONE]\n\n", b"0\r\n\r\n"
both = pytest.mark.parametrize("kind", ["exact", "httpx"])


def sized(body: bytes) -> bytes:
    return OK + b"content-length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@asynccontextmanager
async def serving(*scripts: list, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None):
    """A server whose n-th request follows the n-th script, and all later ones the last.

    A step: bytes to send, seconds to wait, "path" (send the request's), "close", "reset", "listen" (until the
    client closes), a list of steps to repeat for ever; "unread" first: only what whole numbers tell is read.
    """
    seen = {"requests": [], "received": 0, "connections": 0, "ended": asyncio.Queue()}

    async def play(step, path: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        while isinstance(step, list):
            for part in step:
                await play(part, path, reader, writer)
        if step == "listen":
            await reader.read()
        elif isinstance(step, float):
            await asyncio.sleep(step)
        elif isinstance(step, int):
            seen["received"] += len(await reader.readexactly(step))
        elif step in ("close", "reset"):
            writer.close() if step == "close" else writer.transport.abort()
        elif step != "unread":
            writer.write(sized(path) if step == "path" else step)
            await writer.drain()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        seen["connections"] += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError), closing(writer):
            while scripts and not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                script = scripts[min(len(seen["requests"]), len(scripts) - 1)]
                seen["requests"].append(head.lower())
                length = head.lower().partition(b"content-length: ")[2].split(b"\r")[0]
                if script[0] != "unread":
                    seen["received"] += len(await reader.readexactly(int(length or 0)))
                for step in script:
                    await play(step, head.split(b" ")[1], reader, writer)
        seen["ended"].put_nowait(None)

    server = await asyncio.start_server(connected, host, 0, ssl=tls)
    authority = f"{f'[{host}]' if ':' in host else host}:{server.sockets[0].getsockname()[1]}"
    try:
        yield f"http{'s' if tls else ''}://{authority}/v1", seen
    finally:
        server.close()


def open_client(kind: str, verify: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    if kind == "exact":
        return httpx.AsyncClient(transport=ExactTransport(verify))
    return httpx.AsyncClient(verify=verify or True, trust_env=False)


async def ask(client: httpx.AsyncClient, url: str, body: bytes = b"{}", **options) -> Exchange:
    extensions = {"timeout": {"connect": 5.0, "read": 5.0, "write": 5.0}, "deadline_s": 15.0}
    extensions |= {"is_last": lambda tail: DONE in tail, **options}
    request = httpx.Request("POST", url, content=body, extensions=extensions)
    exchange = await asyncio.wait_for(fetch(client, request), 30)
    stamps = [ns for ns, _ in exchange.chunks]
    times = [exchange.start_ns, exchange.headers_ns or exchange.end_ns, *stamps, exchange.end_ns]
    assert times == sorted(times)
    assert exchange.end_ns <= time.perf_counter_ns()
    return exchange


EARLY = b"HTTP/1.1 100 Continue\r\n\r\n"
WHOLE = {
    "content-length": [sized(TEXT)],
    "chunked": [CHUNKED + chunk(TEXT[:9]), 0.02, chunk(TEXT[9:]) + END],
    "chunk extensions": [CHUNKED + b"%x;a=b\r\n%s\r\n" % (len(TEXT), TEXT) + END],
    "ended by closing": [OK + b"\r\n" + TEXT[:20], 0.02, TEXT[20:], "close"],
    "after interim answers": [b"HTTP/1.1 103 Early\r\nx: y\r\n\r\n" + EARLY, 0.02, sized(TEXT)],
    "byte for byte": [bytes([byte]) for byte in CHUNKED + chunk(TEXT) + END],
    "no end after the last line": [CHUNKED + chunk(TEXT + DONE[:9]), 0.02, chunk(DONE[9:]), "listen"],
    "heartbeats after the last line": [CHUNKED + chunk(TEXT + DONE), [chunk(b": beat\n\n"), 0.01]],
}


@both
@pytest.mark.parametrize("name", WHOLE)
async def test_an_answer_is_read_whole_however_it_is_framed(kind, name):
    async with serving(WHOLE[name]) as (url, _), open_client(kind) as client:
        exchange = await ask(client, url)
    assert (exchange.status, exchange.error_class, exchange.error_message) == (200, None, None)
    assert exchange.body.removesuffix(DONE) == TEXT
    assert exchange.end_ns == exchange.chunks[-1][0]


HALF = CHUNKED + chunk(TEXT)
BROKEN = {
    "a byte now and then in the body": ([HALF, [chunk(b"x"), 0.02]], "timeout"),
    "a byte now and then in the headers": ([OK + b"x: ", [b"y", 0.02]], "timeout"),
    "endless headers": ([OK, [b"name: value\r\n" * 999]], "malformed"),
    "blank lines": ([[b"\r\n", 0.02]], "timeout or malformed"),
    "silence in the body": ([HALF, "listen"], "timeout"),
    "a body nobody reads": (["unread", "listen"], "timeout"),
    "endless tokens": ([HALF, [chunk(b"data: x\n\n" * 999)]], "malformed"),
    "another protocol": ([b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "listen"], "malformed"),
    "a chunk without a size": ([HALF + b"zz\r\n", "listen"], "malformed"),
    "closed without an answer": (["close"], "connect"),
    "closed between chunks": ([HALF, "close"], "truncated"),
    "closed before its length": ([OK + b"content-length: 999\r\n\r\n" + TEXT, "close"], "truncated"),
    "reset in the body": ([HALF, 0.1, "reset"], "truncated"),
}


@both
@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_or_endless_answer_is_named_and_what_came_is_kept(kind, name):
    script, error_class = BROKEN[name]
    body = b"x" * (30_000_000 if "unread" in script else 9)
    limits = {"timeout": {"read": 0.3, "write": 0.3}, "deadline_s": 0.6} if "timeout" in error_class else {}
    async with serving(script) as (url, seen), open_client(kind) as client:
        exchange = await ask(client, url, body, max_bytes=10**6, **limits)
        await asyncio.wait_for(seen["ended"].get(), 10)  # the server sees the connection closed
    assert exchange.error_class in error_class
    assert ("0.3 s" if name.startswith("silence") and kind == "exact" else " ") in exchange.error_message
    assert kind == "httpx" or len(exchange.body) < 1.1e6
    assert len(seen["requests"]) == 1  # nothing is sent twice behind the caller's back
    assert exchange.body.startswith(TEXT if b"some text" in repr(script[0]).encode() else b"")


async def test_a_packed_answer_that_was_not_asked_for_is_named():
    packed = OK + b"content-encoding: gzip\r\ncontent-length: 9\r\n\r\n" + b"x" * 9
    async with serving([packed]) as (url, _), open_client("exact") as client:
        exchange = await ask(client, url)
    assert (exchange.error_class, exchange.status) == ("malformed", 200)
    assert "packed (gzip)" in exchange.error_message


@both
async def test_no_connection_is_named_so_whether_refused_or_never_answered(kind):
    async with open_client(kind) as client:
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
            url = f"http://127.0.0.1:{full.getsockname()[1]}/"
            for waiting in [stack.enter_context(socket.socket()) for _ in range(3)]:  # they fill its queue
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
            assert (await ask(client, url, timeout={"connect": 0.3})).error_class == "connect"
        assert (await ask(client, url)).error_class == "connect"
    async with serving() as (url, _), open_client(kind) as client:  # closed as soon as it is made
        assert [(await ask(client, url)).error_class for _ in range(50)] == ["connect"] * 50


LATE = CHUNKED + chunk(DONE)
KEPT = {  # scripts of the requests, connections made by three of them
    "nothing is left on the way": ([[sized(DONE)]], 1),
    "the end follows the last line": ([[LATE, 0.02, END]], 1),
    "more follows the last line": ([[LATE, 0.02, chunk(b": beat\n\n"), "listen"]], 3),
    "a second answer comes with the first": ([[sized(DONE) + sized(b"unasked")]], 3),
    "a second answer comes later": ([[sized(DONE), 0.02, sized(b"unasked")]], 3),
    "the server closes after its answer": ([[sized(DONE), "close"]], 3),
    "closed under the second request": ([[sized(DONE)], ["close"], [sized(DONE)]], 2),
    "reset under the second request": ([[sized(DONE)], ["reset"], [sized(DONE)]], 2),
    "lost with a byte": ([[sized(DONE)], [b"H", "close"], [sized(DONE)]], 2),
    "lost after a second": ([[sized(DONE)], [1.2, "close"], [sized(DONE)]], 2),
}


@pytest.mark.parametrize("name", KEPT)
async def test_a_connection_is_kept_while_nothing_is_left_on_it_and_replaced_once(name):
    scripts, connections = KEPT[name]
    async with serving(*scripts) as (url, seen), open_client("exact") as client:
        for i in range(3):
            exchange = await ask(client, url)
            assert exchange.error_class == ("connect" if "lost" in name and i == 1 else None)
            await asyncio.sleep(0.2)
    assert seen["connections"] == connections


@both
async def test_giving_up_or_closing_the_client_closes_the_connection_at_once(kind):
    async with serving(["listen"], [HALF, "listen"], [sized(TEXT)]) as (url, seen):
        client = open_client(kind)
        tasks = [asyncio.create_task(ask(client, url)) for _ in range(2)]
        await asyncio.sleep(0.2)
        tasks[1].cancel()
        await asyncio.wait_for(seen["ended"].get(), 10)
        assert (await ask(client, url)).body == TEXT
        await client.aclose()
        for _ in range(2):
            await asyncio.wait_for(seen["ended"].get(), 10)
        assert (await tasks[0]).error_class == "connect"


async def test_stamps_are_those_of_arrival_and_a_plain_httpx_call_gets_the_same_answer_or_an_error():
    steps = [part for i in range(5) for part in (chunk(b"word %d " % i), 0.05)]
    scripts = [CHUNKED, *steps, END], [CHUNKED, *steps, "close"]
    async with serving(scripts[0], *scripts) as (url, _), open_client("exact") as client:
        exchange = await ask(client, url)
        assert [piece for _, piece in exchange.chunks] == [b"word %d " % i for i in range(5)]
        assert exchange.start_ns < exchange.headers_ns <= exchange.chunks[0][0]
        assert exchange.chunks[-1][0] - exchange.chunks[0][0] > 100e6
        assert (await client.get(url)).text == "word 0 word 1 word 2 word 3 word 4 "
        with pytest.raises(httpx.TransportError, match="lost"):
            await client.get(url)


@both
async def test_a_large_body_goes_out_whole_and_a_refusal_before_its_end_is_read(kind):
    slowly = ["unread", *([3_000_000, 0.1] * 10), sized(TEXT)]
    scripts = slowly, ["unread", sized(DONE), "listen"], [sized(TEXT)]
    async with serving(*scripts) as (url, seen), open_client(kind) as client:
        exchange = await ask(client, url, b"x" * 30_000_000)
        assert (exchange.body, seen["received"]) == (TEXT, 30_000_000)
        if kind == "exact":  # and what is left of the refused body does not precede the next request
            assert (await ask(client, url, b"x" * 30_000_000)).body == DONE
            assert (await ask(client, url)).body == TEXT


@both
async def test_requests_side_by_side_each_get_their_own_answer(kind):
    async with serving([0.01, "path"], [0.05, "path"], ["path"]) as (url, _), open_client(kind) as client:
        for _ in range(3):
            exchanges = await asyncio.gather(*(ask(client, f"{url}/{i}") for i in range(40)))
            assert [exchange.body for exchange in exchanges] == [b"/v1/%d" % i for i in range(40)]


@both
async def test_an_unknown_certificate_is_named_and_a_known_one_serves(kind, tmp_path):
    context = untrusted_tls(tmp_path)
    trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    async with serving([CHUNKED + chunk(TEXT), 0.02, END], tls=context) as (url, seen):
        async with open_client(kind) as client:
            exchange = await ask(client, url)
            assert (exchange.error_class, "certificate" in exchange.error_message) == ("connect", True)
        async with open_client(kind, trusting) as client:
            for _ in range(2):
                assert (await ask(client, url, b"x" * 3_000_000)).body == TEXT
        assert len(seen["requests"]) == 2


@both
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_an_ipv6_address_is_an_address(kind):
    async with serving([sized(TEXT)], host="::1") as (url, seen), open_client(kind) as client:
        assert (await ask(client, url)).body == TEXT
    assert b"host: [::1]:" in seen["requests"][0]


async def test_proxies_of_the_environment_are_not_asked_and_impossible_addresses_are_no_connection(
    monkeypatch,
):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving([sized(TEXT)]) as (url, _), open_client("exact") as client:
        for impossible in ("http://127.0.0.1:99999/", "http://a..b/", f"http://{'a' * 70}/"):
            assert (await ask(client, impossible)).error_class == "connect"
        assert (await client.get(url)).content == TEXT

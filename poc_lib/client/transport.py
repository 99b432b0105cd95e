"""HTTP/1.1 for measuring: bytes are stamped where the socket delivers them, an answer comes back whole.

A request's ``extensions`` may hold ``timeout`` (httpx's own: ``connect``, and ``read``, without a byte),
``deadline_s`` (sending to the end of the answer), ``max_bytes`` and ``is_last`` (called with each piece of
the body and up to 256 bytes before it; true: the API's last line has come, and the answer ends there).
"""

import asyncio
import functools
import ssl
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import httptools
import httpx

from poc_lib.records import ErrorClass

DEADLINE_S, MAX_BYTES = 600.0, 16_000_000  # where a request names none
MAX_FRAMING_BYTES = 2**20  # of headers, and of framing beyond a body's own size
_STALE_S = 1.0  # a kept connection lost so soon after sending was closed before the request arrived
_LINGER_S = 1.0  # a message whose last line has come may end so much later, beside the next request
default_tls = functools.cache(ssl.create_default_context)  # 25 ms each


@dataclass(slots=True)
class Exchange:
    """One request and what came back, raw. Times are ``perf_counter_ns``; a failure is told, not raised."""

    start_ns: int  # just before the first byte went out; where that is unknown, when fetch was called
    options: Mapping = field(default_factory=dict)  # the request's extensions
    end_ns: int = 0  # the answer's last body byte, or the failure
    headers_ns: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)  # names in lower case
    chunks: list[tuple[int, bytes]] = field(default_factory=list)  # arrival and bytes of the body
    size: int = 0  # of the body, in bytes
    tail: bytes = b""  # of the body
    is_over: bool = False  # its end came, or its last line: whatever comes now is no part of it
    error_class: ErrorClass | None = None  # connect, timeout, malformed, truncated
    error_message: str | None = None

    @property
    def body(self) -> bytes:
        """All of the body that came."""
        return b"".join([data for _, data in self.chunks])

    def take(self, arrival_ns: int, piece: bytes) -> None:
        """Keep a piece of the body; see whether it holds the last line, or is too much."""
        if self.is_over or self.error_class:
            return
        self.chunks.append((arrival_ns, piece))
        self.end_ns = arrival_ns
        self.size += len(piece)
        if is_last := self.options.get("is_last"):
            tail = self.tail + piece
            self.is_over, self.tail = bool(is_last(tail)), tail[-256:]
        most = self.options.get("max_bytes") or MAX_BYTES
        if self.size > most:
            self.fail("malformed", f"an answer of more than {most} bytes")

    def fail(self, error_class: ErrorClass, message: str) -> None:
        """Name what ended it, unless it was over before."""
        if not (self.is_over or self.error_class):
            self.error_class, self.error_message, self.end_ns = error_class, message, time.perf_counter_ns()


class _Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time; ``idle`` has those to one origin that wait, ``every`` all."""

    def __init__(self, idle: list, every: set):
        self.idle, self.every, self.loop = idle, every, asyncio.get_running_loop()
        self.exchange = self.waiter = None
        self.buffer = memoryview(bytearray(2**16))

    def connection_made(self, transport: asyncio.Transport):
        self.transport = transport
        self.every.add(self)

    def connection_lost(self, exc: Exception | None):
        self.every.discard(self)
        if self.waiter:
            exchange, now_ns = self.exchange, time.perf_counter_ns()
            self.is_stale = self.now_ns == exchange.start_ns and now_ns - exchange.start_ns < _STALE_S * 1e9
            is_framed = exchange.headers.keys() & {"content-length", "transfer-encoding"}
            if exchange.headers_ns and not is_framed and not exc:
                exchange.is_over, self.is_kept = True, False  # closing is how such an answer ends
            why = f"the connection was lost after {exchange.size} bytes{f': {exc}' if exc else ''}"
            exchange.fail("truncated" if exchange.headers_ns else "connect", why)
            self.end()

    async def send(self, head: bytes, body: bytes, exchange: Exchange):
        """Send a request and wait for the end of its answer, when the connection is free again, or closed."""
        self.is_stale = self.transport.is_closing()
        if self.is_stale:
            exchange.fail("connect", "the connection was lost before the request")
            return
        waiter = self.waiter = self.loop.create_future()
        self.exchange, self.parser = exchange, httptools.HttpResponseParser(self)
        self.is_kept, self.n_bytes = None, 0  # the first is not known before the end of the message
        self.deadline_s = exchange.options.get("deadline_s") or DEADLINE_S
        self.quiet_s = exchange.options.get("timeout", {}).get("read") or self.deadline_s
        self.now_ns = exchange.start_ns = time.perf_counter_ns()
        self.transport.writelines((head, body))
        self.timer = self.loop.call_later(min(self.quiet_s, self.deadline_s), self.watch)
        try:
            await waiter
        finally:
            if waiter.cancelled():
                self.transport.abort()

    def watch(self):
        """End the answer if a time is up, else look again when one may be."""
        now_ns = time.perf_counter_ns()
        left_s = self.deadline_s - (now_ns - self.exchange.start_ns) / 1e9
        quiet_left_s = self.quiet_s - (now_ns - self.now_ns) / 1e9
        if left_s <= 0:
            self.exchange.fail("timeout", f"no end of the answer within {self.deadline_s:g} s")
        elif quiet_left_s <= 0:
            self.exchange.fail("timeout", f"no byte for {self.quiet_s:g} s")
        else:
            self.timer = self.loop.call_later(min(left_s, quiet_left_s), self.watch)
            return
        self.end()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int):
        exchange = self.exchange
        if exchange is None:  # nobody asked
            self.transport.abort()
            return
        self.now_ns = time.perf_counter_ns()
        try:
            self.parser.feed_data(self.buffer[:nbytes])
        except httptools.HttpParserError as error:
            self.is_kept = False
            exchange.fail("malformed", f"not an HTTP answer: {error.__context__ or error}")
        self.n_bytes += nbytes
        if self.n_bytes > 2 * exchange.size + MAX_FRAMING_BYTES:
            exchange.fail("malformed", f"{self.n_bytes - exchange.size} bytes of headers or framing")
        if exchange.is_over or exchange.error_class:
            self.end()

    def on_message_begin(self):
        if self.exchange.is_over:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes):
        self.exchange.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self):
        if (status := self.parser.get_status_code()) >= 200:  # else an interim answer
            self.exchange.status = status
            self.exchange.headers_ns = self.exchange.end_ns = self.now_ns
            packed = self.exchange.headers.get("content-encoding", "identity")
            if packed != "identity":
                self.exchange.fail("malformed", f"the answer is packed ({packed}), which was not asked for")

    def on_body(self, piece: bytes):
        self.exchange.take(self.now_ns, piece)

    def on_message_complete(self):
        if self.exchange.headers_ns:
            self.exchange.is_over, self.is_kept = True, self.parser.should_keep_alive()

    def end(self):
        """Hand the exchange over; keep the connection where nothing is left on the way."""
        waiter, self.waiter = self.waiter, None
        self.timer.cancel()
        is_clean = not (self.exchange.error_class or self.transport.get_write_buffer_size())
        if is_clean and self.is_kept:
            self.exchange = None
            self.idle.append(self)
        elif is_clean and self.is_kept is None and waiter:
            self.timer = self.loop.call_later(_LINGER_S, self.transport.abort)
        else:
            self.transport.abort()
        if waiter and not waiter.done():
            waiter.set_result(None)


class ExactTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over asyncio and httptools for ``httpx.AsyncClient``, without proxies and redirects."""

    def __init__(self, verify: ssl.SSLContext | None = None):
        self._verify = verify
        self._idle: dict[tuple, list[_Connection]] = {}
        self._every: set[_Connection] = set()

    async def exchange(self, request: httpx.Request) -> Exchange:
        """Send a request, once more where a kept connection proves to be closed, and read its answer."""
        options, url, body = request.extensions, request.url, await request.aread()
        lines = [b"%s %s HTTP/1.1" % (request.method.encode(), url.raw_path)]
        lines += [b"%s: %s" % header for header in request.headers.raw]
        head = b"\r\n".join([*lines, b"", b""])
        loop, host = asyncio.get_running_loop(), url.raw_host.decode()
        tls, port = (self._verify or default_tls(), 443) if url.scheme == "https" else (None, 80)
        port, connect_s = url.port or port, options.get("timeout", {}).get("connect") or DEADLINE_S
        idle = self._idle.setdefault((loop, url.scheme, host, port), [])
        for kept in (idle.pop() if idle else None, None):
            exchange, connection = Exchange(time.perf_counter_ns(), options), kept
            try:
                if connection is None:
                    async with asyncio.timeout(connect_s):
                        make = functools.partial(_Connection, idle, self._every)
                        _, connection = await loop.create_connection(make, host, port, ssl=tls)
            except (OSError, UnicodeError, OverflowError) as error:
                exchange.fail("connect", f"no connection to {host}:{port}: {str(error) or 'time is up'}")
                break
            await connection.send(head, body, exchange)
            if not (kept and kept.is_stale):
                break
        return exchange

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = await self.exchange(request)
        if exchange.error_class:
            raise httpx.TransportError(exchange.error_message)
        return httpx.Response(exchange.status, headers=exchange.headers, content=exchange.body)

    async def aclose(self) -> None:
        """Close every connection, idle or not."""
        for connection in list(self._every):
            connection.transport.abort()
        await asyncio.sleep(0)  # the sockets close in the loop's next turn


async def fetch(client: httpx.AsyncClient, request: httpx.Request) -> Exchange:
    """Send one request and read its answer; the times are the socket's only over ``ExactTransport``."""
    request.headers["accept-encoding"] = "identity"  # packing delays chunks
    if isinstance(client._transport, ExactTransport):
        return await client._transport.exchange(request)
    exchange = Exchange(time.perf_counter_ns(), request.extensions)
    deadline_s = exchange.options.get("deadline_s") or DEADLINE_S
    try:
        async with asyncio.timeout(deadline_s):
            response = await client.send(request, stream=True, follow_redirects=False)
            exchange.status, exchange.headers = response.status_code, dict(response.headers)
            exchange.headers_ns = exchange.end_ns = time.perf_counter_ns()
            async with aclosing(response):
                async for piece in response.aiter_bytes():
                    exchange.take(time.perf_counter_ns(), piece)
                    if exchange.is_over or exchange.error_class:
                        break
    except (httpx.RequestError, TimeoutError) as error:
        text = str(error) or f"{type(error).__name__}, at most {deadline_s:g} s in all"
        name = "truncated" if exchange.status else "connect"
        lost = "disconnected" in text or "peer closed" in text  # httpx's own words for it
        if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout | TimeoutError):
            name = "timeout"
        elif isinstance(error, httpx.RemoteProtocolError) and not lost:
            name = "malformed"
        exchange.fail(name, text)
    return exchange

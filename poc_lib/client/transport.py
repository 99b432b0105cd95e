"""HTTP/1.1 for measuring: bytes are stamped where the socket delivers them, an answer comes back whole.

A request's ``extensions`` may hold ``timeout`` (httpx's own: ``connect``, and ``read``, which also ends the
wait for a server that takes no more of the body), ``deadline_s`` (sending to the end of the answer),
``max_bytes`` (of the decoded body) and ``is_last`` (called with each piece and up to 256 bytes before it;
true: the API's last line has come, and the answer ends there, whatever the server still sends).
"""

import asyncio
import functools
import ssl
import time
import zlib
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import httptools
import httpx

from poc_lib.records import ErrorClass

DEADLINE_S = 600.0  # where a request names none
MAX_BYTES = 16_000_000  # where a request names none
QUIET_BYTES = 2**16  # in a row without any body: more is neither a head nor a trailer
_STALE_S = 1.0  # a kept connection lost so soon after sending was closed before the request arrived
_LINGER_S = 1.0  # a message whose last line has come may end so much later, beside the next request
_FACTS = ("sent_ns", "headers_ns", "end_ns", "stamps", "cut")
_RAISED = {"timeout": httpx.ReadTimeout, "malformed": httpx.RemoteProtocolError, "truncated": httpx.ReadError}
_CLASSES = (  # the first that fits
    ((httpx.ConnectTimeout, httpx.PoolTimeout), "connect"),
    ((httpx.TimeoutException, TimeoutError), "timeout"),
    ((httpx.RemoteProtocolError, httpx.DecodingError), "malformed"),
)
default_tls = functools.cache(ssl.create_default_context)  # 25 ms each


class _Answer:
    """What has come of one answer. Its ``on_`` methods are the parser's callbacks."""

    def __init__(self, is_last: Callable[[bytes], bool] | None = None, max_bytes: int | None = None):
        self.is_last, self.max_bytes = is_last, max_bytes or MAX_BYTES
        self.parser = httptools.HttpResponseParser(self)
        self.status, self.headers, self.stamps = 0, [], []
        self.sent_ns = self.now_ns = self.headers_ns = self.end_ns = 0  # 0: not yet
        self.size, self.tail, self.decoder, self.cut = 0, b"", None, None
        self.framed = self.complete = self.last = self.keep = False

    def on_message_begin(self):
        if self.complete:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes):
        if not self.headers_ns:  # else a trailer's
            self.headers.append((name.lower(), value))

    def on_headers_complete(self):
        self.status = self.parser.get_status_code()
        if self.status < 200:  # an interim answer
            self.headers = []
            return
        self.headers_ns, names = self.now_ns, dict(self.headers)
        self.framed = b"content-length" in names or b"transfer-encoding" in names
        if names.get(b"content-encoding", b"").strip().lower() in (b"gzip", b"x-gzip", b"deflate"):
            self.decoder = zlib.decompressobj(47)  # stamps, size and last line are those of the text
            self.headers = [header for header in self.headers if header[0] != b"content-encoding"]

    def on_body(self, piece: bytes):
        if self.last:
            return
        if self.decoder:
            piece = self.decoder.decompress(piece, self.max_bytes - self.size + 1)
        self.size += len(piece)
        self.stamps.append((self.now_ns, piece))
        if self.size > self.max_bytes:
            self.cut = "malformed", f"an answer of more than {self.max_bytes} bytes"
        if self.is_last:
            tail = self.tail + piece
            self.tail = tail[-256:]
            self.last = self.is_last(tail)

    def on_message_complete(self):
        if self.status >= 200:
            self.complete, self.keep = True, self.parser.should_keep_alive()


class _Connection(asyncio.BufferedProtocol):
    """One connection, one request at a time; ``idle`` holds those to one origin that wait, ``every`` all."""

    def __init__(self, idle: list, every: set):
        self.idle, self.every, self.loop = idle, every, asyncio.get_running_loop()
        self.answer = self.waiter = self.timer = None
        self.buffer = memoryview(bytearray(2**16))

    def connection_made(self, transport: asyncio.Transport):
        self.transport = transport
        self.every.add(self)

    def connection_lost(self, exc: Exception | None):
        self.every.discard(self)
        if answer := self.waiter and self.answer:
            answer.complete = bool(answer.headers_ns) and not answer.framed and exc is None  # its end is this
            if not answer.complete:
                when = f"after {answer.size} bytes of the answer" if answer.now_ns else "before any answer"
                answer.cut = "truncated", f"the connection was lost {when}{f': {exc}' if exc else ''}"
            self.end()

    async def exchange(self, head: bytes, body: bytes, answer: _Answer, quiet_s: float, deadline_s: float):
        """Send a request and wait for the end of its answer, when the connection is free again, or closed."""
        waiter = self.waiter = self.loop.create_future()
        self.answer, self.quiet_bytes, self.quiet_s, self.deadline_s = answer, 0, quiet_s, deadline_s
        self.active_ns = answer.sent_ns = answer.end_ns = time.perf_counter_ns()
        if self.transport.is_closing():
            answer.cut = "truncated", "the connection was lost before the request"
            return
        self.transport.writelines((head, body))
        self.queued = self.transport.get_write_buffer_size()
        self.timer = self.loop.call_later(min(quiet_s, deadline_s), self.watch)
        try:
            await waiter
        finally:
            if waiter.cancelled():
                self.transport.abort()

    def watch(self):
        """End the answer if a time is up, else look again when one may be."""
        now_ns, queued = time.perf_counter_ns(), self.transport.get_write_buffer_size()
        if queued < self.queued:  # the server has taken some of the body
            self.active_ns, self.queued = now_ns, queued
        left_s = self.deadline_s - (now_ns - self.answer.sent_ns) / 1e9
        quiet_left_s = self.quiet_s - (now_ns - self.active_ns) / 1e9
        if left_s > 0 and quiet_left_s > 0:
            self.timer = self.loop.call_later(min(left_s, quiet_left_s), self.watch)
            return
        quiet = f"no byte {'taken' if queued else 'received'} for {self.quiet_s:g} s"
        over = f"no end of the answer within {self.deadline_s:g} s"
        self.answer.cut = "timeout", over if left_s <= 0 else quiet
        self.end()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int):
        answer = self.answer
        if answer is None:  # nobody asked
            self.transport.abort()
            return
        self.active_ns = answer.now_ns = time.perf_counter_ns()
        size = answer.size
        try:
            answer.parser.feed_data(self.buffer[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            answer.keep = False
            if not (answer.complete or answer.last):
                answer.cut = "malformed", f"not an HTTP answer: {error.__context__ or error}"
        self.quiet_bytes = 0 if answer.size > size else self.quiet_bytes + nbytes
        if self.quiet_bytes > QUIET_BYTES:
            answer.cut = "malformed", f"{self.quiet_bytes} bytes of headers or framing without any body"
        if answer.complete or answer.last or answer.cut:
            self.end()

    def end(self):
        """Hand the answer over; keep the connection where nothing is left on the way."""
        answer, waiter, self.waiter = self.answer, self.waiter, None
        self.timer.cancel()
        clean = not (answer.cut or self.transport.get_write_buffer_size())
        if clean and answer.complete and answer.keep:
            self.answer = None
            self.idle.append(self)
        elif clean and not answer.complete and waiter:
            self.timer = self.loop.call_later(_LINGER_S, self.transport.abort)
        else:
            self.transport.abort()
        if waiter and not waiter.done():
            whole = answer.stamps and not answer.cut
            answer.end_ns = answer.stamps[-1][0] if whole else time.perf_counter_ns()
            waiter.set_result(None)


class ExactTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over asyncio and httptools for ``httpx.AsyncClient``; one serves any number of slots.

    A response is whole when it is returned. Its ``extensions``: ``stamps`` (list of (perf_counter_ns, bytes):
    the body's pieces, de-chunked and unzipped), ``sent_ns``, ``headers_ns``, ``end_ns`` and ``cut`` (None, or
    class and message of what ended the body early; what goes wrong before the headers is raised). Neither
    proxies nor redirects.
    """

    def __init__(self, verify: ssl.SSLContext | None = None):
        self._verify = verify
        self._idle: dict[tuple, list[_Connection]] = {}
        self._every: set[_Connection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        options, url, body = request.extensions, request.url, await request.aread()
        if "transfer-encoding" in request.headers:
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        lines = [b"%s: %s" % header for header in request.headers.raw]
        if any(mark in line for line in lines for mark in (b"\r", b"\n", b"\0")):
            raise httpx.LocalProtocolError("a header holds a line break or a NUL")
        head = b"\r\n".join([b"%s %s HTTP/1.1" % (request.method.encode(), url.raw_path), *lines, b"", b""])
        timeout, deadline_s = options.get("timeout", {}), options.get("deadline_s") or DEADLINE_S
        quiet_s, connect_s = timeout.get("read") or deadline_s, timeout.get("connect") or deadline_s
        idle = self._idle.setdefault((asyncio.get_running_loop(), url.scheme, url.raw_host, url.port), [])
        for may_be_kept in (True, False):
            kept = idle.pop() if idle and may_be_kept else None
            connection = kept or await self.connect(url, idle, connect_s)
            answer = _Answer(options.get("is_last"), options.get("max_bytes"))
            await connection.exchange(head, body, answer, quiet_s, deadline_s)
            lost = answer.cut and answer.cut[0] == "truncated" and not answer.now_ns
            if not (kept and lost and answer.end_ns - answer.sent_ns < _STALE_S * 1e9):
                break
        if answer.cut and not answer.headers_ns:
            raise _RAISED[answer.cut[0]](answer.cut[1])
        content = httpx.ByteStream(b"".join([piece for _, piece in answer.stamps]))
        facts = {name: getattr(answer, name) for name in _FACTS}
        return httpx.Response(answer.status, headers=answer.headers, stream=content, extensions=facts)

    async def connect(self, url: httpx.URL, idle: list[_Connection], timeout_s: float) -> _Connection:
        where = f"{url.host}:{url.port or url.scheme}"
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"{url.scheme}:// is neither http:// nor https://")
        context, port = (self._verify or default_tls(), 443) if url.scheme == "https" else (None, 80)
        loop, host, port = asyncio.get_running_loop(), url.raw_host.decode(), url.port or port
        try:
            async with asyncio.timeout(timeout_s):
                made = loop.create_connection(lambda: _Connection(idle, self._every), host, port, ssl=context)
                return (await made)[1]
        except TimeoutError as error:
            raise httpx.ConnectTimeout(f"no connection to {where} within {timeout_s:g} s") from error
        except (OSError, UnicodeError, OverflowError) as error:
            raise httpx.ConnectError(f"no connection to {where}: {error}") from error

    async def aclose(self) -> None:
        """Close every connection, idle or not."""
        for connection in list(self._every):
            connection.transport.abort()
        await asyncio.sleep(0)  # the sockets close in the loop's next turn


@dataclass(slots=True)
class Exchange:
    """One request and what came back, raw. Times are ``perf_counter_ns``; a failure is told, not raised."""

    start_ns: int  # just before the first byte went out; where that is unknown, when fetch was called
    end_ns: int = 0  # the answer's last body byte, or the failure
    headers_ns: int | None = None
    status: int | None = None
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    chunks: list[tuple[int, bytes]] = field(default_factory=list)  # arrival and bytes of the decoded body
    error_class: ErrorClass | None = None  # connect, timeout, malformed, truncated
    error_message: str | None = None

    @property
    def body(self) -> bytes:
        """All of the decoded body that came."""
        return b"".join([data for _, data in self.chunks])


async def fetch(client: httpx.AsyncClient, request: httpx.Request) -> Exchange:
    """Send one request and read its answer; the times are the socket's only over ``ExactTransport``."""
    exchange, cut, options = Exchange(time.perf_counter_ns()), None, request.extensions
    exact = isinstance(client._transport, ExactTransport)  # keeps the deadline and what came before it
    deadline_s = options.get("deadline_s") or DEADLINE_S
    try:
        async with asyncio.timeout(None if exact else deadline_s):
            response = await client.send(request, stream=True, follow_redirects=False)
            exchange.status, exchange.headers = response.status_code, response.headers
            if exact:
                facts = (response.extensions[name] for name in _FACTS)
                exchange.start_ns, exchange.headers_ns, exchange.end_ns, exchange.chunks, cut = facts
            else:
                answer = _Answer(options.get("is_last"), options.get("max_bytes"))
                exchange.chunks, exchange.headers_ns = answer.stamps, time.perf_counter_ns()
                async with aclosing(response):
                    async for piece in response.aiter_bytes():
                        answer.now_ns = time.perf_counter_ns()
                        answer.on_body(piece)
                        if answer.last or answer.cut:
                            break
                exchange.end_ns, cut = answer.now_ns or exchange.headers_ns, answer.cut
    except (httpx.RequestError, TimeoutError) as error:
        text = str(error) or f"{type(error).__name__}, at most {deadline_s:g} s in all"
        closed = "disconnected" in text or "peer closed" in text  # httpx's own words for a lost connection
        names = [name for kinds, name in _CLASSES if isinstance(error, kinds) and not closed]
        cut = (names or ["truncated" if exchange.status else "connect"])[0], text
        exchange.end_ns = time.perf_counter_ns()
    exchange.error_class, exchange.error_message = cut or (None, None)
    return exchange

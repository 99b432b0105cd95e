"""Send one prepared request and keep what arrived, chunk by chunk, with the moment of each arrival."""

import ssl
import time
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import httpx

from poc_lib.records import Api, ErrorClass

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What is the same for every request of a run."""

    prompt: str
    temperature: float
    max_tokens: int  # output tokens at most
    timeout_s: float  # seconds without a byte
    connect_timeout_s: float
    api_key: str | None = field(default=None, repr=False)  # shown nowhere, stored nowhere


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request whose body is encoded already, so that nothing of it falls into the timed window."""

    frame_id: str
    api: Api
    url: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)  # may hold the API key


@dataclass(slots=True)
class Exchange:
    """The raw record of one request. Moments are ``time.perf_counter_ns`` values."""

    start_ns: int
    end_ns: int = 0
    headers_ns: int | None = None
    status: int | None = None
    chunks: list[tuple[int, bytes]] = field(default_factory=list)  # (arrival, bytes as read)
    error_class: ErrorClass | None = None  # of the transport alone; the API's errors are in the chunks
    error_message: str | None = None


@dataclass(slots=True)
class Answer:
    """What an API's reader found in the bytes of one exchange; times are seconds from sending."""

    text: str = ""
    reasoning_chars: int = 0
    arrivals_s: list[float] = field(default_factory=list)
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    server_load_s: float | None = None
    server_prefill_s: float | None = None
    server_decode_s: float | None = None
    error_class: ErrorClass | None = None
    error_message: str | None = None


class NotTheApi(ValueError):
    """A JSON value whose shape is not the API's, found in a server's answer."""


@cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()  # 25 ms each: shared by all clients


def open_client(settings: ChatSettings) -> httpx.AsyncClient:
    """A client with one connection, for one slot; environment proxies are ignored."""
    return httpx.AsyncClient(
        verify=_ssl_context(),
        trust_env=False,
        timeout=httpx.Timeout(settings.timeout_s, connect=settings.connect_timeout_s),
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
    )


def request_headers(settings: ChatSettings) -> dict[str, str]:
    """Headers of every chat request; compression is refused, since it would delay chunks."""
    headers = {"content-type": "application/json", "accept-encoding": "identity"}
    if settings.api_key:
        headers["authorization"] = f"Bearer {settings.api_key}"
    return headers


async def send_prepared(client: httpx.AsyncClient, prepared: PreparedRequest) -> Exchange:
    """Send one request, once; stamp each chunk as it arrives and parse nothing meanwhile.

    A failure of the transport is recorded in the exchange; nothing is retried.
    """
    exchange = Exchange(start_ns=time.perf_counter_ns())
    try:
        async with client.stream(
            "POST", prepared.url, content=prepared.body, headers=prepared.headers
        ) as response:
            exchange.headers_ns = time.perf_counter_ns()
            exchange.status = response.status_code
            async for chunk in response.aiter_raw():
                exchange.chunks.append((time.perf_counter_ns(), chunk))
    except httpx.TransportError as error:
        exchange.error_class = _classify(error, began=exchange.headers_ns is not None)
        exchange.error_message = f"{type(error).__name__}: {error}".rstrip(": ")
    exchange.end_ns = time.perf_counter_ns()
    return exchange


def _classify(error: httpx.TransportError, began: bool) -> ErrorClass:
    if isinstance(error, httpx.ConnectTimeout):
        return "connect"
    if isinstance(error, httpx.TimeoutException):
        return "timeout"
    return "truncated" if began else "connect"


def split_lines(exchange: Exchange) -> list[tuple[float, bytes]]:
    """The complete lines of the body, each with the arrival of its last byte in seconds from sending."""
    lines: list[tuple[float, bytes]] = []
    rest = b""
    for arrival_ns, data in exchange.chunks:
        *complete, rest = (rest + data).split(b"\n")
        arrival_s = (arrival_ns - exchange.start_ns) / 1e9
        lines += [(arrival_s, line.strip()) for line in complete]
    if rest and exchange.error_class is None:
        lines.append(((exchange.chunks[-1][0] - exchange.start_ns) / 1e9, rest.strip()))
    return [(arrival_s, line) for arrival_s, line in lines if line]


def broke_off_in(exchange: Exchange, line: bytes, opening: bytes) -> bool:
    """Whether the body ended inside this line, which began as the API's lines begin."""
    last = b"".join(data for _, data in exchange.chunks).rpartition(b"\n")[2].strip()
    return line == last and (line.startswith(opening) or opening.startswith(line))


def typed(value: object, key: str, kind: type[Kind]) -> Kind | None:
    """The field of a JSON object; None where it is absent or null.

    Raises:
        NotTheApi: the value is no object, or its field has another type.
    """
    found = value.get(key) if isinstance(value, dict) else value
    if not isinstance(value, dict) or not isinstance(found, kind | None):
        raise NotTheApi(f"'{key}' expected as {kind.__name__}, found {type(found).__name__}")
    return found


def one_line(text: object, limit: int = 300) -> str:
    """A message on one line, cut at the limit."""
    line = " ".join(str(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"

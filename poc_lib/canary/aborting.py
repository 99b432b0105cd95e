"""Send a request and give it up in mid-answer, as a user does who closes the window."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import httpx

from poc_lib.records import Reply
from poc_lib.servers.chat import Sending, read_exchange, send_request
from poc_lib.servers.exchange import Exchange, PreparedRequest


class GivenUp(httpx.TransportError):
    """Raised inside an exchange that the client gives up; the connection is then closed."""


@dataclass(slots=True)
class _Impatient:
    """Stands for the client towards send_request, and ends the stream when patience does."""

    client: httpx.AsyncClient
    prepared: PreparedRequest
    after_chunks: int | None
    after_s: float | None
    gave_up: str | None = None
    seen: Exchange = field(default_factory=lambda: Exchange(start_ns=0))

    @asynccontextmanager
    async def stream(self, method: str, url: str, **kwargs: Any) -> AsyncIterator[SimpleNamespace]:
        try:
            async with (
                asyncio.timeout(self.after_s),
                self.client.stream(method, url, **kwargs) as response,
            ):
                self.seen.status = response.status_code
                yield SimpleNamespace(
                    status_code=response.status_code, aiter_raw=lambda: _read_until_enough(self, response)
                )
        except TimeoutError:
            raise _give_up(self, f"{self.after_s:g} s after sending") from None


async def send_and_abort(
    client: httpx.AsyncClient,
    prepared: PreparedRequest,
    sending: Sending,
    *,
    after_chunks: int | None = None,
    after_s: float | None = None,
) -> Reply:
    """Send one request and close its connection after so many chunks of text, or seconds from sending.

    Whichever comes first; chunks are counted as ``arrivals_s`` counts them. Returns the reply with what
    had come by then and error_class "aborted"; an answer that ended or failed before is returned as it is.
    """
    impatient = _Impatient(client, prepared, after_chunks, after_s)
    reply = await send_request(impatient, prepared, sending)
    if impatient.gave_up is None:
        return reply
    return replace(reply, error_class="aborted", error_message=f"given up {impatient.gave_up}")


async def _read_until_enough(impatient: _Impatient, response: httpx.Response) -> AsyncIterator[bytes]:
    async with aclosing(response.aiter_raw()) as chunks:
        async for data in chunks:
            impatient.seen.chunks.append((0, data))
            yield data
            n_chunks = _chunks_of_text(impatient)
            if impatient.after_chunks is not None and n_chunks >= impatient.after_chunks:
                raise _give_up(impatient, f"after {n_chunks} chunks")


def _chunks_of_text(impatient: _Impatient) -> int:
    answer = read_exchange(impatient.prepared, impatient.seen)
    # An answer that has ended is not given up any more.
    return 0 if answer.finish_reason else len(answer.arrivals_s)


def _give_up(impatient: _Impatient, when: str) -> GivenUp:
    impatient.gave_up = when
    return GivenUp(f"given up {when}")

"""From a frame to a reply: prepare the request, send it, read what came back."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson

from poc_lib.records import Cell, ErrorClass, Frame, Reply, ServerSpec
from poc_lib.servers import ollama, openai
from poc_lib.servers.exchange import (
    Answer,
    ChatSettings,
    Exchange,
    PreparedRequest,
    one_line,
    request_headers,
    send_prepared,
)

APIS = {"openai": openai, "ollama": ollama}
MEDIA_TYPES = {".png": "image/png", ".webp": "image/webp"}


@dataclass(frozen=True, slots=True)
class Sending:
    """Where in the run one request belongs; copied into its reply."""

    cell: Cell
    sitting: int
    slot: int
    simulated: bool
    run_start_ns: int  # perf_counter_ns at the sitting's start
    in_flight: int
    due_s: float | None = None  # open loop: the intended moment, seconds from run_start_ns


def prepare_requests(
    spec: ServerSpec, frames: Sequence[Frame], settings: ChatSettings
) -> dict[str, PreparedRequest]:
    """Encode every frame's request for one server, by frame_id; takes 1.4 × the image files' size."""
    return {frame.frame_id: prepare_request(spec, frame, settings) for frame in frames}


def prepare_request(spec: ServerSpec, frame: Frame, settings: ChatSettings) -> PreparedRequest:
    """Read one frame's image file and encode its request."""
    api = APIS[spec.api]
    path = Path(frame.image_path)
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "image/jpeg")
    return PreparedRequest(
        frame_id=frame.frame_id,
        api=spec.api,
        url=api.chat_url(spec.url),
        body=api.encode_chat(path.read_bytes(), media_type, spec.model, settings),
        headers=request_headers(settings),
    )


def request_id(cell: Cell, frame_id: str) -> str:
    """The identity of a request within a run; an open loop's says its arrivals and rate, too."""
    load = "" if cell.arrivals == "closed" else f"{cell.arrivals}-{cell.rate_per_s:.12g}/"
    return f"{cell.server}/{cell.phase}/{load}c{cell.concurrency}/b{cell.block}/{frame_id}"


async def send_request(client: httpx.AsyncClient, prepared: PreparedRequest, sending: Sending) -> Reply:
    """Send one request and return its reply, which is a row whether it was answered or failed."""
    sent_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    exchange = await send_prepared(client, prepared)
    answer = read_exchange(prepared, exchange)
    answer.error_message = _without_key(answer.error_message, prepared)
    cell = sending.cell
    end_ns = exchange.chunks[-1][0] if answer.error_class is None else exchange.end_ns
    return Reply(
        request_id=request_id(cell, prepared.frame_id),
        server=cell.server,
        role=cell.role,
        concurrency=cell.concurrency,
        block=cell.block,
        phase=cell.phase,
        frame_id=prepared.frame_id,
        sitting=sending.sitting,
        slot=sending.slot,
        simulated=sending.simulated,
        sent_at=sent_at,
        start_s=(exchange.start_ns - sending.run_start_ns) / 1e9,
        in_flight=sending.in_flight,
        total_s=(end_ns - exchange.start_ns) / 1e9,
        arrivals=cell.arrivals,
        rate_per_s=cell.rate_per_s,
        due_s=sending.due_s,
        headers_s=None if exchange.headers_ns is None else (exchange.headers_ns - exchange.start_ns) / 1e9,
        ttft_s=answer.arrivals_s[0] if answer.arrivals_s else None,
        arrivals_s=[round(arrival_s, 5) for arrival_s in answer.arrivals_s],
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        reasoning_chars=answer.reasoning_chars,
        finish_reason=answer.finish_reason,
        text=answer.text,
        http_status=exchange.status,
        error_class=answer.error_class,
        error_message=answer.error_message,
        server_load_s=answer.server_load_s,
        server_prefill_s=answer.server_prefill_s,
        server_decode_s=answer.server_decode_s,
    )


def read_exchange(prepared: PreparedRequest, exchange: Exchange) -> Answer:
    """What came back, with its failure named where it is one."""
    if exchange.status is not None and exchange.status != 200:
        return _refusal(exchange)
    answer = APIS[prepared.api].read_answer(exchange)
    if answer.error_class is not None:
        return answer
    if answer.finish_reason is None:
        answer.error_class, answer.error_message = _unfinished(exchange)
    elif not answer.text.strip():
        answer.error_class = "empty"
        answer.error_message = f"finished ({answer.finish_reason}) without any text"
        if answer.reasoning_chars:
            answer.error_message += f", after {answer.reasoning_chars} characters of thinking"
    return answer


def _unfinished(exchange: Exchange) -> tuple[ErrorClass, str]:
    if exchange.error_class is not None:
        return exchange.error_class, one_line(exchange.error_message)
    if not exchange.chunks:
        return "malformed", "a 200 response without a body"
    return "truncated", "the stream ended before the server said that the answer was finished"


def _refusal(exchange: Exchange) -> Answer:
    body = b"".join(data for _, data in exchange.chunks)
    try:
        message = openai.error_text(orjson.loads(body))
    except orjson.JSONDecodeError:
        message = body.decode("utf-8", "replace")
    busy = exchange.status in (429, 503) or openai.BUSY in body
    return Answer(
        error_class="busy" if busy else "http_status",
        error_message=one_line(f"HTTP {exchange.status}: {message or 'no body'}"),
    )


def _without_key(message: str | None, prepared: PreparedRequest) -> str | None:
    """A server may echo the API key in its error; replies are stored and shown."""
    key = prepared.headers.get("authorization", "").removeprefix("Bearer ")
    return message.replace(key, "[API key]") if message and key else message


def run_clock_ns() -> int:
    """The monotonic clock that every time of a run is read from."""
    return time.perf_counter_ns()

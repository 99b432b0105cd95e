"""From a frame to a reply: prepare the request, send it once, read what came back."""

import asyncio
import base64
import io
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Literal

import httpx
import orjson
from PIL import Image

from poc_lib.client.apis import BUSY, LAST_LINE, Answer, error_text, read_answer
from poc_lib.client.stamp import proof_prompt, stamp_image
from poc_lib.client.transport import ExactTransport, Exchange, default_tls, fetch
from poc_lib.records import Api, Cell, Frame, Reply, Server, SetupProblem
from poc_lib.text import authorize, mask, one_line, repair, secrets_of, split_credentials

LARGE_BYTES = 500_000  # such an answer is read in a thread: it would hold the event loop for over 10 ms
CONNECT_TIMEOUT_S = 10.0
MAGIC = {b"\x89PNG": "image/png", b"GIF8": "image/gif", b"RIFF": "image/webp", b"BM": "image/bmp"}


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What is the same for every request of a run."""

    prompt: str
    temperature: float
    max_tokens: int  # output tokens at most
    timeout_s: float  # seconds without a byte
    answer_timeout_s: float = 600.0  # sending to the end of the answer
    api_key: str | None = field(default=None, repr=False)  # shown nowhere, stored nowhere
    transport: Literal["exact", "httpx"] = "exact"


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request whose body is encoded already, so that nothing of it falls into the timed window."""

    request_id: str
    frame_id: str
    api: Api
    url: str
    body: bytes = field(repr=False)
    headers: dict[str, str] = field(repr=False)  # may hold a key or a password
    code: str | None = None  # stamped on its image
    answer_timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Sending:
    """Where in the run one request belongs; copied into its reply."""

    cell: Cell
    sitting: int
    slot: int
    position: int
    simulated: bool
    run_start_ns: int  # perf_counter_ns at the sitting's start
    in_flight: int
    due_s: float | None = None  # open loop: the intended moment, seconds from run_start_ns


def prepare_request(
    server: Server, frame: Frame, settings: ChatSettings, request_id: str, *,
    image_width: int = 0, code: str | None = None,
) -> PreparedRequest:  # fmt: skip
    """Read a frame's image and encode its request; may run in a thread.

    The file's own bytes are sent, unless it is wider than ``image_width`` px (0: any width) or gets a code:
    then the prompt asks for the code, too, and the image goes as a JPEG of quality 85.

    Raises:
        SetupProblem: the image cannot be read any more.
    """
    try:
        image = encode_image(frame.image_path.read_bytes(), image_width, code)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        found = one_line(f"the image {frame.image_path} cannot be read ({type(error).__name__}: {error})")
        raise SetupProblem(f"{found}: was it removed or changed?") from error
    media_type = next((name for magic, name in MAGIC.items() if image.startswith(magic)), "image/jpeg")
    prompt = proof_prompt(settings.prompt) if code else settings.prompt
    image = base64.b64encode(image).decode()
    url, headers = authorize(server.url, settings.api_key)
    headers |= {"content-type": "application/json", "accept-encoding": "identity"}  # packing delays chunks
    if server.api == "ollama":
        url = f"{url.rstrip('/').removesuffix('/v1')}/api/chat"
        body = {"messages": [{"role": "user", "content": prompt, "images": [image]}], "keep_alive": "10m"}
        body["options"] = {"temperature": settings.temperature, "num_predict": settings.max_tokens}
    else:
        url = f"{url.rstrip('/')}/chat/completions"
        picture = {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{image}"}}
        body = {"messages": [{"role": "user", "content": [{"type": "text", "text": prompt}, picture]}]}
        body |= {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        body["stream_options"] = {"include_usage": True}
    body = orjson.dumps({"model": server.model, "stream": True} | body)
    about = request_id, frame.frame_id, server.api, url, body, headers
    return PreparedRequest(*about, code, settings.answer_timeout_s)


def encode_image(data: bytes, image_width: int = 0, code: str | None = None) -> bytes:
    """A file's bytes as they are, or scaled down to a width in px (0: any) and stamped, as PNG or JPEG."""
    if not image_width and not code:
        return data
    with Image.open(io.BytesIO(data)) as image:
        if not code and image.width <= image_width:
            return data
        kind, drawn = image.format, image.convert("RGB")
    if 0 < image_width < drawn.width:
        size = image_width, max(1, round(drawn.height * image_width / drawn.width))
        drawn = drawn.resize(size, Image.Resampling.LANCZOS)
    written = io.BytesIO()
    if code:
        kind, drawn = "JPEG", stamp_image(drawn, code)
    drawn.save(written, "PNG" if kind == "PNG" else "JPEG", quality=85)
    return written.getvalue()


def open_client(
    settings: ChatSettings, transport: httpx.AsyncBaseTransport | None = None
) -> httpx.AsyncClient:
    """A client over the exact transport, over httpx's own (``settings.transport``), or over a given one.

    Proxies of the environment are ignored; connections are not limited in number, so that none waits unseen.
    """
    if transport is None and settings.transport == "exact":
        transport = ExactTransport()
    return httpx.AsyncClient(
        transport=transport,
        verify=True if transport else default_tls(),
        trust_env=False,
        timeout=httpx.Timeout(settings.timeout_s, connect=min(CONNECT_TIMEOUT_S, settings.timeout_s)),
        limits=httpx.Limits(),
    )


async def send_request(
    client: httpx.AsyncClient, prepared: PreparedRequest, sending: Sending, *,
    abort_after_s: float | None = None,
) -> Reply:  # fmt: skip
    """Send one request, once, and return its reply, which is a row whether it was answered or failed.

    With ``abort_after_s`` the connection is closed that long after sending, whatever has come; an answer that
    was finished by then is an answer. Cancelling the task leaves no reply.
    """
    sent_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    deadline_s = min(prepared.answer_timeout_s, abort_after_s or prepared.answer_timeout_s)
    limits = {"deadline_s": deadline_s, "is_last": LAST_LINE[prepared.api].search}
    request = client.build_request(
        "POST", prepared.url, content=prepared.body, headers=prepared.headers, extensions=limits
    )
    exchange = await fetch(client, request)
    if sum(len(data) for _, data in exchange.chunks) > LARGE_BYTES:
        answer = await asyncio.to_thread(read_exchange, prepared, exchange)
    else:
        answer = read_exchange(prepared, exchange)
    total_s = (exchange.end_ns - exchange.start_ns) / 1e9
    if answer.fields.get("error_class") is None:
        total_s = answer.chunks[-1][0]  # whatever the server still sent is no part of the answer
    elif answer.fields["error_class"] == "timeout" and abort_after_s and total_s >= 0.99 * abort_after_s:
        answer.fail("aborted", f"given up by this client after {abort_after_s:g} s")
    arrivals_s = [arrival_s for arrival_s, text, reasoning in answer.chunks if text or reasoning]
    place = asdict(sending)
    return Reply(
        request_id=prepared.request_id,
        frame_id=prepared.frame_id,
        code=prepared.code,
        sent_at=sent_at,
        start_s=(exchange.start_ns - place.pop("run_start_ns")) / 1e9,
        total_s=total_s,
        headers_s=None if exchange.headers_ns is None else (exchange.headers_ns - exchange.start_ns) / 1e9,
        ttft_s=arrivals_s[0] if arrivals_s else None,
        arrivals_s=[round(arrival_s, 5) for arrival_s in arrivals_s],
        http_status=exchange.status,
        **place.pop("cell"),
        **place,
        **answer.fields,
    )


def read_exchange(prepared: PreparedRequest, exchange: Exchange) -> Answer:
    """What came back, its failure named where it is one, no secret in it; ``fields`` have the text, too."""
    status, is_refusal = exchange.status or 0, exchange.status not in (None, 200)
    answer = Answer() if is_refusal else read_answer(prepared.api, exchange)
    fields, secrets = answer.fields, secrets_of(prepared.headers)
    text, finish = repair("".join(text for _, text, _ in answer.chunks)), fields.get("finish_reason")
    fields["text"] = mask(text, [secret for secret in secrets if len(secret) >= 8])  # shorter ones are words
    n_thought = fields["reasoning_chars"] = sum(len(reasoning) for *_, reasoning in answer.chunks)
    if is_refusal:
        body = exchange.body
        message = error_text(body) or "no body"
        if 300 <= status < 400:
            target = split_credentials(exchange.headers.get("location", "nowhere"))[0]
            message = f"redirected to {target}, which is not followed: set the server's URL to where it leads"
        is_busy = status in (429, 503) or BUSY in body
        answer.fail("busy" if is_busy else "http_status", f"HTTP {status}: {message}")
    elif "error_class" not in fields and finish is None:
        lost = "truncated", "the answer ended before the server said that it was finished"
        lost = lost if exchange.chunks else ("malformed", "a 200 response without a body")
        answer.fail(exchange.error_class or lost[0], exchange.error_message or lost[1])
    elif "error_class" not in fields and not text.strip():
        thought = f", after {n_thought} characters of thinking" if n_thought else ""
        answer.fail("empty", f"finished ({finish}) without any text{thought}")
    for name, limit in (("error_message", 300), ("finish_reason", 60)):
        if name in fields:
            fields[name] = one_line(mask(fields[name], secrets), limit)
    return answer

"""From a frame to a reply, over the OpenAI-compatible API or Ollama's own, which tells its durations."""

import asyncio
import base64
import io
import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import accumulate
from typing import Literal

import httpx
import orjson
from PIL import Image

from poc_lib.client.stamp import proof_prompt, stamp_image
from poc_lib.client.transport import ExactTransport, Exchange, default_tls, fetch
from poc_lib.records import Api, Cell, Frame, Reply, Server, SetupProblem
from poc_lib.text import authorize, mask, one_line, repair, secrets_of, split_credentials

BUSY = b"text_generation_busy"  # vllm-mlx without batching, while it serves another request
LAST_LINE = {  # no text looks like it: inside a JSON string are neither line ends nor bare quotation marks
    "openai": re.compile(rb"(?:\A|[\r\n])data:[ \t]*\[DONE\][ \t]*(?=[\r\n]|\Z)"),
    "ollama": re.compile(rb'"done"\s*:\s*true[^\n]*\n'),
}
BLOCK = re.compile(rb"(?:[^\r\n]++(?:\r\n?|\n|\Z))++")  # lines with no empty one between them
DATA = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|(?<=[\r\n]))(?:data:[ \t]*+|(?={))([^\s][^\r\n]*+)")
EVENT = re.compile(rb"(?:\A|[\r\n])event:[ \t]*+([^\r\n]*+)")
LARGE_BYTES = 500_000  # such an answer is read in a thread: it would hold the event loop for over 10 ms
REASONING = "reasoning", "reasoning_content", "thinking"
FIGURES = {  # fields of Reply, as both APIs call them; Ollama's durations are nanoseconds
    "prompt_tokens": "prompt_tokens",
    "completion_tokens": "output_tokens",
    "prompt_eval_count": "prompt_tokens",
    "eval_count": "output_tokens",
    "load_duration": "server_load_s",
    "prompt_eval_duration": "server_prefill_s",
    "eval_duration": "server_decode_s",
}


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


@dataclass(slots=True)
class Answer:
    """What was found in the bytes of one exchange."""

    chunks: list[tuple[float, str, str]] = field(default_factory=list)  # arrival, text, reasoning
    end_s: float | None = None  # arrival of the last event
    fields: dict[str, object] = field(default_factory=dict)  # of Reply: counts, finish_reason, error_class …

    def fail(self, error_class: str, message: str) -> None:
        """Name the failure and keep what was read before."""
        self.fields |= {"error_class": error_class, "error_message": message}


def prepare_request(
    server: Server, frame: Frame, settings: ChatSettings, request_id: str, *,
    image_width: int = 0, code: str | None = None,
) -> PreparedRequest:  # fmt: skip
    """Read a frame's image and encode its request; may run in a thread.

    The file's own bytes are sent, unless it is wider than ``image_width`` px (0: any width) or gets a code,
    which the prompt then asks for. Raises SetupProblem where the image cannot be read any more.
    """
    try:
        image = frame.image_path.read_bytes()
        with Image.open(io.BytesIO(image)) as opened:
            kind = opened.format
            drawn = opened.convert("RGB") if code or 0 < image_width < opened.width else None
        if drawn:
            if image_width:
                drawn.thumbnail((image_width, drawn.height), Image.Resampling.LANCZOS, reducing_gap=None)
            kind, written = "PNG" if kind == "PNG" and not code else "JPEG", io.BytesIO()
            (stamp_image(drawn, code) if code else drawn).save(written, kind, quality=85)
            image = written.getvalue()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        found = one_line(f"the image {frame.image_path} cannot be read ({type(error).__name__}: {error})")
        raise SetupProblem(f"{found}: was it removed or changed?") from error
    prompt = proof_prompt(settings.prompt) if code else settings.prompt
    picture = base64.b64encode(image).decode()
    url, headers = authorize(server.url.rstrip("/"), settings.api_key)
    headers["content-type"] = "application/json"
    body = {"model": server.model, "stream": True}
    if server.api == "ollama":
        url = f"{url.removesuffix('/v1')}/api/chat"
        body["messages"] = [{"role": "user", "content": prompt, "images": [picture]}]
        body["options"] = {"temperature": settings.temperature, "num_predict": settings.max_tokens}
        body["keep_alive"] = "10m"
    else:
        url = f"{url}/chat/completions"
        picture = {"type": "image_url", "image_url": {"url": f"data:{Image.MIME[kind]};base64,{picture}"}}
        body["messages"] = [{"role": "user", "content": [{"type": "text", "text": prompt}, picture]}]
        body |= {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
        body["stream_options"] = {"include_usage": True}
    about = request_id, frame.frame_id, server.api, url, orjson.dumps(body), headers
    return PreparedRequest(*about, code, settings.answer_timeout_s)


def open_client(settings: ChatSettings, transport: httpx.AsyncBaseTransport | None = None):
    """A client over ``settings.transport`` or a given one; connections are not limited: none waits unseen."""
    if transport is None and settings.transport == "exact":
        transport = ExactTransport()
    timeout = httpx.Timeout(settings.timeout_s, connect=min(10.0, settings.timeout_s))
    options = {"verify": default_tls(), "trust_env": False, "limits": httpx.Limits()}
    return httpx.AsyncClient(transport=transport, timeout=timeout, **options)


async def send_request(
    client: httpx.AsyncClient, prepared: PreparedRequest, sending: Sending, *,
    abort_after_s: float | None = None,
) -> Reply:  # fmt: skip
    """Send one request, once, and return its reply, which is a row whether it was answered or failed.

    ``abort_after_s`` closes the connection that long after sending, unless the answer was finished by then.
    """
    sent_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    deadline_s = min(prepared.answer_timeout_s, abort_after_s or prepared.answer_timeout_s)
    limits = {"deadline_s": deadline_s, "is_last": LAST_LINE[prepared.api].search}
    request = client.build_request(
        "POST", prepared.url, content=prepared.body, headers=prepared.headers, extensions=limits
    )
    exchange = await fetch(client, request)
    if exchange.size > LARGE_BYTES:
        answer = await asyncio.to_thread(read_exchange, prepared, exchange)
    else:
        answer = read_exchange(prepared, exchange)
    total_s = (exchange.end_ns - exchange.start_ns) / 1e9
    if "error_class" not in answer.fields:
        total_s = answer.end_s  # whatever the server still sent is no part of the answer
    elif answer.fields["error_class"] == "timeout" and abort_after_s and total_s >= 0.99 * abort_after_s:
        answer.fail("aborted", f"given up by this client after {abort_after_s:g} s")
    arrivals_s = [arrival_s for arrival_s, _, _ in answer.chunks]
    place = asdict(sending)
    return Reply(
        request_id=prepared.request_id,
        frame_id=prepared.frame_id,
        code=prepared.code,
        sent_at=sent_at,
        start_s=(exchange.start_ns - place.pop("run_start_ns")) / 1e9,
        total_s=total_s,
        headers_s=exchange.headers_ns and (exchange.headers_ns - exchange.start_ns) / 1e9,
        ttft_s=arrivals_s[0] if arrivals_s else None,
        arrivals_s=[round(arrival_s, 5) for arrival_s in arrivals_s],
        http_status=exchange.status,
        **place.pop("cell"),
        **place,
        **answer.fields,
    )


def read_exchange(prepared: PreparedRequest, exchange: Exchange) -> Answer:
    """What came back, its failure named where it is one, no secret in it; ``fields`` have the text, too."""
    status, body, secrets = exchange.status or 200, exchange.body, secrets_of(prepared.headers)
    answer = read_answer(prepared.api, exchange) if status == 200 else Answer()
    fields = answer.fields
    text = repair("".join(text for _, text, _ in answer.chunks))
    fields["text"] = mask(text, [secret for secret in secrets if len(secret) >= 8])  # shorter ones are words
    n_thought = fields["reasoning_chars"] = sum(len(reasoning) for *_, reasoning in answer.chunks)
    if status != 200:
        is_busy, message = status in (429, 503) or BUSY in body, error_text(body) or "no body"
        if target := exchange.headers.get("location"):
            message = f"redirected to {split_credentials(target)[0]}, which is not followed"
        answer.fail("busy" if is_busy else "http_status", f"HTTP {status}: {message}")
    elif "error_class" not in fields and "finish_reason" not in fields:
        if exchange.error_class:
            answer.fail(exchange.error_class, exchange.error_message)
        elif answer.end_s:
            answer.fail("truncated", "the answer ended before the server said that it was finished")
        else:
            answer.fail("malformed", f"no chat answer: {body.decode(errors='replace') or 'no body'}")
    elif "error_class" not in fields and not text.strip():
        finish = f"finished ({fields['finish_reason']}) without any text"
        answer.fail("empty", f"{finish}, after {n_thought} characters of thinking")
    for name in fields.keys() & {"error_message", "finish_reason"}:
        fields[name] = one_line(mask(fields[name], secrets))
    return answer


def read_answer(api: Api, exchange: Exchange) -> Answer:
    """Read a 200 response: server-sent events, lines of JSON, or one JSON object, unasked."""
    answer, body = Answer(), exchange.body
    ends = list(accumulate(len(data) for _, data in exchange.chunks))
    for end, data in split_events(body):
        arrival_s = (exchange.chunks[bisect_left(ends, end)][0] - exchange.start_ns) / 1e9
        if data == b"[DONE]":
            if answer.end_s:
                answer.end_s, answer.fields = arrival_s, {"finish_reason": "unknown"} | answer.fields
            break
        try:
            found = expect(dict, load_json(data))
            if found.get("error") or found.get("object") == "error":
                answer.fail("busy" if BUSY in data else "server_error", error_text(data))
                break
            if api == "openai":
                choices, told = expect(list, found.get("choices")), found.get("usage")
                told = told if isinstance(told, dict) else {}
            else:
                told = found if found.get("done") else {}
                reason = told and (found.get("done_reason") or "stop")
                choices = [{"delta": found.get("message"), "finish_reason": reason}]
            for choice in choices:  # a whole answer has a message where a chunk has its delta
                delta = expect(dict, expect(dict, choice).get("delta") or choice.get("message"))
                thought = next((delta[name] for name in REASONING if isinstance(delta.get(name), str)), "")
                text = delta.get("content")
                if isinstance(text, list):  # of parts, of which those without a text say nothing
                    text = "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
                if (text := expect(str, text)) or thought:
                    answer.chunks.append((arrival_s, text, thought))
                if reason := choice.get("finish_reason"):
                    answer.fields["finish_reason"] = str(reason)
        except ValueError as problem:
            if end < len(body):  # else it was cut
                answer.fail("malformed", f"{problem}: {data.decode(errors='replace')}")
            break
        for key in told.keys() & FIGURES.keys():
            name, figure = FIGURES[key], -1.0  # of what is no count, or an absurd one
            with suppress(TypeError, ValueError, OverflowError):
                figure = -1.0 if isinstance(told[key], bool) else float(told[key])
            if 0 <= figure < 2**53:
                answer.fields[name] = figure / 1e9 if name.endswith("_s") else round(figure)
        if choices or told:
            answer.end_s = arrival_s
        if api == "ollama" and told:
            break
    return answer


def split_events(body: bytes) -> Iterator[tuple[int, bytes]]:
    """The data of server-sent events (HTML standard, section 9.2.6), or lines of JSON, and where each ends.

    An error event becomes a JSON object with its data as ``error``; events of somebody else's are left out.
    """
    for block in BLOCK.finditer(body):
        lines = [(block.start() + found.end(), found[1].strip()) for found in DATA.finditer(block[0])]
        whole, end = b"\n".join(data for _, data in lines), block.start() + len(block[0].rstrip())
        is_object = block[0].lstrip().startswith(b"{")  # maybe over many lines
        kind = (found := EVENT.search(block[0])) and found[1].strip()
        if not (lines or is_object) or kind not in (None, b"", b"message", b"error"):
            continue
        whole, is_error = block[0].strip() if is_object else whole, kind == b"error"
        try:
            load_json(whole)
        except ValueError:
            yield from [(end, orjson.dumps({"error": whole.decode(errors="replace")}))] if is_error else lines
        else:
            yield end, b'{"error": %s}' % whole if is_error else whole


def load_json(data: bytes) -> object:
    """A JSON value; lone surrogates, NaN and bytes that are not UTF-8 pass, endless nesting does not."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        with suppress(RecursionError):
            return json.loads(data.decode("utf-8", "replace"))
        raise


def expect(kind: type, value: object) -> object:
    """The value where it is of the kind; an empty one where it is null or missing; else ValueError."""
    if value is None or isinstance(value, kind):
        return kind() if value is None else value
    raise ValueError(f"{kind.__name__} expected, found {type(value).__name__}")


def error_text(data: bytes) -> str:
    """The message inside an error body, in the shapes that servers use; the whole where there is none."""
    message = None
    with suppress(ValueError):
        message = load_json(data)
    for key in ("error", "detail", "message"):
        message = (message.get(key) or message) if isinstance(message, dict) else message
    return message if isinstance(message, str) else data.decode("utf-8", "replace")

"""The OpenAI-compatible chat API: vllm-mlx, mlx-vlm's server, LM Studio, vLLM and others."""

import re

import orjson

from poc_lib.client.answer import Answer, Line, body_of, count_of, expect, read_event, split_lines, text_of
from poc_lib.client.transport import Exchange

DONE = re.compile(rb"(?:\A|[\r\n])data:[ \t]*\[DONE\][ \t]*(?=[\r\n]|\Z)")  # no JSON text holds a line end


def chat_url(base_url: str) -> str:
    """Where chat requests go."""
    return f"{base_url.rstrip('/')}/chat/completions"


def encode_chat(model: str, prompt: str, image: str, media_type: str, options: dict) -> bytes:
    """The body: the prompt and one image in base64 as a data URL, streamed, with usage at the end."""
    picture = {"type": "image_url", "image_url": {"url": f"data:{media_type};base64,{image}"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": prompt}, picture]}]
    body = {"model": model, "messages": messages, **options}
    return orjson.dumps(body | {"stream": True, "stream_options": {"include_usage": True}})


def is_last(tail: bytes) -> bool:
    """Whether the end of a body so far holds the line ``data: [DONE]``."""
    return DONE.search(tail) is not None


def read_answer(exchange: Exchange) -> Answer:
    """Read the server-sent events of a 200 response, or the one JSON object of a server that does not stream.

    Lines as the HTML standard has them (section 9.2.6): unknown fields and comments are passed over, the data
    lines of an event are joined. The first chunk carries only the role and is sent before inference. Usage
    comes in a last chunk without choices.
    """
    answer, body = Answer(), body_of(exchange)
    if body.lstrip().startswith((b"{", b"[")):
        arrival_s = (exchange.chunks[-1][0] - exchange.start_ns) / 1e9
        if not read_event(answer, [Line(arrival_s, body, exchange.error_class is None, False)], _take):
            if answer.chunks:
                answer.fields.setdefault("finish_reason", "unknown")
            else:
                answer.fail("malformed", f"no chat answer: {body.decode(errors='replace')}")
        return answer
    event, kind, is_stream = [], b"", b"data:".startswith(body)
    for line in split_lines(exchange):
        if line.after_blank:
            if event and read_event(answer, event, _take, kind):
                return answer
            event, kind = [], b""
        name, _, value = line.data.partition(b":")
        is_cut = exchange.error_class is not None and not line.whole
        is_stream |= is_cut or name in (b"", b"data", b"event", b"id", b"retry")
        if name == b"event":
            kind = value.strip()
        elif name == b"data" and value.strip() == b"[DONE]":
            if event:
                read_event(answer, event, _take, kind)
            if any(text for _, text, _ in answer.chunks):
                answer.fields.setdefault("finish_reason", "unknown")
            answer.chunks.append((line.arrival_s, "", ""))
            return answer
        elif name == b"data" and value.strip():
            event.append(Line(line.arrival_s, value.removeprefix(b" "), line.whole, line.after_blank))
    if event:
        read_event(answer, event, _take, kind)
    if body.strip() and not is_stream:
        answer.fail("malformed", f"not a stream of events: {body.decode(errors='replace')}")
    return answer


def _take(answer: Answer, found: dict, arrival_s: float) -> bool:
    """Take one chunk of a stream, or a whole answer: its message stands where a chunk has its delta."""
    if isinstance(usage := found.get("usage"), dict):
        answer.chunks.append((arrival_s, "", ""))
        answer.fields["prompt_tokens"] = count_of(usage.get("prompt_tokens"))
        answer.fields["output_tokens"] = count_of(usage.get("completion_tokens"))
    for choice in expect(list, found.get("choices")):
        delta = expect(dict, expect(dict, choice).get("delta") or choice.get("message"))
        reasoning = delta.get("reasoning") or delta.get("reasoning_content")
        reasoning = reasoning if isinstance(reasoning, str) else ""
        answer.chunks.append((arrival_s, text_of(delta.get("content")), reasoning))
        if reason := choice.get("finish_reason"):
            answer.fields["finish_reason"] = reason if isinstance(reason, str) else "unknown"
    return False

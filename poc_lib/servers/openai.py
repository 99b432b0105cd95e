"""The OpenAI-compatible chat API: vllm-mlx, mlx-vlm's server, LM Studio, vLLM and others."""

import base64

import orjson

from poc_lib.servers.exchange import (
    Answer,
    ChatSettings,
    Exchange,
    NotTheApi,
    broke_off_in,
    one_line,
    split_lines,
    typed,
)

BUSY = b"text_generation_busy"  # vllm-mlx without batching, while it serves another request


def chat_url(base_url: str) -> str:
    """Where chat requests go."""
    return f"{base_url.rstrip('/')}/chat/completions"


def encode_chat(image: bytes, media_type: str, model: str, settings: ChatSettings) -> bytes:
    """The request body: the prompt and one image as a data URL, streamed, with usage at the end."""
    data_url = f"data:{media_type};base64,{base64.b64encode(image).decode('ascii')}"
    content = [
        {"type": "text", "text": settings.prompt},
        {"type": "image_url", "image_url": {"url": data_url}},
    ]
    return orjson.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


def read_answer(exchange: Exchange) -> Answer:
    """Read the server-sent events of a 200 response.

    The first chunk carries only the role and is sent before inference, so arrivals count from the first
    non-empty content or reasoning. Usage comes in a last chunk without choices.
    """
    answer = Answer()
    for arrival_s, line in split_lines(exchange):
        if not line.startswith(b"data:"):
            if line.startswith((b":", b"event:", b"id:", b"retry:")):
                continue
            return _malformed(answer, exchange, line)
        data = line.removeprefix(b"data:").strip()
        if data == b"[DONE]":
            break
        try:
            event = orjson.loads(data)
            if isinstance(event, dict) and event.get("error"):
                answer.error_class = "busy" if BUSY in data else "server_error"
                answer.error_message = one_line(error_text(event))
                return answer
            _take_event(answer, event, arrival_s)
        except (orjson.JSONDecodeError, NotTheApi):
            return _malformed(answer, exchange, line)
    return answer


def _take_event(answer: Answer, event: dict, arrival_s: float) -> None:
    if usage := typed(event, "usage", dict):
        answer.prompt_tokens = typed(usage, "prompt_tokens", int)
        answer.output_tokens = typed(usage, "completion_tokens", int)
    for choice in typed(event, "choices", list) or []:
        delta = typed(choice, "delta", dict) or {}
        content = typed(delta, "content", str) or ""
        reasoning = typed(delta, "reasoning", str) or typed(delta, "reasoning_content", str) or ""
        answer.text += content
        answer.reasoning_chars += len(reasoning)
        if content or reasoning:
            answer.arrivals_s.append(arrival_s)
        answer.finish_reason = typed(choice, "finish_reason", str) or answer.finish_reason


def _malformed(answer: Answer, exchange: Exchange, line: bytes) -> Answer:
    if broke_off_in(exchange, line, b"data:"):
        return answer
    answer.error_class = "malformed"
    answer.error_message = one_line(f"not a server-sent event: {line[:120].decode('utf-8', 'replace')}")
    return answer


def error_text(payload: object) -> str:
    """The message inside an error body, in the shapes that servers use."""
    if isinstance(payload, dict):
        inner = payload.get("error") or payload.get("detail") or payload
        if isinstance(inner, dict):
            return str(inner.get("message") or inner.get("detail") or inner)
        return str(inner)
    return str(payload)

"""Ollama's native chat API; its OpenAI-compatible route has none of the server-side durations."""

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


def chat_url(base_url: str) -> str:
    """Where chat requests go."""
    return f"{base_url.rstrip('/').removesuffix('/v1')}/api/chat"


def encode_chat(image: bytes, media_type: str, model: str, settings: ChatSettings) -> bytes:
    """The request body: the prompt and one image as bare base64, streamed, the model kept loaded."""
    message = {
        "role": "user",
        "content": settings.prompt,
        "images": [base64.b64encode(image).decode("ascii")],
    }
    return orjson.dumps(
        {
            "model": model,
            "messages": [message],
            "stream": True,
            "keep_alive": "10m",
            "options": {"temperature": settings.temperature, "num_predict": settings.max_tokens},
        }
    )


def read_answer(exchange: Exchange) -> Answer:
    """Read the newline-delimited JSON objects of a 200 response; the last one holds counts and durations."""
    answer = Answer()
    for arrival_s, line in split_lines(exchange):
        try:
            event = orjson.loads(line)
            if isinstance(event, dict) and event.get("error"):
                answer.error_class = "server_error"
                answer.error_message = one_line(event["error"])
                return answer
            _take_event(answer, event, arrival_s)
        except (orjson.JSONDecodeError, NotTheApi):
            if broke_off_in(exchange, line, b"{"):
                return answer
            answer.error_class = "malformed"
            answer.error_message = one_line(f"not a chat object: {line[:120].decode('utf-8', 'replace')}")
            return answer
    return answer


def _take_event(answer: Answer, event: dict, arrival_s: float) -> None:
    message = typed(event, "message", dict) or {}
    content = typed(message, "content", str) or ""
    thinking = typed(message, "thinking", str) or ""
    answer.text += content
    answer.reasoning_chars += len(thinking)
    if content or thinking:
        answer.arrivals_s.append(arrival_s)
    if event.get("done"):
        answer.finish_reason = typed(event, "done_reason", str) or "stop"
        answer.prompt_tokens = typed(event, "prompt_eval_count", int)
        answer.output_tokens = typed(event, "eval_count", int)
        answer.server_load_s = _seconds(typed(event, "load_duration", int))
        answer.server_prefill_s = _seconds(typed(event, "prompt_eval_duration", int))
        answer.server_decode_s = _seconds(typed(event, "eval_duration", int))


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9

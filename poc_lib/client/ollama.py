"""Ollama's native chat API; its OpenAI-compatible route has none of the server-side durations."""

import re

import orjson

from poc_lib.client.answer import Answer, body_of, count_of, expect, read_event, split_lines, text_of
from poc_lib.client.transport import Exchange

DONE = re.compile(rb'"done"\s*:\s*true')  # inside a JSON text the quotation marks were escaped
COUNTS = {"prompt_tokens": "prompt_eval_count", "output_tokens": "eval_count"}
DURATIONS = {"load": "load_duration", "prefill": "prompt_eval_duration", "decode": "eval_duration"}


def chat_url(base_url: str) -> str:
    """Where chat requests go."""
    return f"{base_url.rstrip('/').removesuffix('/v1')}/api/chat"


def encode_chat(model: str, prompt: str, image: str, media_type: str, options: dict) -> bytes:
    """The body: the prompt and one image in bare base64, streamed, the model kept loaded."""
    messages = [{"role": "user", "content": prompt, "images": [image]}]
    options = {"temperature": options["temperature"], "num_predict": options["max_tokens"]}
    body = {"model": model, "messages": messages, "stream": True, "keep_alive": "10m", "options": options}
    return orjson.dumps(body)


def is_last(tail: bytes) -> bool:
    """Whether the end of a body so far holds the end of the last object, the one with ``done: true``."""
    found = DONE.search(tail)
    return found is not None and b"\n" in tail[found.end() :]


def read_answer(exchange: Exchange) -> Answer:
    """Read the newline-delimited JSON objects of a 200 response; the last one holds counts and durations.

    Durations come in nanoseconds and are kept in seconds.
    """
    answer, lines = Answer(), split_lines(exchange)
    if body_of(exchange).startswith((b"{\n", b"{\r")):  # one object, printed over many lines
        read_event(answer, list(lines), _take)
    any(line.data.strip() and read_event(answer, [line], _take) for line in lines)
    return answer


def _take(answer: Answer, found: dict, arrival_s: float) -> bool:
    message, reason = expect(dict, found.get("message")), found.get("done_reason")
    thinking = message.get("thinking")
    thinking = thinking if isinstance(thinking, str) else ""
    answer.chunks.append((arrival_s, text_of(message.get("content")), thinking))
    if found.get("done"):
        answer.fields["finish_reason"] = reason if reason and isinstance(reason, str) else "stop"
        answer.fields |= {name: count_of(found.get(key)) for name, key in COUNTS.items()}
        for name, key in DURATIONS.items():
            nanoseconds = count_of(found.get(key))
            answer.fields[f"server_{name}_s"] = None if nanoseconds is None else nanoseconds / 1e9
    return bool(found.get("done"))

"""The bytes of vllm-mlx 0.6.0: stream chunks, error bodies, answers."""

import json
import time
from dataclasses import dataclass
from typing import Any

import orjson

MAX_TOKENS_LIMIT = 32768
DONE = b"data: [DONE]\n\n"
HEARTBEAT = b": heartbeat\n\n"
GARBAGE = b'data: {"id":"chatcmpl-0","choices":[{"delta":{"content":\n\n'
GENERATION_ERROR = "Internal server error during generation"
SIMPLE_STREAM_ERROR = "Internal server error"  # of simple mode, whatever went wrong
REMOTE_MEDIA_DETAIL = "Remote media URL is not allowed"


@dataclass(frozen=True, slots=True)
class ChunkNames:
    """What every chunk of one answer repeats."""

    response_id: str
    model: str


def sse_chunk(names: ChunkNames, choices: list[dict], usage: dict | None = None) -> bytes:
    """One ``data:`` event of a chat completion stream; nulls are written out, as the server does."""
    chunk = {
        "id": names.response_id,
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": names.model,
        "choices": choices,
        "usage": usage,
        "generation_metadata": None,
    }
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def choice(delta: dict, finish_reason: str | None = None) -> list[dict]:
    """The choices of a chunk with one delta."""
    return [{"index": 0, "delta": delta, "finish_reason": finish_reason}]


def usage_of(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    """The usage object; the server has no field for image or cached tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
    }


def sse_error(message: str) -> bytes:
    """An error inside a 200 stream, with the spaces that only this event has."""
    error = {"message": message, "type": "InternalServerError", "param": None, "code": 500}
    return f"data: {json.dumps({'error': error})}\n\n".encode()


def completion(names: ChunkNames, text: str, finish_reason: str, usage: dict) -> dict:
    """The body of an answer that was not streamed; its text is stripped, a stream's is not."""
    message = {"role": "assistant", "content": text.strip() or None}
    return {
        "id": names.response_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": names.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": usage,
        "generation_metadata": None,
    }


def unknown_model_detail(asked: str, served: str) -> str:
    """The text of the 404 for a model that is not served."""
    return f"The model `{asked}` does not exist. Available model: `{served}`"


def busy_detail(number: int, active_number: int, elapsed_s: float) -> dict[str, str]:
    """The detail of the 503 with which simple mode refuses a second request."""
    holder = f"{simple_id(active_number)}:running:blocking_serialized:prompt=0:completion=0"
    where = f"request_id={simple_id(number)}; active={holder}:elapsed_s={elapsed_s:.1f}; waiters=0"
    message = f"SimpleEngine serialized route is busy; {where}; retry later"
    return {"error": "text_generation_busy", "message": message}


def simple_id(number: int) -> str:
    """A request's name inside the engine of simple mode."""
    return f"simple-{number:012x}"


def field_problem(kind: str, where: list[Any], message: str, value: Any, context: dict | None = None) -> dict:
    """One entry of a 422 body."""
    problem = {"type": kind, "loc": ["body", *where], "msg": message, "input": value}
    return problem | ({"ctx": context} if context else {})

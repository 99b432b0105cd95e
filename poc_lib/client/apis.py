"""Reading the answers of both chat APIs: the OpenAI-compatible one, and Ollama's native one.

Ollama's OpenAI-compatible route has none of its server-side durations. Reading takes time in proportion to
the bytes. What a server sends beside its text is optional: an odd value never costs the answer.
"""

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from typing import NamedTuple

import orjson

from poc_lib.client.transport import Exchange
from poc_lib.records import Api

BUSY = b"text_generation_busy"  # vllm-mlx without batching, while it serves another request
LAST_LINE = {  # no text looks like it: inside a JSON string are neither line ends nor bare quotation marks
    "openai": re.compile(rb"(?:\A|[\r\n])data:[ \t]*\[DONE\][ \t]*(?=[\r\n]|\Z)"),
    "ollama": re.compile(rb'"done"\s*:\s*true[^\n]*\n'),
}
LINE = re.compile(rb"[^\r\n]+")
BLOCK = re.compile(rb"(?:[^\r\n]++(?:\r\n?|\n|\Z))++")  # lines with no empty one between them
FIELD = re.compile(rb"[\r\n]*+(?:data|event|id|retry)?:")
COUNTS = {"prompt_tokens": "prompt_eval_count", "output_tokens": "eval_count"}
DURATIONS = {"load": "load_duration", "prefill": "prompt_eval_duration", "decode": "eval_duration"}


class Line(NamedTuple):
    """One line of a body."""

    arrival_s: float  # of its last byte, from sending
    data: bytes
    is_cut: bool  # the body ends in it


@dataclass(slots=True)
class Answer:
    """What was found in the bytes of one exchange; texts are neither masked nor cut yet."""

    chunks: list[tuple[float, str, str]] = field(default_factory=list)  # arrival, text, reasoning; may be ""
    fields: dict[str, object] = field(default_factory=dict)  # of Reply: counts, finish_reason, error_class …

    def add(self, arrival_s: float, content: object = None, reasoning: object = None) -> None:
        """Keep a chunk: its content is a text, a list of parts (those without text say nothing), or null."""
        if isinstance(content, list):
            texts = [part.get("text") if isinstance(part, dict) else part for part in content]
            content = "".join(text for text in texts if isinstance(text, str))
        self.chunks.append((arrival_s, expect(str, content), reasoning if isinstance(reasoning, str) else ""))

    def fail(self, error_class: str, message: str) -> bool:
        """Name the failure and keep what was read before. True: nothing is to be read after it."""
        self.fields |= {"error_class": error_class, "error_message": message}
        return True


def read_answer(api: Api, exchange: Exchange) -> Answer:
    """Read a 200 response: server-sent events, lines of JSON, or one JSON object, unasked.

    Events as the HTML standard has them (section 9.2.6): unknown fields and comments are passed over, the
    data lines of an event are joined.
    """
    answer, body, is_lost = Answer(), exchange.body, exchange.error_class is not None
    ends = list(accumulate(len(data) for _, data in exchange.chunks))
    n_marks = 3 if body.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark
    body = body[n_marks:]
    last = len(body.rstrip(b"\r\n")) if is_lost else len(body)

    def lines(*span: int) -> Iterator[Line]:
        for found in LINE.finditer(body, *span):
            arrival_ns = exchange.chunks[bisect_left(ends, found.end() + n_marks)][0]
            yield Line((arrival_ns - exchange.start_ns) / 1e9, found[0], found.end() >= last)

    read = {"openai": read_openai, "ollama": read_ollama}[api]
    take = partial(_read_event, answer, read, is_lost)
    if api == "ollama":
        is_printed = body.startswith((b"{\n", b"{\r"))  # one object over many lines
        any(map(take, [list(lines())] if is_printed else ([line] for line in lines() if line.data.strip())))
    elif FIELD.match(body) or b"\ndata:" in body or b"\rdata:" in body or b"data:".startswith(body.strip()):
        for block in BLOCK.finditer(body):
            event, kind = [], b""
            for line in lines(*block.span()):
                name, _, value = line.data.partition(b":")
                if name == b"data" and value.strip():
                    event.append(Line(line.arrival_s, value, line.is_cut))
                elif name == b"event":
                    kind = value.strip()
            if event and take(event, kind):
                break
    else:
        whole = Line((exchange.chunks[-1][0] - exchange.start_ns) / 1e9, body, is_lost)
        if not (take([whole]) or (answer.chunks and take([whole._replace(data=b"[DONE]")])) or is_lost):
            answer.fail("malformed", f"no chat answer: {body.decode(errors='replace')}")
    return answer


def _read_event(answer: Answer, read: Callable, is_lost: bool, event: list[Line], kind: bytes = b"") -> bool:
    """Take the JSON object, or the error, in an event's lines; True: nothing is to be read after it."""
    last, data = event[-1], b"\n".join([line.data for line in event])
    if data.strip() == b"[DONE]":
        if answer.chunks:
            answer.fields.setdefault("finish_reason", "unknown")
        answer.add(last.arrival_s)
        return True
    try:
        found = load_json(data)
        is_error = isinstance(found, dict) and (found.get("error") or found.get("object") == "error")
        if not is_error and kind != b"error":
            return read(answer, expect(dict, found), last.arrival_s)
    except ValueError as problem:
        if kind != b"error":  # whose message need not be JSON
            if len(event) > 1:  # events that no blank line separates
                return any(_read_event(answer, read, is_lost, [line], kind) for line in event)
            if kind not in (b"", b"message"):  # somebody else's, such as a ping
                return False
            is_cut = last.is_cut and (is_lost or data.lstrip().startswith((b"{", b"[")))
            return is_cut or answer.fail("malformed", f"not an answer of this API: {problem}")
    return answer.fail("busy" if BUSY in data else "server_error", error_text(data))


def read_openai(answer: Answer, found: dict, arrival_s: float) -> bool:
    """Read one chunk of a stream, or a whole answer: its message stands where a chunk has its delta.

    The first chunk has only the role and is sent before inference; usage comes in one without choices.
    """
    if isinstance(usage := found.get("usage"), dict):
        answer.add(arrival_s)
        answer.fields["prompt_tokens"] = count_of(usage.get("prompt_tokens"))
        answer.fields["output_tokens"] = count_of(usage.get("completion_tokens"))
    for choice in expect(list, found.get("choices")):
        delta = expect(dict, expect(dict, choice).get("delta") or choice.get("message"))
        answer.add(arrival_s, delta.get("content"), delta.get("reasoning") or delta.get("reasoning_content"))
        if reason := choice.get("finish_reason"):
            answer.fields["finish_reason"] = reason if isinstance(reason, str) else "unknown"
    return False


def read_ollama(answer: Answer, found: dict, arrival_s: float) -> bool:
    """Read one line; the last has counts, and durations in nanoseconds, which are kept in seconds."""
    message, reason = expect(dict, found.get("message")), found.get("done_reason")
    answer.add(arrival_s, message.get("content"), message.get("thinking"))
    if found.get("done"):
        answer.fields["finish_reason"] = reason if reason and isinstance(reason, str) else "stop"
        answer.fields |= {name: count_of(found.get(key)) for name, key in COUNTS.items()}
        for name, key in DURATIONS.items():
            nanoseconds = count_of(found.get(key))
            answer.fields[f"server_{name}_s"] = None if nanoseconds is None else nanoseconds / 1e9
    return bool(found.get("done"))


def load_json(data: bytes) -> object:
    """A JSON value; lone surrogates, NaN and bytes that are not UTF-8 pass, endless nesting does not."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {text}") from error


def expect(kind: type, value: object) -> object:
    """The value where it is of the kind; an empty one where it is null or missing; else ValueError."""
    if value is None or isinstance(value, kind):
        return kind() if value is None else value
    raise ValueError(f"{kind.__name__} expected, found {type(value).__name__}")


def count_of(value: object) -> int | None:
    """A count that may be written as a float or a text; None: unknown, negative or absurd."""
    try:
        number = -1 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return round(number) if 0 <= number < 2**53 else None


def error_text(data: bytes) -> str:
    """The message inside an error body, in the shapes that servers use; the whole where there is none."""
    message = None
    with suppress(ValueError):
        message = load_json(data)
    for key in ("error", "detail", "message", "detail"):
        message = (message.get(key) or message) if isinstance(message, dict) else message
    return message if isinstance(message, str) else data.decode("utf-8", "replace")

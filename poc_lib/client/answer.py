"""What both APIs' readers share: the answer, a body's lines with their arrival, lenient JSON, counts.

Reading takes time in proportion to the bytes. What a server sends beside its text is optional: an odd value
is unknown and never costs the answer. A reader that meets another shape than the API's raises ValueError.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import orjson

from poc_lib.client.transport import Exchange

LINE = re.compile(rb"[^\r\n]+")
BUSY = b"text_generation_busy"  # vllm-mlx without batching, while it serves another request


class Line(NamedTuple):
    """One line of a body that is not empty."""

    arrival_s: float  # of its last byte, from sending
    data: bytes  # without its end
    whole: bool  # False: the body ended inside it
    after_blank: bool  # an empty line stood before it


@dataclass(slots=True)
class Answer:
    """What a reader found in the bytes of one exchange; texts are neither masked nor cut yet."""

    chunks: list[tuple[float, str, str]] = field(default_factory=list)  # arrival, text, reasoning; may be ""
    fields: dict[str, object] = field(
        default_factory=dict
    )  # of Reply: counts, finish_reason, error_class, ...

    def fail(self, error_class: str, message: str) -> bool:
        """Name the failure and keep what was read before. True: nothing is to be read after it."""
        self.fields |= {"error_class": error_class, "error_message": message}
        return True


def body_of(exchange: Exchange) -> bytes:
    """The whole body."""
    return b"".join(data for _, data in exchange.chunks).removeprefix(b"\xef\xbb\xbf")  # a byte order mark


def split_lines(exchange: Exchange) -> Iterator[Line]:
    """The body's lines, ended by CR, LF or both, each with the arrival of its last byte."""
    body, piece, before = body_of(exchange), 0, 0
    ends = list(accumulate(len(data) for _, data in exchange.chunks))
    skipped = ends[-1] - len(body) if ends else 0
    last = len(body.rstrip(b"\r\n")) if exchange.error_class else len(body)  # where a whole line ends before
    for found in LINE.finditer(body):
        while ends[piece] < found.end() + skipped:
            piece += 1
        arrival_s = (exchange.chunks[piece][0] - exchange.start_ns) / 1e9
        gap = body[before : min(found.start(), before + 3)]
        before = found.end()
        yield Line(arrival_s, found[0], found.end() < last, gap not in (b"", b"\n", b"\r", b"\r\n"))


def read_event(
    answer: Answer, lines: Sequence[Line], take: Callable[[Answer, dict, float], bool], kind: bytes = b""
) -> bool:
    """Take the JSON object, or the error, in an event's data lines; True: nothing is to be read after it.

    ``kind`` is the type of a server-sent event; the message of an "error" need not be JSON.
    """
    last, data = lines[-1], b"\n".join([line.data for line in lines])
    try:
        found = load_json(data)
        is_error = isinstance(found, dict) and (found.get("error") or found.get("object") == "error")
        if not is_error and kind != b"error":
            return take(answer, expect(dict, found), last.arrival_s)
    except ValueError as problem:
        if kind == b"error":
            found = None
        elif len(lines) > 1:  # events that no blank line separates
            return any(read_event(answer, [line], take, kind) for line in lines)
        elif kind not in (b"", b"message"):  # somebody else's event, such as a ping
            return False
        elif last.whole or not data.lstrip().startswith((b"{", b"[")):
            return answer.fail("malformed", f"not an answer of this API: {problem}")
        else:
            return True
    return answer.fail("busy" if BUSY in data else "server_error", error_text(found, data))


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
    """The value where it is of the kind; an empty one where it is null or missing."""
    if value is None or isinstance(value, kind):
        return kind() if value is None else value
    raise ValueError(f"{kind.__name__} expected, found {type(value).__name__}")


def text_of(value: object) -> str:
    """The text in a content field: a string, a list of parts (those without text say nothing), or null."""
    if isinstance(value, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "".join(text for text in texts if isinstance(text, str))
    return expect(str, value)


def count_of(value: object) -> int | None:
    """A count that may be written as a float or a text; None: unknown, negative or absurd."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else -1
    except (ValueError, OverflowError):
        return None
    return round(number) if 0 <= number < 2**53 else None


def error_text(payload: object, raw: bytes) -> str:
    """The message inside an error body, in the shapes that servers use; the raw bytes where there is none."""
    for key in ("error", "detail", "message", "detail"):
        payload = (payload.get(key) or payload) if isinstance(payload, dict) else payload
    return payload if isinstance(payload, str) else raw.decode("utf-8", "replace")

"""Reading a chat completion request as vllm-mlx does: what is refused, with which status and words."""

import base64
import binascii
import ipaddress
import json
from typing import Any
from urllib.parse import urlparse

import orjson
from aiohttp import web

from poc_lib.simulator.exchanges import Prompt
from poc_lib.simulator.openai_shapes import (
    MAX_TOKENS_LIMIT,
    REMOTE_MEDIA_DETAIL,
    field_problem,
    unknown_model_detail,
)
from poc_lib.simulator.serving import image_size_px

DEFAULT_TEMPERATURE = 0.7


class BadImage(Exception):
    """Raised when an image part cannot be decoded; the server notices only when the answer has begun."""


def parse_body(raw: bytes, served_model: str) -> dict[str, Any]:
    """The request's JSON, checked for shape and model.

    Raises:
        web.HTTPException: 422, 404 or 400 with the server's body.
    """
    body = _read_json(raw)
    problems = _shape_problems(body)
    if problems:
        raise http_error(web.HTTPUnprocessableEntity, problems)
    if body["model"] != served_model:
        raise http_error(web.HTTPNotFound, unknown_model_detail(body["model"], served_model))
    if (body.get("max_tokens") or 0) > MAX_TOKENS_LIMIT:
        raise http_error(web.HTTPBadRequest, f"max_tokens exceeds server limit ({MAX_TOKENS_LIMIT})")
    if any(_is_refused_url(url) for url in image_urls(body)):
        raise http_error(web.HTTPBadRequest, REMOTE_MEDIA_DETAIL)
    return body


def read_prompt(body: dict[str, Any]) -> Prompt:
    """The prompt of a checked body.

    Raises:
        BadImage: an image part that is not an image.
    """
    images = tuple(_decode_data_url(url) for url in image_urls(body))
    sizes = tuple(image_size_px(image) for image in images)
    if None in sizes:
        raise BadImage("cannot identify image file")
    temperature = body.get("temperature")
    return Prompt(
        text="\n".join(_texts(body)),
        images=images,
        sizes_px=sizes,
        temperature=DEFAULT_TEMPERATURE if temperature is None else temperature,
        max_tokens=body.get("max_tokens") or MAX_TOKENS_LIMIT,
    )


def image_urls(body: dict[str, Any]) -> list[str]:
    """The URL of every image part, in order."""
    urls = [part.get("image_url") for part in _parts(body) if part.get("type") == "image_url"]
    return [url.get("url", "") if isinstance(url, dict) else str(url) for url in urls]


def http_error(
    kind: type[web.HTTPError], detail: Any, headers: dict[str, str] | None = None
) -> web.HTTPError:
    """An HTTP error with FastAPI's body, ``{"detail": …}``."""
    body = orjson.dumps({"detail": detail})
    return kind(body=body, content_type="application/json", headers=headers)


def _read_json(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(raw)  # the real server's parser, whose words and position a 422 repeats
    except json.JSONDecodeError as error:
        problem = field_problem("json_invalid", [error.pos], "JSON decode error", {}, {"error": error.msg})
    except UnicodeDecodeError:
        raise http_error(web.HTTPBadRequest, "There was an error parsing the body") from None
    raise http_error(web.HTTPUnprocessableEntity, [problem])


def _shape_problems(body: Any) -> list[dict]:
    if not isinstance(body, dict):
        message = "Input should be a valid dictionary or object to extract fields from"
        return [field_problem("model_attributes_type", [], message, body)]
    problems = [
        field_problem("missing", [name], "Field required", body)
        for name in ("model", "messages")
        if name not in body
    ]
    if not isinstance(body.get("model", ""), str):
        problems.append(
            field_problem("string_type", ["model"], "Input should be a valid string", body["model"])
        )
    if not isinstance(body.get("messages", []), list):
        problems.append(
            field_problem("list_type", ["messages"], "Input should be a valid list", body["messages"])
        )
    max_tokens = body.get("max_tokens")
    if isinstance(max_tokens, int) and max_tokens <= 0:
        message = "Input should be greater than 0"
        problems.append(field_problem("greater_than", ["max_tokens"], message, max_tokens, {"gt": 0}))
    return problems


def _parts(body: dict[str, Any]) -> list[dict]:
    contents = [message.get("content") for message in body["messages"] if isinstance(message, dict)]
    return [
        part
        for content in contents
        if isinstance(content, list)
        for part in content
        if isinstance(part, dict)
    ]


def _texts(body: dict[str, Any]) -> list[str]:
    plain = [
        m["content"] for m in body["messages"] if isinstance(m, dict) and isinstance(m.get("content"), str)
    ]
    return plain + [part["text"] for part in _parts(body) if isinstance(part.get("text"), str)]


def _decode_data_url(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(",")[2])
    except binascii.Error as error:
        raise BadImage(str(error)) from None


def _is_refused_url(url: str) -> bool:
    parsed = urlparse(url) if url.startswith(("http://", "https://")) else None
    if parsed is None:
        return False
    try:
        return not ipaddress.ip_address(parsed.hostname or "").is_global
    except ValueError:
        # A simulated server fetches nothing, so a public name is refused like a private one.
        return True

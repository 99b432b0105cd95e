"""What a simulated Ollama tells about itself: version, models, the loaded model, a model's capabilities."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

from poc_lib.simulator.serving import Server

VERSION = "0.0.0-simulated"
SIZE_BYTES = 3_300_000_000
DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "qwen3vl",
    "families": ["qwen3vl"],
    "parameter_size": "4.4B",
    "quantization_level": "Q4_K_M",
}


def add_ollama_status_routes(app: web.Application, server: Server) -> None:
    """Add the routes that send nothing to the model."""

    async def root(request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running")

    async def version(request: web.Request) -> web.Response:
        return json_response({"version": VERSION})

    async def tags(request: web.Request) -> web.Response:
        modified = datetime.fromtimestamp(server.started_at, UTC).isoformat()
        return json_response({"models": [_model_card(server) | {"modified_at": modified}]})

    async def loaded(request: web.Request) -> web.Response:
        return json_response({"models": [_loaded_card(server)] if server.engine.loaded else []})

    async def show(request: web.Request) -> web.Response:
        return _show(server, await request.read())

    app.router.add_get("/", root)
    app.router.add_get("/api/version", version)
    app.router.add_get("/api/tags", tags)
    app.router.add_get("/api/ps", loaded)
    app.router.add_post("/api/show", show)


def json_response(body: Any) -> web.Response:
    """A response with Ollama's content type for JSON."""
    return web.Response(body=orjson.dumps(body), headers={"Content-Type": "application/json; charset=utf-8"})


def ollama_error(kind: type[web.HTTPError], message: str) -> web.HTTPError:
    """An HTTP error with Ollama's body, ``{"error": …}``."""
    return kind(
        body=orjson.dumps({"error": message}), headers={"Content-Type": "application/json; charset=utf-8"}
    )


def _model_card(server: Server) -> dict:
    name = server.model if ":" in server.model else f"{server.model}:latest"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"name": name, "model": name, "size": SIZE_BYTES, "digest": digest, "details": DETAILS}


def _loaded_card(server: Server) -> dict:
    expires = datetime.now(UTC) + timedelta(minutes=10)
    return _model_card(server) | {
        "expires_at": expires.isoformat(),
        "size_vram": SIZE_BYTES,
        "context_length": 4096,
    }


def _show(server: Server, raw: bytes) -> web.Response:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ollama_error(web.HTTPBadRequest, str(error)) from None
    asked = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
    if not asked:
        raise ollama_error(web.HTTPBadRequest, "model is required")
    if asked not in (server.model, f"{server.model}:latest"):
        raise ollama_error(web.HTTPNotFound, f"model '{asked}' not found")
    return json_response(
        {
            "modelfile": f"FROM {server.model}",
            "parameters": "temperature                    0.3",
            "template": "{{ .Prompt }}",
            "details": DETAILS,
            "model_info": {"general.architecture": "qwen3vl", "general.parameter_count": 4_400_000_000},
            "capabilities": ["completion", "vision"],
            "modified_at": datetime.fromtimestamp(server.started_at, UTC).isoformat(),
        }
    )

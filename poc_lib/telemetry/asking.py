"""Ask a server for its own figures; a server that has none, or does not answer, is a sample that says so."""

import ssl
from dataclasses import dataclass, field
from functools import cache

import httpx

from poc_lib.records import ServerSpec
from poc_lib.telemetry.parsing import parse_metrics, parse_ollama_ps, parse_vllm_status
from poc_lib.telemetry.spec import Target

SNAPSHOT_TIMEOUT_S = 10.0
NO_SUCH_ROUTE = (401, 403, 404, 405)  # asked once: the answer will not change


@dataclass(slots=True)
class Asked:
    """A server's routes that are worth asking; those that it does not have are dropped."""

    target: Target
    routes: list[str] = field(default_factory=list)


@cache
def _ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()  # 25 ms each: shared by all clients


def plan_asking(target: Target) -> Asked:
    """The routes to try: Ollama's /api/ps; otherwise vllm-mlx's /v1/status and both MLX servers' /metrics."""
    root = target.url.rstrip("/").removesuffix("/v1")
    paths = ("/api/ps",) if target.api == "ollama" else ("/v1/status", "/metrics")
    return Asked(target, [root + path for path in paths])


def open_asking_client(api_key: str | None, timeout_s: float) -> httpx.AsyncClient:
    """A client with one connection of its own, so that no question waits for a request or the reverse."""
    return httpx.AsyncClient(
        verify=_ssl_context(),
        trust_env=False,
        timeout=timeout_s,
        headers={"authorization": f"Bearer {api_key}"} if api_key else {},
        limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
    )


async def ask_server(client: httpx.AsyncClient, asked: Asked) -> dict:
    """The server's figures now (see parsing); a field ``error`` says why some or all of them are missing."""
    found: dict = {}
    for route in list(asked.routes):
        try:
            answer = await client.get(route)
        except httpx.RequestError as error:
            return found | {"error": type(error).__name__}
        if answer.status_code == 200:
            found |= _figures(asked.target, route, answer.content)
        else:
            found["error"] = f"HTTP {answer.status_code} at {httpx.URL(route).path}"
            if answer.status_code in NO_SUCH_ROUTE:
                asked.routes.remove(route)
    return found


async def snapshot_counters(spec: ServerSpec, api_key: str | None = None) -> dict:
    """The server's figures while it is idle: the difference of two is exact. {} where it tells nothing."""
    asked = plan_asking(Target(spec.name, spec.api, spec.url, spec.model))
    async with open_asking_client(api_key, SNAPSHOT_TIMEOUT_S) as client:
        figures = await ask_server(client, asked)
    figures.pop("error", None)
    return figures


def _figures(target: Target, route: str, body: bytes) -> dict:
    if route.endswith("/api/ps"):
        return parse_ollama_ps(body, target.model)
    return parse_vllm_status(body) if route.endswith("/v1/status") else parse_metrics(body)

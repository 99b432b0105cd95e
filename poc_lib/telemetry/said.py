"""What servers and tools say about themselves, as fields of a sample; odd values are left out.

num_running, num_waiting           requests in the engine's batch, and queued before it
requests_total                     requests finished since the server started
output_tokens_total                tokens since the server started, those of failed and given-up requests
                                   included; vllm-mlx counts the latter late, into the next cell
mlx_active_gb, mlx_peak_gb         what MLX's allocator holds now, and its peak since the server started
size_vram_gb, context_length       of the model that Ollama has loaded
"""

import httpx
import orjson
from prometheus_client.parser import text_string_to_metric_families

from poc_lib.records import Server
from poc_lib.text import split_credentials

NO_SUCH_ROUTE = (401, 403, 404, 405)
FAMILIES = ("vllm_mlx_inference_requests", "vllm_mlx_completion_tokens")


def routes_of(server: Server) -> list[str]:
    """The routes worth asking: Ollama's /api/ps, or vllm-mlx's /v1/status and any MLX server's /metrics."""
    root = split_credentials(server.url)[0].rstrip("/").removesuffix("/v1")
    return [root + path for path in (("/api/ps",) if server.api == "ollama" else ("/v1/status", "/metrics"))]


def ask_server(client: httpx.Client, server: Server, routes: list[str]) -> dict:
    """The server's figures now; ``error`` says why some are missing. Routes that it lacks leave the list."""
    found: dict = {}
    for route in list(routes):
        try:
            answer = client.get(route)
        except httpx.RequestError as error:
            return found | {"error": type(error).__name__}
        if answer.status_code == 200:
            found |= read_figures(server, route, answer.content)
        else:
            found["error"] = f"HTTP {answer.status_code} at {httpx.URL(route).path}"
            if answer.status_code in NO_SUCH_ROUTE:
                routes.remove(route)
    return found


def read_figures(server: Server, route: str, body: bytes) -> dict[str, float]:
    """The figures in a route's answer; what is missing or odd is left out."""
    return {name: value for name, value in _figures(server, route, body).items() if value is not None}


def _figures(server: Server, route: str, body: bytes) -> dict[str, float | None]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    said = said if isinstance(said, dict) else {}
    if route.endswith("/api/ps"):
        models = said.get("models") if isinstance(said.get("models"), list) else []
        names = (server.model, f"{server.model}:latest")
        loaded = next((m for m in models if isinstance(m, dict) and m.get("name") in names), {})
        size = number(loaded, "size_vram")
        return {"size_vram_gb": size and size / 1e9, "context_length": number(loaded, "context_length")}
    if route.endswith("/v1/status"):
        metal = said.get("metal") if isinstance(said.get("metal"), dict) else {}
        return {
            "num_running": number(said, "num_running"),
            "num_waiting": number(said, "num_waiting"),
            "requests_total": number(said, "total_requests_processed"),
            "output_tokens_total": number(said, "total_completion_tokens"),
            "mlx_active_gb": number(metal, "active_memory_gb"),
            "mlx_peak_gb": number(metal, "peak_memory_gb"),
        }
    if said:  # mlx_vlm.server answers JSON at /metrics
        summary = said.get("summary") if isinstance(said.get("summary"), dict) else {}
        return {
            "num_running": number(summary, "in_flight"),
            "requests_total": number(summary, "requests_completed"),
            "output_tokens_total": number(summary, "completion_tokens_total"),
        }
    return _prometheus(body.decode(errors="replace"))


def _prometheus(text: str) -> dict:
    wanted = [line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(FAMILIES)]
    totals: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families("\n".join(wanted) + "\n"):
            for sample in family.samples:
                totals[sample.name] = totals.get(sample.name, 0) + sample.value
    except ValueError:  # not Prometheus' text
        return {}
    return {"answered_output_tokens_total": totals.get("vllm_mlx_completion_tokens_total")}


def number(said: dict, key: str) -> float | None:
    """A JSON number; None for anything else."""
    value = said.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None

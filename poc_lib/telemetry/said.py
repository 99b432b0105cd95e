"""What servers and this machine say of themselves, as fields of a sample; what is odd or missing is left out.

num_running, num_waiting                   requests in the engine's batch, and queued before it
requests_total                             requests finished since the server started
output_tokens_total                        tokens since the server started, those of failed and given-up
                                           requests included; vllm-mlx counts those late, into the next cell
context_length                             of the model that Ollama has loaded
memory_available_gb, swap_used_gb          of this machine
on_battery                                 whether it runs on battery
thermal                                    on macOS, the share of full speed that the system allows, in %
"""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import httpx
import orjson
import psutil

from poc_lib.client.transport import fetch
from poc_lib.records import Server
from poc_lib.text import split_credentials

NO_SUCH_ROUTE = (401, 403, 404, 405)
MAX_BYTES = 4_000_000
THERMAL_EVERY_S = 10.0  # it costs a process each time


def routes_of(server: Server) -> list[str]:
    """The routes worth asking: Ollama's /api/ps; vllm-mlx's /v1/status, else mlx_vlm.server's /metrics."""
    root = split_credentials(server.url)[0].rstrip("/").removesuffix("/v1")
    return [root + path for path in (("/api/ps",) if server.api == "ollama" else ("/v1/status", "/metrics"))]


async def ask_server(
    client: httpx.AsyncClient, server: Server, routes: list[str], deadline_s: float
) -> dict[str, float]:
    """The figures of the first route that tells any, within a total deadline; {}: none does.

    A route that the server lacks leaves the list.
    """
    until_s = time.monotonic() + deadline_s
    for route in list(routes):
        left_s = max(0.1, until_s - time.monotonic())
        limits = {"deadline_s": left_s, "max_bytes": MAX_BYTES}
        exchange = await fetch(client, client.build_request("GET", route, timeout=left_s, extensions=limits))
        if exchange.error_class is not None:
            break
        if exchange.status in NO_SUCH_ROUTE:
            routes.remove(route)
        if exchange.status == 200 and (figures := read_figures(server, route, exchange.body)):
            return figures
    return {}


def read_figures(server: Server, route: str, body: bytes) -> dict[str, float]:
    """The figures in a route's answer; what is no JSON number is left out."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:  # Prometheus' text, where vllm-mlx has that
        return {}
    names = {
        "num_running": "num_running",
        "num_waiting": "num_waiting",
        "requests_total": "total_requests_processed",
        "output_tokens_total": "total_completion_tokens",
    }
    if route.endswith("/api/ps"):
        models = said.get("models") if isinstance(said, dict) else None
        models, tags = models if isinstance(models, list) else [], (server.model, f"{server.model}:latest")
        loaded = [model for model in models if isinstance(model, dict) and model.get("name") in tags]
        said, names = loaded[0] if loaded else {}, {"context_length": "context_length"}
    elif route.endswith("/metrics"):
        said = said.get("summary") if isinstance(said, dict) else None
        names = {"num_running": "in_flight", "requests_total": "requests_completed"}
        names |= {"output_tokens_total": "completion_tokens_total"}
    found = {name: said.get(key) for name, key in names.items()} if isinstance(said, dict) else {}
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def machine_reader() -> Callable[[], dict]:
    """A function that gives the machine's figures now, without root."""
    thermal, asked_s = {}, float("-inf")

    def read() -> dict:
        nonlocal thermal, asked_s
        if sys.platform == "darwin" and time.monotonic() - asked_s > THERMAL_EVERY_S:
            thermal, asked_s = {}, time.monotonic()
            with suppress(OSError, subprocess.TimeoutExpired):
                said = subprocess.run(["pmset", "-g", "therm"], capture_output=True, text=True, timeout=2)
                thermal = parse_therm(said.stdout) if said.returncode == 0 else {}
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        plugged = None if battery is None else battery.power_plugged
        figures = {
            "memory_available_gb": psutil.virtual_memory().available / 1e9,
            "swap_used_gb": psutil.swap_memory().used / 1e9,
        }
        return figures | thermal | ({} if plugged is None else {"on_battery": not plugged})

    return read


def parse_therm(text: str) -> dict:
    """``pmset -g therm``: the share of full speed allowed; a system that notes no limit allows 100 %."""
    limits = [line.partition("=")[2].strip() for line in text.splitlines() if "CPU_Speed_Limit" in line]
    return {"thermal": float(limits[0]) if limits and limits[0].isdigit() else 100.0}

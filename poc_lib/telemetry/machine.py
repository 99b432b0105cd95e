"""This machine's load and memory, and the memory of a server's processes. Best effort, no root needed."""

import ipaddress
import time
from dataclasses import dataclass, field

import httpx
import psutil

LOOK_AGAIN_S = 10.0  # Ollama starts its runner, which holds the model, with the first request
SEARCH_AGAIN_S = 60.0  # a search looks at every process: tens of milliseconds


@dataclass(slots=True)
class ServerProcesses:
    """The processes of one local server: the one that listens, and its children."""

    port: int
    processes: list[psutil.Process] = field(default_factory=list)
    looked_at_s: float = float("-inf")  # time.monotonic


def read_machine() -> dict:
    """CPU % of all cores since the last call, memory in GB, CPU seconds that this process has used."""
    memory = psutil.virtual_memory()
    return {
        "cpu_pct": psutil.cpu_percent(),
        "memory_used_gb": memory.used / 1e9,
        "memory_available_gb": memory.available / 1e9,
        "sampler_cpu_s": round(time.process_time(), 4),
    }


def local_port(url: str) -> int | None:
    """The port of a server on this machine; None for any other."""
    parsed = httpx.URL(url)
    if parsed.host != "localhost":
        try:
            if not ipaddress.ip_address(parsed.host).is_loopback:
                return None
        except ValueError:  # a name, not an address
            return None
    return parsed.port or (443 if parsed.scheme == "https" else 80)


def read_rss_gb(server: ServerProcesses) -> float | None:
    """Resident memory of the server and its children in GB; None when it is not found or not permitted.

    On Apple silicon, memory that only the GPU uses is not in it: MLX's own figures are better there.
    """
    if time.monotonic() - server.looked_at_s > (LOOK_AGAIN_S if server.processes else SEARCH_AGAIN_S):
        server.processes = _find_processes(server)
        server.looked_at_s = time.monotonic()
    sizes = [size for process in server.processes if (size := _rss_gb(process)) is not None]
    return sum(sizes) if sizes else None


def _find_processes(server: ServerProcesses) -> list[psutil.Process]:
    known = server.processes[0] if server.processes and server.processes[0].is_running() else None
    listener = known or _find_listener(server.port)
    if listener is None:
        return []
    try:
        return [listener, *listener.children(recursive=True)]
    except psutil.Error:
        return [listener]


def _find_listener(port: int) -> psutil.Process | None:
    # One process after the other: psutil.net_connections() needs root on macOS.
    for process in psutil.process_iter():
        try:
            sockets = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        if any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets):
            return process
    return None


def _rss_gb(process: psutil.Process) -> float | None:
    try:
        return process.memory_info().rss / 1e9
    except psutil.Error:
        return None

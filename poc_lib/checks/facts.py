"""Everything that is asked of one server, before any of it is judged."""

import asyncio
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from poc_lib.checks.probe import Probe, draw_picture, probe_images
from poc_lib.checks.process import ServerProcess, find_server_process
from poc_lib.checks.sending import send_one_by_one
from poc_lib.records import Frame, Reply, ServerIdentity, ServerSpec
from poc_lib.servers import ChatSettings, check_server, prepare_request
from poc_lib.telemetry import snapshot_counters
from poc_lib.telemetry.machine import ServerProcesses, local_port, read_rss_gb

SERVER_LIMIT = re.compile(r"max_tokens exceeds server limit \((\d+)\)")
PATIENCE_S = 10.0  # for one question; vllm-mlx says nothing while it prefills images
TRIES = 3  # of a server that takes the connection but does not answer
LIMIT_S = 60.0  # for one server's questions together
GB = 2**30  # as everywhere on the checklist; vllm-mlx and `ollama ps` say 7 % more, theirs are 10**9


@dataclass(slots=True)
class ServerFacts:
    """One server: what it says, what its process shows, and how it answers. What is not known stays empty."""

    spec: ServerSpec
    identity: ServerIdentity
    process: ServerProcess | None = None
    metrics: int | str | None = None  # HTTP status of GET /metrics, or the name of the failure
    n_foreign: float = 0  # requests of somebody else's before ours
    reply: Reply | None = None  # to one frame; None: none was sent, or CHECK_LIMIT_S was over
    sent: bool = False
    probe: Probe | None = None
    loaded: list[dict] | None = None  # Ollama: its models in memory
    held_gb: float | None = None  # memory that server and model hold
    held_by: str = ""  # whose figure that is

    @property
    def is_local(self) -> bool:
        return local_port(self.spec.url) is not None


@dataclass(frozen=True, slots=True)
class Asking:
    """What is the same for every server; without settings nothing is sent."""

    settings: ChatSettings | None
    frame: Frame | None  # for the timed request; None: a drawn picture
    api_key: str | None = field(default=None, repr=False)


async def ask_facts(spec: ServerSpec, asking: Asking) -> ServerFacts:
    """Ask one server for everything but its memory, and send it one request and the picture probe."""
    facts = ServerFacts(spec, await _ask_identity(spec, asking.api_key))
    if not facts.identity.reachable:
        return facts
    facts.process = await asyncio.to_thread(find_server_process, spec.url)
    if facts.identity.software in ("vllm-mlx", "mlx-vlm"):
        facts.metrics = await _ask_metrics(spec)
    figures = await _ask_figures(spec, asking.api_key)
    facts.n_foreign = sum(figures.get(name, 0) for name in ("num_running", "num_waiting"))
    if facts.identity.problem is None and asking.settings is not None:
        await _send(facts, asking)
    return facts


async def ask_memory(facts: Sequence[ServerFacts], api_key: str | None) -> None:
    """Ask every server that answered what it holds in memory now that all of them have loaded their model."""
    for server in facts:
        if server.reply is None or server.reply.error_class or server.identity.simulated:
            continue
        if server.identity.software == "ollama":
            server.loaded = await _ask_loaded(server.spec)
            models = server.loaded or []
            mine = next((entry for entry in models if is_same_model(entry, server.spec.model)), {})
            server.held_gb, server.held_by = in_gb(mine.get("size")), "Ollama"
        else:
            server.held_gb, server.held_by = mlx_memory(await _ask_figures(server.spec, api_key))
        if server.held_gb is None and server.process is not None:
            server.held_gb, server.held_by = _read_process_gb(server), "its process"


def refused_limit(reply: Reply) -> int | None:
    """The server's own limit, where it refused the request because max_tokens is above it."""
    found = SERVER_LIMIT.search(reply.error_message or "")
    return int(found[1]) if found else None


def is_same_model(entry: dict, model: str) -> bool:
    """Whether an entry of Ollama's lists is this model; a name without a tag means "latest"."""
    return entry.get("name") in (model, f"{model}:latest")


def in_gb(n_bytes: Any) -> float | None:
    """Bytes as GB (2**30); None for anything that is not a positive number."""
    known = isinstance(n_bytes, int | float) and not isinstance(n_bytes, bool) and n_bytes > 0
    return n_bytes / GB if known else None


def mlx_memory(figures: dict) -> tuple[float | None, str]:
    """What MLX's allocator holds, of a server's telemetry figures (10**9 bytes); on Linux it does not say."""
    active_gb, cache_gb = figures.get("mlx_active_gb") or 0, figures.get("mlx_cache_gb") or 0
    if active_gb:
        return (active_gb + cache_gb) * 1e9 / GB, "MLX"
    peak_gb = figures.get("mlx_peak_gb")
    return (peak_gb * 1e9 / GB, "MLX, at its peak") if peak_gb else (None, "")


async def _ask_identity(spec: ServerSpec, api_key: str | None) -> ServerIdentity:
    for _ in range(TRIES):
        identity = await check_server(spec, api_key)
        if not is_silent(identity):
            break
    return identity


def is_silent(identity: ServerIdentity) -> bool:
    """It takes connections, but did not answer in time: busy or loading, not down."""
    return not identity.reachable and "(ReadTimeout)" in (identity.problem or "")


async def _ask_metrics(spec: ServerSpec) -> int | str:
    answer = await _get(f"{_root(spec)}/metrics")
    return answer if isinstance(answer, str) else answer.status_code


async def _ask_figures(spec: ServerSpec, api_key: str | None) -> dict:
    try:
        async with asyncio.timeout(LIMIT_S):
            return await snapshot_counters(spec, api_key)
    except TimeoutError:
        return {}


async def _ask_loaded(spec: ServerSpec) -> list[dict] | None:
    answer = await _get(f"{_root(spec)}/api/ps")
    if isinstance(answer, str) or answer.status_code != 200:
        return None
    try:
        said = answer.json()
    except ValueError:
        return None
    models = said.get("models") if isinstance(said, dict) else None
    return [entry for entry in models or [] if isinstance(entry, dict)] if isinstance(models, list) else []


async def _get(url: str) -> httpx.Response | str:
    """The response, or the name of what went wrong."""
    try:
        async with asyncio.timeout(LIMIT_S), httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as client:
            return await client.get(url)
    except (httpx.RequestError, TimeoutError) as error:
        return type(error).__name__


def _root(spec: ServerSpec) -> str:
    return spec.url.rstrip("/").removesuffix("/v1")


def _read_process_gb(server: ServerFacts) -> float | None:
    try:
        process = psutil.Process(server.process.pid)
    except psutil.NoSuchProcess:
        return None
    held_gb = read_rss_gb(ServerProcesses(local_port(server.spec.url), [process]))
    return None if held_gb is None else held_gb * 1e9 / GB


async def _send(facts: ServerFacts, asking: Asking) -> None:
    spec, settings, simulated = facts.spec, asking.settings, facts.identity.simulated
    with tempfile.TemporaryDirectory() as folder:
        frame = asking.frame or draw_picture(Path(folder), "first")
        request = prepare_request(spec, frame, settings)
    facts.sent = True
    facts.reply = next(iter(await send_one_by_one(spec, [request], settings, simulated)), None)
    if facts.reply is not None and (facts.reply.error_class is None or refused_limit(facts.reply)):
        facts.probe = await probe_images(spec, settings, simulated, bool(facts.reply.reasoning_chars))

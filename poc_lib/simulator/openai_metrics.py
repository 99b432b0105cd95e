"""The Prometheus text of a simulated vllm-mlx 0.6.0: its families that say something about inference."""

import time
from collections.abc import Iterable, Mapping

from poc_lib.simulator.serving import Server

METRICS_CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"
PREFIX = "vllm_mlx_"


def metrics_text(server: Server, n_running: int, n_waiting: int) -> str:
    """The body of GET /metrics; token counters hold what was answered, whole or in part."""
    lines = [*_counters(server), *_ttft_histogram(server), *_gauges(server, n_running, n_waiting)]
    return "\n".join(lines) + "\n"


def _counters(server: Server) -> Iterable[str]:
    yield _type_line("inference_requests_total", "counter")
    for (result, stream), count in server.results.items():
        yield _sample("inference_requests_total", count, _labels(stream, result=result))
    for kind in ("prompt", "completion"):
        yield _type_line(f"{kind}_tokens_total", "counter")
        for (name, stream), count in server.answered_tokens.items():
            if name == kind:
                yield _sample(f"{kind}_tokens_total", count, _labels(stream))


def _ttft_histogram(server: Server) -> Iterable[str]:
    name, labels, count = "inference_ttft_seconds", _labels(True), len(server.ttfts_s)
    yield _type_line(name, "histogram")
    if count:
        yield _sample(f"{name}_bucket", count, {**_labels(True), "le": "+Inf"})
        yield _sample(f"{name}_count", count, labels)
        yield _sample(f"{name}_sum", sum(server.ttfts_s), labels)


def _gauges(server: Server, n_running: int, n_waiting: int) -> Iterable[str]:
    engine_type = "simple" if server.simple else "batched"
    plain = {
        "model_loaded": 1,
        "engine_is_mllm": 1,
        "scheduler_waiting_requests": n_waiting,
        "scheduler_running_requests": n_running,
        "engine_steps_executed": server.engine.totals.steps,
        "engine_uptime_seconds": time.time() - server.started_at,
    }
    for name, value in plain.items():
        yield _type_line(name, "gauge")
        yield _sample(name, value)
    yield _type_line("http_requests_in_flight", "gauge")
    yield _sample(
        "http_requests_in_flight", len(server.active), {"method": "POST", "path": "/v1/chat/completions"}
    )
    yield _type_line("engine_type", "gauge")
    for kind in ("simple", "batched", "unknown"):
        yield _sample("engine_type", kind == engine_type, {"engine_type": kind})
    yield _type_line("metal_memory_bytes", "gauge")
    for kind, gigabytes in (("active", 3.1), ("peak", 3.9), ("cache", 0.4)):
        yield _sample("metal_memory_bytes", gigabytes * 1e9, {"kind": kind})


def _labels(stream: bool, **others: str) -> dict[str, str]:
    return {"endpoint": "chat_completions", **others, "stream": str(stream).lower()}


def _type_line(name: str, kind: str) -> str:
    return f"# TYPE {PREFIX}{name} {kind}"


def _sample(name: str, value: float, labels: Mapping[str, str] | None = None) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in (labels or {}).items())
    return f"{PREFIX}{name}{{{inside}}} {float(value)}" if inside else f"{PREFIX}{name} {float(value)}"

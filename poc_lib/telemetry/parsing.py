"""What servers and tools say about themselves, as fields of a sample. Pure; odd values are left out.

=====================================  ==========================================================
num_running, num_waiting               requests in the engine's batch, and queued before it
in_flight                              chat requests that the server has taken from the network
requests_total                         requests finished since the server started
prompt_tokens_total                    tokens since the server started, those of requests that
completion_tokens_total                failed or were given up included
answered_prompt_tokens_total           as above, only of requests that ended well
answered_completion_tokens_total
results                                requests by result: success, error, cancelled, busy, ...
mlx_active_gb, mlx_cache_gb            what MLX's allocator holds now
mlx_peak_gb                            its peak since the server started
size_vram_gb, context_length           of the model that Ollama has loaded; expires_at: when it goes
=====================================  ==========================================================
"""

from collections.abc import Iterable

import orjson
from prometheus_client.parser import text_string_to_metric_families

VLLM_FAMILIES = (
    "vllm_mlx_inference_requests",
    "vllm_mlx_prompt_tokens",
    "vllm_mlx_completion_tokens",
    "vllm_mlx_http_requests_in_flight",
)
CHAT_PATH = "/v1/chat/completions"


def parse_vllm_status(body: bytes) -> dict:
    """GET /v1/status of vllm-mlx."""
    status = _object(body)
    metal = _part(status, "metal")
    return _known(
        num_running=_number(status, "num_running"),
        num_waiting=_number(status, "num_waiting"),
        requests_total=_number(status, "total_requests_processed"),
        prompt_tokens_total=_number(status, "total_prompt_tokens"),
        completion_tokens_total=_number(status, "total_completion_tokens"),
        mlx_active_gb=_number(metal, "active_memory_gb"),
        mlx_peak_gb=_number(metal, "peak_memory_gb"),
        mlx_cache_gb=_number(metal, "cache_memory_gb"),
    )


def parse_metrics(body: bytes) -> dict:
    """GET /metrics: Prometheus text from vllm-mlx, JSON from mlx_vlm.server; {} for any other."""
    return _parse_mlx_vlm(body) if body.lstrip()[:1] == b"{" else _parse_prometheus(body)


def parse_ollama_ps(body: bytes, model: str) -> dict:
    """GET /api/ps of Ollama: the loaded model of that name; {} while it is not loaded."""
    entries = _object(body).get("models")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    loaded = next((entry for entry in entries if entry.get("name") in (model, f"{model}:latest")), {})
    size_vram, expires_at = _number(loaded, "size_vram"), loaded.get("expires_at")
    return _known(
        size_vram_gb=None if size_vram is None else size_vram / 1e9,
        context_length=_number(loaded, "context_length"),
        expires_at=expires_at if isinstance(expires_at, str) else None,
    )


def parse_macmon(line: bytes) -> dict:
    """One line of ``macmon pipe``, versions 0.4 to 0.8; powers in watts.

    gpu_util_pct is the share of time in which the GPU was active, before 0.8 weighted by its frequency.
    """
    said = _object(line)
    usage = said.get("gpu_usage")  # [frequency in MHz, ratio]
    scaled = usage[1] if isinstance(usage, list) and len(usage) == 2 else None
    active = _number(said, "gpu_active_ratio")
    ratio = _number({"ratio": scaled}, "ratio") if active is None else active
    return _known(
        gpu_util_pct=None if ratio is None else 100 * ratio,
        gpu_power_w=_number(said, "gpu_power"),
        soc_power_w=_number(said, "all_power"),
        system_power_w=_number(said, "sys_power"),
    )


def _parse_mlx_vlm(body: bytes) -> dict:
    said = _object(body)
    summary = _part(said, "summary")
    completed, failed = _number(summary, "requests_completed"), _number(summary, "requests_failed")
    return _known(
        in_flight=_number(summary, "in_flight"),
        num_waiting=_number(_part(said, "server"), "request_queue_depth"),
        requests_total=completed,
        prompt_tokens_total=_number(summary, "prompt_tokens_total"),
        completion_tokens_total=_number(summary, "completion_tokens_total"),
        mlx_peak_gb=_number(_part(said, "latest"), "peak_memory_gb"),
        results=_known(success=completed, failed=failed) or None,
    )


def _parse_prometheus(body: bytes) -> dict:
    samples = list(_vllm_samples(body.decode(errors="replace")))
    results: dict[str, float] = {}
    for name, labels, value in samples:
        if name == "vllm_mlx_inference_requests_total":
            results[labels.get("result", "")] = results.get(labels.get("result", ""), 0) + value
    chat = [s for s in samples if s[1].get("path") in (None, CHAT_PATH)]
    return _known(
        in_flight=_total(chat, "vllm_mlx_http_requests_in_flight"),
        answered_prompt_tokens_total=_total(samples, "vllm_mlx_prompt_tokens_total"),
        answered_completion_tokens_total=_total(samples, "vllm_mlx_completion_tokens_total"),
        results=results or None,
    )


def _vllm_samples(text: str) -> Iterable[tuple[str, dict[str, str], float]]:
    """The samples of VLLM_FAMILIES; the other lines (30 KB after a while) are not parsed at all."""
    wanted = [line for line in text.splitlines() if line.removeprefix("# TYPE ").startswith(VLLM_FAMILIES)]
    try:
        for family in text_string_to_metric_families("\n".join(wanted) + "\n"):
            for sample in family.samples:
                yield sample.name, sample.labels, sample.value
    except ValueError:  # the parser's word for text that is not Prometheus'
        return


def _total(samples: Iterable[tuple[str, dict[str, str], float]], name: str) -> float | None:
    values = [value for found, _, value in samples if found == name]
    return sum(values) if values else None


def _object(body: bytes) -> dict:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _part(value: dict, key: str) -> dict:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _number(value: dict, key: str) -> float | None:
    number = value.get(key)
    return number if isinstance(number, int | float) and not isinstance(number, bool) else None


def _known(**fields: object) -> dict:
    return {name: value for name, value in fields.items() if value is not None}

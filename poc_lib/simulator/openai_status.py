"""What a simulated vllm-mlx 0.6.0 tells about itself: health, models, status, caches."""

import asyncio
import time
import uuid
from collections.abc import Callable

import orjson
from aiohttp import web

from poc_lib.simulator.engine import Engine, in_flight
from poc_lib.simulator.openai_metrics import METRICS_CONTENT_TYPE, metrics_text
from poc_lib.simulator.openai_shapes import simple_id
from poc_lib.simulator.serving import Server

NO_CACHE_STATS = "Cache stats not available (mlx_vlm not loaded)"
NO_CACHE_CLEAR = "Cache clear not available (mlx_vlm not loaded)"
MAX_CACHE_MB = {True: 2048.0, False: 4714.98}  # simple mode, batching


def add_status_routes(app: web.Application, server: Server) -> None:
    """Add the routes that only read, and those that clear the caches."""

    def answering(make: Callable[[Server], dict]):
        async def handler(request: web.Request) -> web.Response:
            return web.Response(body=orjson.dumps(make(server)), content_type="application/json")

        return handler

    async def metrics(request: web.Request) -> web.Response:
        body = metrics_text(server, *running_and_waiting(server.engine)).encode()
        return web.Response(body=body, headers={"Content-Type": METRICS_CONTENT_TYPE})

    app.router.add_get("/health", answering(health))
    app.router.add_get("/v1/models", answering(models))
    app.router.add_get("/v1/status", answering(status))
    app.router.add_get("/v1/cache/stats", answering(cache_stats))
    app.router.add_delete("/v1/cache", answering(clear_cache))
    app.router.add_delete("/v1/cache/prefix", answering(clear_prefix_cache))
    app.router.add_get("/metrics", metrics)


def health(server: Server) -> dict:
    """The body of GET /health; the real server has no field "simulated"."""
    return {
        "status": "healthy",
        "model_loaded": True,
        "model_name": server.model,
        "available_models": [server.model],
        "model_type": "mllm",
        "engine_type": "simple" if server.simple else "batched",
        "mcp": None,
        "simulated": True,
    }


def models(server: Server) -> dict:
    """The body of GET /v1/models."""
    card = {"id": server.model, "object": "model", "created": int(time.time()), "owned_by": "vllm-mlx"}
    return {"object": "list", "data": [card]}


def status(server: Server) -> dict:
    """The body of GET /v1/status; running counts every admitted request, those of the next wave included."""
    totals = server.engine.totals
    running, waiting = running_and_waiting(server.engine)
    n_requests, prompt_tokens, output_tokens = _counted(server)
    return {
        "status": "running",
        "model": server.model,
        "residency": None,
        "embedding": None,
        "uptime_s": round(time.time() - server.started_at, 1),
        "steps_executed": 0 if server.simple else totals.steps,
        "num_running": 0 if server.simple else running,  # simple mode does not count itself
        "num_waiting": waiting,
        "total_requests_processed": n_requests,
        "total_prompt_tokens": prompt_tokens,
        "total_completion_tokens": output_tokens,
        "generation_tps": totals.decoded_tokens / totals.decode_s if totals.decode_s else 0,
        "prompt_tps": totals.prompt_tokens / totals.prompt_s if totals.prompt_s else 0,
        "metal": {"active_memory_gb": 3.1, "peak_memory_gb": 3.9, "cache_memory_gb": 0.4},
        "cache": _prefix_cache(server),
        "mtp": {"enabled": False},
        "requests": [_request_info(server, number) for number in server.active],
    }


def _counted(server: Server) -> tuple[int, int, int]:
    """Requests, prompt and output tokens so far; simple mode counts streams only."""
    if not server.simple:
        totals = server.engine.totals
        return totals.requests, totals.prompt_tokens, totals.output_tokens
    n_requests = server.results["success", True] + server.results["cancelled", True]
    tokens = server.answered_tokens
    return n_requests, tokens["prompt", True], tokens["completion", True]


def running_and_waiting(engine: Engine) -> tuple[int, int]:
    """Requests admitted to the engine, and those beyond its limit."""
    total = in_flight(engine)
    running = min(total, engine.max_batch)
    return running, total - running


def cache_stats(server: Server) -> dict:
    """The body of GET /v1/cache/stats; its "error" is the real server's and means nothing."""
    return {"engine_cache": _simple_cache(server) if server.simple else _batched_cache(server)} | {
        "error": NO_CACHE_STATS
    }


def clear_cache(server: Server) -> dict:
    """The body of DELETE /v1/cache, which forgets the images seen."""
    server.seen_images.clear()
    server.asked_plainly.clear()
    cleared = {"model_cache": True} if server.simple else {"vision_cache": True, "prefix_cache": True}
    return {"status": "cleared", "engine_cache": cleared, "error": NO_CACHE_CLEAR}


def clear_prefix_cache(server: Server) -> dict:
    """The body of DELETE /v1/cache/prefix; simple mode has none of its own."""
    return {"status": "not_supported" if server.simple else "cleared", "rewarm_scheduled": False}


def _prefix_cache(server: Server) -> dict:
    stats = {"hits": 0, "misses": 0, "hit_rate": 0.0, "evictions": 0, "tokens_saved": 0}
    stats |= {"current_memory_mb": 0.0, "max_memory_mb": MAX_CACHE_MB[server.simple]}
    stats |= {"memory_utilization": 0.0, "entry_count": 0}
    return stats if server.simple else stats | {"store_rejections": 0}


def _hits_and_misses(server: Server) -> tuple[int, int, float]:
    misses, total = len(server.seen_images), server.seen_images.total()
    return total - misses, misses, (total - misses) / total if total else 0.0


def _batched_cache(server: Server) -> dict:
    hits, misses, rate = _hits_and_misses(server)
    vision = {"pixel_cache_hits": hits, "pixel_cache_misses": misses, "pixel_hit_rate": rate}
    vision |= {"encoding_cache_hits": 0, "encoding_cache_misses": 0, "encoding_hit_rate": 0.0}
    vision |= {"total_time_saved": 0.0, "total_images_processed": misses}
    vision |= {"pixel_cache_size": misses, "pixel_only_cache_size": 0, "encoding_cache_size": 0}
    return {"prefix_cache": _prefix_cache(server), "vision_embedding_cache": vision}


def _simple_cache(server: Server) -> dict:
    hits, misses, rate = _hits_and_misses(server)
    cache = {"hits": hits, "misses": misses, "partial_hits": 0, "hit_rate": rate, "tokens_saved": 0}
    cache |= {"image_cache_hits": hits, "vision_encoder_skips": 0, "total_queries": hits + misses}
    cache |= {"evictions": 0, "entries": misses, "max_entries": 50, "memory_used_mb": 0.0}
    cache |= {"max_memory_mb": MAX_CACHE_MB[True], "enabled": True, "cache_entries": misses}
    return {"mllm_cache": cache}


def _request_info(server: Server, number: int) -> dict:
    job = server.active[number].job
    now = asyncio.get_running_loop().time()
    if server.simple:
        return {
            "request_id": simple_id(number),
            "status": "running",
            "kind": "blocking_serialized",
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "elapsed_s": 0.0,
            "started_at": time.time() - (now - job.arrived),
        }
    queued, n_out = job in server.engine.waiting, job.output_tokens
    decode_s = now - job.decode_from
    return {
        "request_id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "status": "waiting" if queued else "running",
        "phase": "queued" if queued else "generation" if n_out else "prefill",
        "elapsed_s": round(now - job.arrived, 2),
        "prompt_tokens": job.prompt_tokens,
        "completion_tokens": n_out,
        "max_tokens": job.max_tokens,
        "progress": round(n_out / job.max_tokens, 3),
        "tokens_per_second": round(n_out / decode_s, 1) if n_out and decode_s > 0 else None,
        "ttft_s": round(job.decode_from - job.arrived, 3) if n_out else None,
        "cache_hit_type": None,
        "cached_tokens": 0,
    }

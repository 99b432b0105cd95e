"""What the contract expects of each server: all that is known to differ stands in this one table."""

from dataclasses import dataclass, replace

HEALTHY = {"status": "healthy", "model_type": "mllm"}
NO_SUCH_MODEL = "The model `nope` does not exist. Available model: `"
ERROR = "Internal server error"


@dataclass(frozen=True)
class Known:
    """One server in one mode; a failure is its class as the client files it, its HTTP status, its words."""

    name: str
    health: dict
    real: bool = True
    software: str = "vllm-mlx"
    version: str | None = "0.6.0"
    batches: bool = True  # several requests at once; otherwise a second one is refused
    role_first: bool = True  # a chunk with the role alone, before inference
    cut: str = "length"  # finish_reason of an answer cut at max_tokens
    extra_tokens: int = 0  # what a stream's usage counts beyond max_tokens
    counts_images: bool = True  # usage counts the image's tokens
    wrong_model: tuple[str, int, str] = ("http_status", 404, NO_SUCH_MODEL)
    bad_image: tuple[str, int, str] = ("server_error", 200, f"{ERROR} during generation")
    busy: tuple[str, int, str] = ("server_error", 200, ERROR)  # a second request without batching
    clears_cache: bool = True  # DELETE /v1/cache
    counts_hits: bool = True  # /v1/cache/stats has how often an image was met again


BATCHING = Known("vllm-mlx", HEALTHY | {"engine_type": "batched"})
SIMPLE = replace(
    BATCHING,
    name="vllm-mlx-simple",
    health=HEALTHY | {"engine_type": "simple"},
    batches=False,
    cut="stop",
    extra_tokens=2,
    bad_image=("server_error", 200, ERROR),
    counts_hits=False,
)
REPLAYING = replace(  # to an image that is none it answers nothing
    BATCHING,
    name="vllm-mlx-0.5.0",
    version="0.5.0",
    counts_images=False,
    bad_image=("empty", 200, "finished (error) without any text"),
)
MLX_VLM = Known(
    "mlx-vlm",
    {"status": "healthy", "continuous_batching_enabled": True},
    software="mlx-vlm",
    version="0.7.10",
    role_first=False,
    wrong_model=("http_status", 400, "Failed to load model"),
    bad_image=("http_status", 500, "An unexpected error occurred"),
    clears_cache=False,
    counts_hits=False,
)
# The simulator claims to be vllm-mlx; where it is simpler, its row says how.
SIMULATOR = replace(
    BATCHING,
    name="simulator",
    health=BATCHING.health | {"simulated": True},
    real=False,
    version=None,
    bad_image=("http_status", 400, "not a prompt with one image"),
    counts_hits=False,
)
SIMULATOR_SIMPLE = replace(
    SIMULATOR, name="simulator-simple", batches=False, busy=("busy", 503, "route is busy; retry later")
)
EVERY = (SIMULATOR, SIMULATOR_SIMPLE, BATCHING, SIMPLE, REPLAYING, MLX_VLM)

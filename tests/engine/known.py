"""What the contract's tests expect of each server: all that is known to differ stands in this one table."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Refusal:
    """How a server refuses: 200 means an error event inside a stream."""

    status: int
    words: str  # part of the body


@dataclass(frozen=True)
class KnownServer:
    """One server in one mode."""

    name: str
    real: bool
    software: str  # as check_server names it
    health: dict[str, object]  # fields of GET /health
    sends_role_first: bool  # a chunk with the role alone, before inference
    usage_in_finish: bool  # usage comes with finish_reason, and once more when include_usage is asked for
    cut_reason: str  # finish_reason of an answer cut at max_tokens
    extra_stream_tokens: int  # what a stream's usage counts beyond max_tokens
    batches: bool  # several requests at once; otherwise a second one is refused as busy
    end_waits: bool  # usage and [DONE] are sent only when the next wave has been prefilled
    wrong_model: Refusal
    bad_image: Refusal
    bad_image_stream: Refusal
    no_messages: Refusal
    empty_messages: Refusal
    huge_max_tokens: Refusal | None  # None: taken at its word
    clears_cache: bool  # DELETE /v1/cache
    image_hits: tuple[str, ...]  # where /v1/cache/stats counts a repeated image
    has_status: bool  # /v1/status and Prometheus metrics; otherwise /metrics is JSON
    counts_plain: bool = True  # /v1/status counts answers that were not streamed
    counts_plain_errors: bool = True  # /metrics counts failures that were not streamed
    plain_spoils_stream: bool = False  # after a plain answer, a stream about the same image fails


VLLM_MLX = KnownServer(
    name="vllm-mlx",
    real=True,
    software="vllm-mlx",
    health={"status": "healthy", "model_type": "mllm", "engine_type": "batched"},
    sends_role_first=True,
    usage_in_finish=True,
    cut_reason="length",
    extra_stream_tokens=0,
    batches=True,
    end_waits=True,
    wrong_model=Refusal(404, "The model `nope` does not exist. Available model: `tiny`"),
    bad_image=Refusal(500, "Internal server error during generation"),
    bad_image_stream=Refusal(200, "Internal server error during generation"),
    no_messages=Refusal(422, "Field required"),
    empty_messages=Refusal(500, "Internal Server Error"),
    huge_max_tokens=Refusal(400, "max_tokens exceeds server limit (32768)"),
    clears_cache=True,
    image_hits=("vision_embedding_cache", "pixel_cache_hits"),
    has_status=True,
)
VLLM_MLX_SIMPLE = replace(
    VLLM_MLX,
    name="vllm-mlx-simple",
    health=VLLM_MLX.health | {"engine_type": "simple"},
    cut_reason="stop",
    extra_stream_tokens=2,
    batches=False,
    end_waits=False,
    bad_image=Refusal(500, "Internal Server Error"),
    bad_image_stream=Refusal(200, "Internal server error"),
    image_hits=("mllm_cache", "image_cache_hits"),
    counts_plain=False,
    counts_plain_errors=False,
    plain_spoils_stream=True,
)
MLX_VLM = KnownServer(
    name="mlx-vlm",
    real=True,
    software="mlx-vlm",
    health={"status": "healthy", "continuous_batching_enabled": True},
    sends_role_first=False,
    usage_in_finish=False,
    cut_reason="length",
    extra_stream_tokens=0,
    batches=True,
    end_waits=False,
    wrong_model=Refusal(400, "Failed to load model"),
    bad_image=Refusal(500, "An unexpected error occurred"),
    bad_image_stream=Refusal(500, "An unexpected error occurred"),
    no_messages=Refusal(422, "Field required"),
    empty_messages=Refusal(500, "An unexpected error occurred"),
    huge_max_tokens=None,
    clears_cache=False,
    image_hits=(),
    has_status=False,
)
# The simulator claims to be vllm-mlx: but for the word "simulated" it has no line of its own.
SIMULATOR = replace(VLLM_MLX, name="simulator", real=False, health=VLLM_MLX.health | {"simulated": True})
SIMULATOR_SIMPLE = replace(
    VLLM_MLX_SIMPLE, name="simulator-simple", real=False, health=VLLM_MLX_SIMPLE.health | {"simulated": True}
)
EVERY = {known.name: known for known in (SIMULATOR, SIMULATOR_SIMPLE, VLLM_MLX, VLLM_MLX_SIMPLE, MLX_VLM)}

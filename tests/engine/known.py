"""What the contract expects of each server: all that is known to differ stands in this one table."""

from dataclasses import dataclass, replace

import pytest


@dataclass(frozen=True)
class Known:
    """One server in one mode."""

    name: str
    real: bool = True
    software: str = "vllm-mlx"
    version: str | None = "0.6.0"
    health: tuple = (("status", "healthy"), ("model_type", "mllm"), ("engine_type", "batched"))
    batches: bool = True  # several requests at once; otherwise a second one is refused
    role_first: bool = True  # a chunk with the role alone, before inference
    cut: str = "length"  # finish_reason of an answer cut at max_tokens
    extra_tokens: int = 0  # what a stream's usage counts beyond max_tokens
    counts_images: bool = True  # usage counts the image's tokens
    wrong_model: tuple[int, str] = (404, "The model `nope` does not exist. Available model: `")
    bad_image: tuple[int, str] = (200, "Internal server error during generation")
    bad_image_class: str = "server_error"  # as the client files it
    busy: tuple[int, str] = (200, "Internal server error")  # a second stream without batching
    busy_class: str = "server_error"
    clears_cache: bool = True  # DELETE /v1/cache
    image_hits: tuple = ("vision_embedding_cache", "pixel_cache_hits")  # of a stream, in /v1/cache/stats


BATCHING = Known("vllm-mlx")
SIMPLE = replace(
    BATCHING,
    name="vllm-mlx-simple",
    health=(("status", "healthy"), ("model_type", "mllm"), ("engine_type", "simple")),
    batches=False,
    cut="stop",
    extra_tokens=2,
    bad_image=(200, "Internal server error"),
    image_hits=(),
)
REPLAYING = replace(
    BATCHING,
    name="vllm-mlx-0.5.0",
    version="0.5.0",
    counts_images=False,
    bad_image=(200, '"finish_reason":"error"'),  # and nothing else is said
    bad_image_class="empty",
)
MLX_VLM = Known(
    name="mlx-vlm",
    software="mlx-vlm",
    version="0.7.10",
    health=(("status", "healthy"), ("continuous_batching_enabled", True)),
    role_first=False,
    wrong_model=(400, "Failed to load model"),
    bad_image=(500, "An unexpected error occurred"),
    bad_image_class="http_status",
    clears_cache=False,
    image_hits=(),
)
# The simulator claims to be vllm-mlx; where it is simpler, its row says how.
SIMULATOR = replace(
    BATCHING,
    name="simulator",
    real=False,
    version=None,
    health=(*BATCHING.health, ("simulated", True)),
    bad_image=(400, "not a prompt with one image"),
    bad_image_class="http_status",
    image_hits=(),
)
SIMULATOR_SIMPLE = replace(
    SIMULATOR, name="simulator-simple", batches=False, busy=(503, "text_generation_busy"), busy_class="busy"
)
EVERY = {known.name: known for known in (SIMULATOR, SIMULATOR_SIMPLE, BATCHING, SIMPLE, REPLAYING, MLX_VLM)}


def servers(*names: str) -> pytest.MarkDecorator:
    """Run a test against these servers alone; the real ones carry the marker ``engine``."""
    return pytest.mark.parametrize("target", params_of(*names), indirect=True)


def params_of(*names: str) -> list:
    """Parameters for these servers."""
    marks = {True: [pytest.mark.engine], False: []}
    return [pytest.param(name, marks=marks[EVERY[name].real], id=name) for name in names]

"""What a sampling process is told on its stdin, and what one sample holds.

GB are 1e9 bytes, as MLX's servers count. Moments are seconds from the sitting's start, on the clock of
``time.perf_counter_ns``: on Linux CLOCK_MONOTONIC, on macOS mach_absolute_time, both system-wide, so that the
moments of two processes can be compared (CPython documents it from 3.10 on, bpo-37205).
"""

import json
import time
from dataclasses import asdict, dataclass, field

from poc_lib.records import Api

READY = b"ready\n"  # the sampling process's first word on stderr, when everything is loaded

Sample = dict[str, object]  # a line of telemetry.jsonl; what is not known is left out


@dataclass(frozen=True, slots=True)
class Target:
    """A server to be asked."""

    name: str
    api: Api
    url: str  # as in ServerSpec
    model: str


@dataclass(frozen=True, slots=True)
class SamplingSpec:
    """One sitting's sampling."""

    targets: tuple[Target, ...]
    sitting: int
    run_start_ns: int  # perf_counter_ns at the sitting's start
    every_s: float
    timeout_s: float  # generous: vllm-mlx answers nothing while it prefills images
    api_key: str | None = field(default=None, repr=False)


def encode_spec(spec: SamplingSpec) -> bytes:
    """The spec as one line of JSON."""
    return json.dumps(asdict(spec)).encode() + b"\n"


def decode_spec(line: bytes) -> SamplingSpec:
    """The spec that encode_spec wrote."""
    values = json.loads(line)
    targets = tuple(Target(**target) for target in values.pop("targets"))
    return SamplingSpec(targets=targets, **values)


def moment_s(spec: SamplingSpec) -> float:
    """Seconds from the sitting's start until now."""
    return round((time.perf_counter_ns() - spec.run_start_ns) / 1e9, 6)

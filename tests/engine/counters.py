"""The servers' own counters, wherever they keep them."""

import asyncio
from dataclasses import astuple, dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.engine.asking import Target, get_json, send


@dataclass(frozen=True)
class Counters:
    """What a server says it has done since its start."""

    requests: float
    prompt_tokens: float
    output_tokens: float

    def __sub__(self, before: "Counters") -> "Counters":
        return Counters(*(now - then for now, then in zip(astuple(self), astuple(before), strict=True)))


async def read_status(target: Target) -> Counters:
    """The totals of /v1/status."""
    status = await get_json(target, "/v1/status")
    names = ("total_requests_processed", "total_prompt_tokens", "total_completion_tokens")
    return Counters(*(status[name] for name in names))


async def read_metrics(target: Target) -> Counters:
    """The totals of /metrics: answers, streamed or not; tokens also of those given up in mid-stream."""
    if not target.known.has_status:
        summary = (await get_json(target, "/metrics"))["summary"]
        names = ("requests_completed", "prompt_tokens_total", "completion_tokens_total")
        return Counters(*(summary[name] for name in names))
    samples = await read_samples(target)
    return Counters(
        total(samples, "vllm_mlx_inference_requests_total", result="success"),
        total(samples, "vllm_mlx_prompt_tokens_total"),
        total(samples, "vllm_mlx_completion_tokens_total"),
    )


async def read_samples(target: Target) -> list:
    """Every sample of a Prometheus /metrics."""
    text = (await send(target, "GET", "/metrics")).body
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def total(samples: list, name: str, **labels: str) -> float:
    """The sum of the samples of a name that carry these labels."""
    wanted = labels.items()
    return sum(sample.value for sample in samples if sample.name == name and wanted <= sample.labels.items())


async def wait_until_settled(target: Target) -> None:
    """Return when the server is idle and its counters stand still: a cancelled request is counted late."""
    await wait_until_idle(target)
    found = [await read_metrics(target)]
    for _ in range(60):
        # Twice the 0.5 s after which vllm-mlx looks for a client gone; the simulator knows at once.
        await asyncio.sleep(1.0 if target.known.real else 0.05)
        found.append(await read_metrics(target))
        if found[-1] == found[-2]:
            return
    raise AssertionError(f"the counters of {target.known.name} never stand still: {found[-2:]}")


async def wait_until_idle(target: Target) -> None:
    """Return when no request is left inside the server, those of clients that went away included."""
    for _ in range(240):
        if target.known.has_status:
            busy = (await get_json(target, "/v1/status"))["requests"]
        else:
            busy = (await get_json(target, "/metrics"))["summary"]["in_flight"]
        if not busy:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"{target.known.name} is still busy: {busy}")

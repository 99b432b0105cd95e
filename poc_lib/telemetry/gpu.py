"""GPU figures: NVIDIA's through NVML, Apple silicon's through macmon where it is installed."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from poc_lib.telemetry.parsing import parse_macmon

STALE_AFTER = 3  # a macmon line older than so many intervals is no figure of now
STOP_TIMEOUT_S = 2.0

ReadGpu = Callable[[], dict]


@dataclass(slots=True)
class _Latest:
    figures: dict = field(default_factory=dict)
    at_s: float = float("-inf")  # time.monotonic


@asynccontextmanager
async def gpu_reader(every_s: float) -> AsyncIterator[ReadGpu]:
    """A function that gives the GPU's figures now: gpu_util_pct, gpu_memory_gb, gpu_power_w; {} without one.

    Of several NVIDIA GPUs it is the busiest one's utilisation, and the sum of memory and power. macmon adds
    soc_power_w (CPU, GPU and neural engine) and system_power_w.
    """
    nvidia = _nvidia_reader()
    macmon = None if nvidia else shutil.which("macmon")
    if macmon is None:
        yield nvidia or dict
        return
    async with _macmon_reader(macmon, every_s) as read:
        yield read


def _nvidia_reader() -> ReadGpu | None:
    try:
        import pynvml
    except ImportError:  # not installed on macOS
        return None
    try:
        pynvml.nvmlInit()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no driver, no GPU, or not permitted
        return None

    def values(ask: Callable) -> list[float]:
        known = []
        for gpu in gpus:
            with contextlib.suppress(pynvml.NVMLError):  # e.g. no utilisation of a partitioned GPU
                known.append(ask(gpu))
        return known

    def read() -> dict:
        utilisation = values(lambda gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
        memory = values(lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e9)
        power = values(lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3)
        figures = {"gpu_util_pct": utilisation and max(utilisation)}
        figures |= {"gpu_memory_gb": memory and sum(memory), "gpu_power_w": power and sum(power)}
        return {name: value for name, value in figures.items() if value != []}

    return read if gpus else None


@asynccontextmanager
async def _macmon_reader(macmon: str, every_s: float) -> AsyncIterator[ReadGpu]:
    """macmon running beside us, its newest line at hand; it ends with us, since its pipe breaks."""
    process = await asyncio.create_subprocess_exec(
        macmon,
        *("pipe", "-s", "0", "-i", str(int(every_s * 1000))),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    latest = _Latest()
    following = asyncio.create_task(_follow(process.stdout, latest))

    def read() -> dict:
        return latest.figures if time.monotonic() - latest.at_s < STALE_AFTER * every_s else {}

    try:
        yield read
    finally:
        following.cancel()
        await _stop(process)


async def _follow(lines: asyncio.StreamReader, latest: _Latest) -> None:
    async for line in lines:
        latest.figures, latest.at_s = parse_macmon(line), time.monotonic()


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()

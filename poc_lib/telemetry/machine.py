"""This machine's load, memory, heat and power, and a server's memory. Best effort, no root."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import orjson
import psutil

from poc_lib.client.identity import find_listener
from poc_lib.telemetry.said import number

SLOW_EVERY_S = 10.0  # what costs a process each time is asked this often
LOOK_AGAIN_S = 20.0  # Ollama starts its runner, which holds the model, with the first request


def machine_reader() -> Callable[[], dict]:
    """A function that gives the machine's figures now.

    cpu_pct, memory_available_gb, swap_used_gb, on_battery; where known gpu_util_pct, gpu_memory_gb,
    gpu_power_w and, on macOS, thermal: the share of full speed that the system allows, in % (pmset -g therm).
    """
    psutil.cpu_percent()  # the first call has nothing to compare with
    gpu, slow, asked_s = _nvidia() or _macmon(), {}, float("-inf")

    def read() -> dict:
        nonlocal slow, asked_s
        if time.monotonic() - asked_s > SLOW_EVERY_S:
            slow, asked_s = _thermal(), time.monotonic()
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        plugged = None if battery is None else battery.power_plugged
        figures = {
            "cpu_pct": psutil.cpu_percent(),
            "memory_available_gb": psutil.virtual_memory().available / 1e9,
            "swap_used_gb": psutil.swap_memory().used / 1e9,
            "on_battery": None if plugged is None else not plugged,
        }
        known = figures | slow | (gpu() if gpu else {})
        return {name: value for name, value in known.items() if value is not None}

    return read


def memory_reader(url: str) -> Callable[[], float | None]:
    """A function that gives a local server's resident memory in GB, its children's included.

    On Apple silicon, memory that only the GPU uses is not in it: MLX's own figures are better there.
    """
    processes: list[psutil.Process] = []
    looked_s = float("-inf")

    def read() -> float | None:
        nonlocal looked_s
        if time.monotonic() - looked_s > LOOK_AGAIN_S:
            looked_s, listener = time.monotonic(), find_listener(url)
            processes.clear()
            with suppress(psutil.Error):
                processes.extend([listener, *listener.children(recursive=True)] if listener else [])
        sizes = []
        for process in processes:
            with suppress(psutil.Error):
                sizes.append(process.memory_info().rss / 1e9)
        return sum(sizes) if sizes else None

    return read


def _thermal() -> dict:
    if sys.platform != "darwin":
        return {}
    try:
        said = subprocess.run(
            ["pmset", "-g", "therm"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_therm(said.stdout) if said.returncode == 0 else {}


def parse_therm(text: str) -> dict:
    """``pmset -g therm``: the share of full speed allowed; a system that notes no limit allows 100 %."""
    limits = [line.partition("=")[2].strip() for line in text.splitlines() if "CPU_Speed_Limit" in line]
    return {"thermal": float(limits[0]) if limits and limits[0].isdigit() else 100.0}


def _nvidia() -> Callable[[], dict] | None:
    try:
        import pynvml
    except ImportError:  # not installed on macOS
        return None
    try:
        pynvml.nvmlInit()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no driver, no GPU, or not permitted
        return None

    def read() -> dict:
        used, memory, power = [], [], []
        for gpu in gpus:
            with suppress(pynvml.NVMLError):  # e.g. no utilisation of a partitioned GPU
                used.append(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
                memory.append(pynvml.nvmlDeviceGetMemoryInfo(gpu).used / 1e9)
                power.append(pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3)
        if not used:
            return {}
        return {"gpu_util_pct": max(used), "gpu_memory_gb": sum(memory), "gpu_power_w": sum(power)}

    return read if gpus else None


def _macmon() -> Callable[[], dict] | None:
    """macmon's own samples, one line a call; it must be on the PATH (it needs no root)."""
    path = shutil.which("macmon")
    if path is None:
        return None

    def read() -> dict:
        try:
            said = subprocess.run(
                [path, "pipe", "-s", "1", "-i", "200"], capture_output=True, timeout=3, check=False
            )
            line = orjson.loads(said.stdout.splitlines()[0])
        except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
            return {}
        line = line if isinstance(line, dict) else {}
        usage = line.get("gpu_usage")  # up to 0.7 [MHz, ratio]
        usage = usage[-1] if isinstance(usage, list) and usage else line.get("gpu_active_ratio")
        ratio = number({"ratio": usage}, "ratio")
        return {
            "gpu_util_pct": None if ratio is None else 100 * ratio,
            "gpu_power_w": number(line, "gpu_power"),
        }

    return read

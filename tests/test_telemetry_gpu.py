"""GPU figures from NVML or from macmon, with stand-ins for the library and the program."""

import asyncio
import os
import sys
import types
from pathlib import Path

import pytest

from poc_lib.telemetry.gpu import gpu_reader
from tests.recorded_telemetry import MACMON_0_8


class NVMLError(Exception):
    pass


def fake_nvml(utilisations: list[int | None]) -> types.ModuleType:
    """NVML of a machine with so many GPUs; None: this one does not tell its utilisation."""

    def rates(gpu: int) -> types.SimpleNamespace:
        if utilisations[gpu] is None:
            raise NVMLError("not supported")
        return types.SimpleNamespace(gpu=utilisations[gpu])

    def init() -> None:
        if not utilisations:
            raise NVMLError("driver not loaded")

    module = types.ModuleType("pynvml")
    module.NVMLError = NVMLError
    module.nvmlInit = init
    module.nvmlDeviceGetCount = lambda: len(utilisations)
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetUtilizationRates = rates
    module.nvmlDeviceGetMemoryInfo = lambda gpu: types.SimpleNamespace(used=2_000_000_000)
    module.nvmlDeviceGetPowerUsage = lambda gpu: 150_000
    return module


def put_macmon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program macmon that says one line for each interval and notes its process id and arguments."""
    noted = folder / "noted"
    program = folder / "macmon"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\n"
        f"open({str(noted)!r}, 'w').write(f'{{os.getpid()}} ' + ' '.join(sys.argv[1:]))\n"
        f"while True:\n    print({MACMON_0_8.decode()!r}, flush=True)\n    time.sleep(0.05)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return noted


async def read_when_known(read) -> dict:
    for _ in range(200):
        if figures := read():
            return figures
        await asyncio.sleep(0.05)
    return {}


async def test_several_gpus_give_the_busiest_and_the_sums(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([20, 90]))
    async with gpu_reader(1.0) as read:
        assert read() == {"gpu_util_pct": 90, "gpu_memory_gb": 4.0, "gpu_power_w": 300.0}


async def test_what_a_gpu_does_not_tell_is_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([None]))
    async with gpu_reader(1.0) as read:
        assert read() == {"gpu_memory_gb": 2.0, "gpu_power_w": 150.0}


async def test_a_gpu_at_rest_is_known_and_zero(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([0]))
    async with gpu_reader(1.0) as read:
        assert read()["gpu_util_pct"] == 0


async def test_macmon_is_followed_and_stopped(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    noted = put_macmon(tmp_path, monkeypatch)
    async with gpu_reader(1.0) as read:
        assert (await read_when_known(read))["soc_power_w"] == 0.22231553
        pid, arguments = noted.read_text().split(" ", 1)
        os.kill(int(pid), 0)
    assert arguments == "pipe -s 0 -i 1000"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


async def test_a_line_of_macmon_that_is_old_is_no_figure_of_now(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    put_macmon(tmp_path, monkeypatch)
    monkeypatch.setattr("poc_lib.telemetry.gpu.STALE_AFTER", 0)
    async with gpu_reader(1.0) as read:
        await asyncio.sleep(0.5)
        assert read() == {}


async def test_without_a_gpu_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml([]))
    monkeypatch.setenv("PATH", str(tmp_path))
    async with gpu_reader(1.0) as read:
        assert read() == {}

"""What machine and which software this is, detected, never typed."""

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = (
    "poc-lib",
    "httpx",
    "httptools",
    "pandas",
    "scikit-learn",
    "papermill",
    "matplotlib",
    "jupyterlab",
)


def read_host() -> dict:
    """Chip, GPU, memory (GB), operating system, Python, power source and load of this machine."""
    battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    plugged = None if battery is None else battery.power_plugged
    gpus = _command_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "chip": _read_chip(),
        "gpu": ", ".join(gpus.splitlines()) if gpus else None,  # Apple's is part of the chip
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_available_gb": round(psutil.virtual_memory().available / 2**30, 1),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "on_battery": None if plugged is None else not plugged,
        "load_1min": round(psutil.getloadavg()[0], 2),
    }


def read_versions() -> dict[str, str]:
    """Versions of the installed packages that shape a result."""
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    return {name: metadata.version(name) for name in PACKAGES if name in installed}


def read_git_commit(folder: Path) -> str | None:
    """The checked-out commit, marked when the tree has changes; None outside a checkout."""
    commit = _command_line("git", "-C", str(folder), "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    changed = _command_line("git", "-C", str(folder), "status", "--porcelain")
    return f"{commit}, with uncommitted changes" if changed else commit


def _read_chip() -> str:
    if sys.platform == "darwin":
        return _command_line("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _command_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

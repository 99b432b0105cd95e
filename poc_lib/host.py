"""What machine and which software this is, detected, never typed."""

import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import psutil

PARTS = ["poc-lib", "httpx", "httptools", "pandas", "scikit-learn", "papermill", "matplotlib", "jupyterlab"]


def read_host() -> dict:
    """Chip, GPU, memory (GB), operating system, Python, power source and load of this machine."""
    gpus = _command_line("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    chip = _command_line("sysctl", "-n", "machdep.cpu.brand_string")  # macOS
    if not chip and (cpuinfo := Path("/proc/cpuinfo")).is_file():
        chip = "".join(re.findall("model name\t: (.+)", cpuinfo.read_text(encoding="utf-8"))[:1])
    return {
        "chip": chip or platform.processor() or platform.machine(),
        "gpu": ", ".join(gpus.splitlines()) if gpus else None,  # Apple's is part of the chip
        "cores": psutil.cpu_count(logical=True),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_available_gb": round(psutil.virtual_memory().available / 2**30, 1),
        "os": platform.platform(terse=True),
        "python": platform.python_version(),
        "on_battery": is_on_battery(),
        "load_1min": round(psutil.getloadavg()[0], 2),
    }


def is_on_battery() -> bool | None:
    """Whether this machine runs on its battery; None: it has none, or does not tell."""
    plugged = getattr(psutil.sensors_battery(), "power_plugged", None)
    return None if plugged is None else not plugged


def read_versions() -> dict[str, str]:
    """Versions of the installed packages that shape a result."""
    installed = {dist.metadata["Name"].lower() for dist in metadata.distributions()}
    return {name: metadata.version(name) for name in PARTS if name in installed}


def read_git_commit(folder: Path) -> str | None:
    """The checked-out commit, marked when the tree has changes; None outside a checkout."""
    how = ("--always", "--exclude=*", "--abbrev=12", "--dirty=, with uncommitted changes")
    return _command_line("git", "-C", str(folder), "describe", *how)


def _command_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

"""Power and load, which change what is measured."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import psutil

from poc_lib.checks.check import Check, ok, warning

WATCH_S = 0.3  # long enough for a share of CPU time that means something
BUSY_SHARE = 0.5  # load a core above which something else is running


def check_host(host: dict, low_power: bool, busiest: Sequence[str] = ()) -> list[Check]:
    """Battery, low-power mode and what else the machine is doing.

    Args:
        host: host.read_host's facts.
        busiest: read_busiest's answer; only shown when the machine is loaded.
    """
    return [_check_power(host["on_battery"], low_power), _check_load(host, busiest)]


def is_loaded(host: dict) -> bool:
    """Is something else using the machine, by its load of the last minute?"""
    return host["load_1min"] > BUSY_SHARE * host["cores"]


def _check_power(on_battery: bool | None, low_power: bool) -> Check:
    where = "on battery" if on_battery else "on mains"
    if low_power:
        to_do = "plug the machine in and switch low-power mode off" if on_battery else "switch it off"
        return warning("power", f"{where}, low-power mode is on: it slows the chip", to_do)
    if on_battery:
        return warning("power", "on battery: the chip may be slowed", "plug the machine in")
    return ok("power", "no battery found" if on_battery is None else where)


def _check_load(host: dict, busiest: Sequence[str]) -> Check:
    found = f"load {host['load_1min']} on {host['cores']} cores"
    if not is_loaded(host):
        return ok("other load", found)
    named = f"; busiest now: {', '.join(busiest)}" if busiest else ""
    return warning("other load", f"{found}{named}", "quit what else is running, and wait a minute")


def read_busiest(n: int = 3) -> list[str]:
    """The processes that use most CPU now, e.g. "ffmpeg 180% (pid 4711)"; those of other users may be hidden.

    Takes WATCH_S seconds.
    """
    others = (process for process in psutil.process_iter() if process.pid != os.getpid())
    before = {process: _cpu_s(process) for process in others}
    start_s = time.perf_counter()
    time.sleep(WATCH_S)
    passed_s = time.perf_counter() - start_s
    used = []
    for process, earlier_s in before.items():
        now_s = _cpu_s(process)
        if earlier_s is not None and now_s is not None:
            used.append(((now_s - earlier_s) / passed_s, process))
    used.sort(key=lambda entry: -entry[0])
    return [f"{_name(process)} {share:.0%} (pid {process.pid})" for share, process in used[:n] if share > 0.1]


def _cpu_s(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except (psutil.Error, OSError):
        return None
    return times.user + times.system


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except (psutil.Error, OSError):
        return f"process {process.pid}"


def is_low_power() -> bool:
    """Is macOS' low-power mode on? False on other systems, and where it cannot be told."""
    if sys.platform != "darwin":
        return False
    try:
        done = subprocess.run(["pmset", "-g"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return reads_low_power(done.stdout)


def reads_low_power(pmset: str) -> bool:
    """Whether the output of ``pmset -g`` says low-power mode (``lowpowermode 1``, or ``powermode 1``)."""
    words = (line.split() for line in pmset.splitlines())
    return any(len(w) >= 2 and w[0] in ("lowpowermode", "powermode") and w[1] == "1" for w in words)

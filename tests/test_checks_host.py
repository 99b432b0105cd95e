import subprocess
import sys

import psutil
import pytest

from poc_lib.checks import host
from poc_lib.checks.host import check_host, is_loaded, is_low_power, read_busiest, reads_low_power
from tests.test_checks_kit import assert_reads_well, one

QUIET = {"on_battery": False, "load_1min": 0.5, "cores": 8}


@pytest.mark.parametrize(
    ("on_battery", "low_power", "state", "words"),
    [
        (None, False, "ok", "no battery"),
        (False, False, "ok", "on mains"),
        (True, False, "warning", "plug the machine in"),
        (False, True, "warning", "switch it off"),
        (True, True, "warning", "plug the machine in and switch low-power mode off"),
    ],
)
def test_power_is_judged_by_battery_and_low_power_mode(on_battery, low_power, state, words):
    check = one(check_host(QUIET | {"on_battery": on_battery}, low_power), "power")
    assert check.state == state
    assert words in check.found + check.to_do
    assert_reads_well(check)


def test_a_loaded_machine_names_what_runs_on_it():
    loaded = QUIET | {"load_1min": 6.0}
    check = one(check_host(loaded, False, ["ffmpeg 180% (pid 7)"]), "other load")
    assert check.state == "warning"
    assert "load 6.0 on 8 cores; busiest now: ffmpeg 180% (pid 7)" in check.found
    assert_reads_well(check)
    assert is_loaded(loaded)
    assert not is_loaded(QUIET)
    assert one(check_host(QUIET, False, ["ffmpeg 180%"]), "other load").found == "load 0.5 on 8 cores"


def test_the_busiest_process_is_found():
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busiest = read_busiest(n=50)
    finally:
        spinning.kill()
        spinning.wait()
    assert any(f"(pid {spinning.pid})" in line for line in busiest)


def test_processes_that_may_not_be_looked_at_are_left_out(monkeypatch):
    def denied(self):
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(host, "WATCH_S", 0.0)
    monkeypatch.setattr(psutil.Process, "cpu_times", denied)
    assert read_busiest() == []


@pytest.mark.parametrize(
    ("said", "low"),
    [
        (" lowpowermode         1\n", True),
        (" powermode            1\n", True),
        (" lowpowermode         0\n powermode 2\n", False),
        ("System-wide power settings:\nlowpowermode\n", False),
        ("", False),
    ],
)
def test_low_power_mode_is_read_from_pmset(said, low):
    assert reads_low_power(said) is low


@pytest.mark.parametrize("error", [FileNotFoundError("pmset"), subprocess.TimeoutExpired("pmset", 5)])
def test_a_pmset_that_fails_is_no_failure_of_the_check(monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", fail)
    assert is_low_power() is False


def test_other_systems_have_no_low_power_mode(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert is_low_power() is False

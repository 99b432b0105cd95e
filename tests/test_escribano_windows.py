import os
import time
from datetime import datetime

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.escribano.windows import parse_window


@pytest.fixture
def berlin(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
    assert os.environ.get("TZ") != "Europe/Berlin"


def _hours(window):
    return (window.end_unix_s - window.start_unix_s) / 3600


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(("day", "hours"), [("2026-11-20", 24), ("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_is_local_and_follows_the_change_of_the_clocks(day, hours):
    window = parse_window(day)
    assert _hours(window) == hours
    assert datetime.fromtimestamp(window.start_unix_s).astimezone().isoformat()[:16] == f"{day}T00:00"


@pytest.mark.usefixtures("berlin")
def test_a_window_without_offset_is_local_and_with_one_is_not():
    local = parse_window("2026-11-20T09:00/2026-11-20T12:30")
    assert _hours(local) == 3.5
    assert parse_window("2026-11-20T08:00Z/2026-11-20T11:30Z") == local


@pytest.mark.parametrize("selection", ["latest", "cap-1", "a/b", "2026-11-20-standup", "20261120"])
def test_other_texts_are_no_windows(selection):
    assert parse_window(selection) is None


@pytest.mark.parametrize("selection", ["2026-13-01", "2026-11-20T09:00/noon", "2026-02-30/2026-03-01"])
def test_a_day_that_does_not_exist_is_a_problem(selection):
    with pytest.raises(SetupProblem, match="is not a day or a time window"):
        parse_window(selection)


@pytest.mark.parametrize("end", ["2026-11-20T09:00", "2026-11-20T08:59"])
def test_a_window_that_does_not_end_after_its_start_is_a_problem(end):
    with pytest.raises(SetupProblem, match="ends before it starts"):
        parse_window(f"2026-11-20T09:00/{end}")

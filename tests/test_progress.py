import json
from types import SimpleNamespace

import pytest

from poc_lib import progress
from poc_lib.benchmark import Progress
from poc_lib.progress import describe_progress, describe_seconds, notebook_progress


def at(done, total=10, **changes):
    values = {"doing": "vllm-mlx, 4 in flight", "failed": 0, "elapsed_s": 5.0}
    return Progress(done=done, total=total, **(values | {"frames_per_s": 2.0, "left_s": 3.0} | changes))


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


@pytest.fixture
def shown(monkeypatch):
    """What a notebook's display was given; the first is the starting line."""
    seen = []
    handle = SimpleNamespace(update=lambda line: seen.append(repr(line)))
    monkeypatch.setattr(progress, "get_ipython", object)
    monkeypatch.setattr(progress, "display", lambda line, display_id: seen.append(repr(line)) or handle)
    return seen


def test_a_sweep_is_shown_at_most_once_a_second(tmp_path, clock, shown):
    show = notebook_progress(tmp_path)
    for done, now_s in [(1, 1000.0), (2, 1000.4), (3, 1000.9), (4, 1001.0), (5, 1001.5)]:
        clock.s = now_s
        show(at(done))
    assert [line.split()[0] for line in shown[1:]] == ["1/10", "4/10"]
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 4


def test_the_end_is_always_shown(tmp_path, clock, shown):
    show = notebook_progress(tmp_path)
    show(at(9))
    show(at(10))
    assert shown[-1].startswith("10/10")
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 10


def test_a_sweep_without_a_notebook_keeps_its_file(tmp_path, clock):
    notebook_progress(tmp_path)(at(3))
    assert json.loads((tmp_path / "progress.json").read_text())["total"] == 10


def test_a_line_says_how_far_how_fast_and_how_long():
    assert describe_progress(at(4)) == (
        "4/10 requests · vllm-mlx, 4 in flight · 2.00 frames/s · about 3 s left at this pace"
    )
    assert describe_progress(at(10, failed=2)).endswith("2.00 frames/s · done in 5 s · 2 failed")
    assert describe_progress(at(0, frames_per_s=0.0, left_s=None)) == "0/10 requests · vllm-mlx, 4 in flight"


def test_names_of_servers_are_escaped_in_the_notebook():
    html = progress._Shown(at(1, doing="<b>x</b>"))._repr_html_()
    assert "&lt;b&gt;x" in html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3599.7, "1 h 00 min"), (3725, "1 h 02 min")],
)
def test_durations_are_for_people(seconds, text):
    assert describe_seconds(seconds) == text

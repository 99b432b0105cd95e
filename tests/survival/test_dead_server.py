"""A server that dies in mid-cell: few failures, not one a frame, and a run that ends."""

import asyncio

from demo.server import start, stop
from poc_lib.analysis import analyse
from poc_lib.measure.experiment import run_all
from tests.demo_kit import demo
from tests.survival.children import lean_params

AT_ONCE = 8


def test_a_server_that_dies_costs_ten_failures_a_cell_and_the_run_ends(tmp_path, urls):
    server = start("openai", "demo-vlm", demo().answers, faults=["crash_after:50"])  # in the first block
    try:
        params = lean_params(tmp_path / "dead", **urls | {"candidate_url": server.url}, block_frames=24)
        analysis = analyse(asyncio.run(run_all(params)))
    finally:
        stop(server)
    cells = [event for event in analysis.events if event["event"] == "cell_ended"]
    lost = [event for event in cells if event["phase"] == "confirm" and event["role"] == "candidate"]
    assert len(lost) == 2
    for event in lost:
        assert 10 <= event["failed"] < 10 + AT_ONCE
        assert event["not_sent"] > 0
        assert event["stopped_because"].startswith("10 failures in a row: connect")
    rows = analysis.answers[analysis.answers["phase"].eq("confirm")].groupby(["role", "block"])
    n_failed = rows["error_class"].count().to_dict()
    assert n_failed == {("baseline", 0): 0, ("baseline", 1): 0} | {
        ("candidate", event["block"]): event["failed"] for event in lost
    }
    assert analysis.events[-1]["event"] == "finished"
    assert "recommend" not in analysis.verdicts[0].label.replace("not recommended", "")

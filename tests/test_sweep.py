"""A whole sweep on the embedded demo: every kind of cell, growth by blocks, several servers."""

import collections
import json

import pytest

from poc_lib.analysis import analyse_run
from poc_lib.errors import SetupProblem
from poc_lib.runs import read_events, read_replies, read_run, requests_table
from poc_lib.sweep import remaining_cells
from tests.sweeps import quick_params, run_sweep

EVERYTHING = {
    "blocks": 2,
    "n_frames": 6,
    "baseline_url": "demo",
    "warmup_requests": 1,
    "warmup_per_cell": 1,
    "repeat_image_frames": 2,
    "canaries": 4,
    "canary_aborts": True,
    "open_loop_rates": [40],
    "open_loop_arrivals": ["poisson", "constant"],
}


@pytest.fixture(scope="module")
def everything(outputs):
    return run_sweep(quick_params(outputs, "everything", **EVERYTHING))


def test_every_kind_of_cell_is_measured_and_each_request_is_on_file_once(everything):
    table = requests_table(everything.run)
    counted = collections.Counter(table.loc[table["phase"] != "warmup", "request_id"])
    assert set(counted.values()) == {1}
    assert not remaining_cells(everything)
    assert table.groupby("phase").size().drop("warmup").to_dict() == {
        "measure": 6 * 3 * 2,  # frames × levels × blocks
        "repeat_image": 2 * 2 * 2,  # frames × passes × servers
        "canary": 8 + 8,  # four canaries and as many frames, at two levels
        "canary_abort": 8 + 8,
        "open_loop": 6 * 2 * 2,  # frames × arrivals × servers
    }


def test_only_what_was_given_up_on_purpose_failed(everything):
    table = requests_table(everything.run)
    failed = table[table["error_class"].notna()]
    assert set(failed["error_class"]) == {"aborted"}
    assert set(failed["phase"]) == {"canary_abort"}


def test_caches_are_kept_between_the_two_passes_over_the_same_images(everything):
    events = [event for event in read_events(everything.run) if event["event"] == "cell_started"]
    cleared = {event["block"]: event["cache_cleared"] for event in events if event["phase"] == "repeat_image"}
    assert cleared[1] is False
    assert all(
        event["cache_cleared"]
        for event in events
        if event["server"] == "vllm-mlx" and (event["phase"], event["block"]) != ("repeat_image", 1)
    )


def test_every_table_of_such_a_run_is_filled(everything):
    analysis = analyse_run(everything.run, everything.params)
    for name in ("speed", "phases", "ceiling", "tail", "repeat_image", "open_loop", "canaries", "confusion"):
        assert len(getattr(analysis, name)), name
    assert analysis.speed["simultaneous_low"].notna().sum() == 2
    assert set(analysis.canaries["outcome"]) == {"no leak"}
    assert analysis.interruptions == ()
    assert analysis.criteria["criterion"].tolist()[3] == "no image confusion"


def test_a_run_grows_by_blocks_and_what_was_measured_stays(outputs):
    first = run_sweep(quick_params(outputs, "grows", blocks=1, n_frames=4))
    before = read_replies(first.run)
    grown = run_sweep(quick_params(outputs, "grows", blocks=3, n_frames=4))
    after = read_replies(grown.run)
    assert after[: len(before)] == before
    assert len(after) == 3 * len(before)
    assert read_run(grown.run.folder).facts["params"]["blocks"] == 3
    fewer = run_sweep(quick_params(outputs, "grows", blocks=2, n_frames=4))
    assert len(read_replies(fewer.run)) == len(after)
    assert read_run(fewer.run.folder).facts["params"]["blocks"] == 3


def test_another_version_of_a_server_is_another_run(outputs):
    params = quick_params(outputs, "upgraded", n_frames=2, concurrency=[1], baseline_url="demo")
    session = run_sweep(params)
    path = session.run.folder / "run.json"
    facts = json.loads(path.read_text())
    facts["servers"][0]["version"] = "0.0.1"
    path.write_text(json.dumps(facts))
    with pytest.raises(SetupProblem, match=r"ollama has version .*, but this run was begun with 0\.0\.1"):
        run_sweep(params)


def test_any_number_of_servers_stands_in_one_run(outputs):
    server = {"url": "demo", "model": "demo-vlm"}
    servers = [
        server | {"name": "ollama", "role": "baseline", "api": "ollama", "concurrency": [1, 2]},
        server | {"name": "vllm-mlx", "role": "candidate", "concurrency": [1, 4]},
        server | {"name": "lm-studio", "role": "candidate", "concurrency": [2]},
    ]
    params = quick_params(outputs, "three", servers=servers, n_frames=4, blocks=2)
    analysis = analyse_run(run_sweep(params).run, params)
    levels = list(zip(analysis.speed["server"], analysis.speed["concurrency"], strict=True))
    assert levels == [("ollama", 1), ("ollama", 2), ("lm-studio", 2), ("vllm-mlx", 1), ("vllm-mlx", 4)]
    assert {verdict.candidate for verdict in analysis.verdicts} == {"vllm-mlx", "lm-studio"}
    bounds = [verdict.speedup_low for verdict in analysis.verdicts]
    assert bounds == sorted(bounds, reverse=True)
    assert set(analysis.speed["n_simultaneous"].dropna()) == {3}

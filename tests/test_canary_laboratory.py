"""The canaries end to end, through real simulated servers: the laboratory in small."""

import pytest

from benchmarks.canary_laboratory import (
    Found,
    Setting,
    bounds_rows,
    clean_row,
    examine_run,
    missed_row,
    planted_row,
    serve_canaries,
)
from poc_lib.canary import list_leaks
from tests.builders import reply, table

A, B, C = "canary-KX7PM4TC", "canary-9WHF3NRY", "canary-3RTHX9KM"
SOUND = Setting(canaries=6)


@pytest.fixture(scope="module")
def served(outputs):
    """Serve one run of a setting; the demo's data is made once."""
    return lambda setting, seed=0: serve_canaries(outputs, setting, seed)


def test_planted_swaps_are_proven_with_their_donors_at_their_level_only(served):
    setting = Setting("wrong_image:0.5@2")
    requests, planted = served(setting)
    found = examine_run(setting, requests, planted)
    told = {(row["frame_id"], row["answered"]) for row in planted if row["fault"]}
    leaks = list_leaks(requests)
    assert found.leak_here
    assert not found.leak_elsewhere
    assert 0 < found.n_provable == found.n_proven == found.n_leaks == found.n_right <= found.n_planted
    assert set(zip(leaks["frame_id"], leaks["donor_frame_id"], strict=True)) <= told
    assert found.outcomes == ("no leak", "leak")


def test_a_sound_server_is_accused_of_nothing(served):
    found = examine_run(SOUND, *served(SOUND))
    assert found.n_leaks == found.n_planted == 0
    assert found.outcomes == ("no leak", "no leak")
    assert found.n_judged == SOUND.canaries


def test_a_blind_reader_never_passes(served):
    setting = Setting("blind", canaries=6)
    found = examine_run(setting, *served(setting))
    assert found.n_leaks == 0
    assert found.outcomes == ("not usable", "not usable")


def says(frame_id: str, code: str, **changes):
    text = f"description: an editor | activity: coding | apps: [] | topics: [] | code: {code}"
    return reply(frame_id, phase="canary", text=text, **changes)


def hit(frame_id: str, answered: str | None = None, fault: str | None = None) -> dict:
    return {"frame_id": frame_id, "fault": fault, "answered": answered or frame_id}


def example() -> tuple:
    """Both levels; at 4 one swap between canaries, one with a real frame's text, one that was not planted."""
    rows = [
        says(A, "KX7P-M4TC", concurrency=1, start_s=0.0),
        says(B, "9WHF-3NRY", concurrency=1, start_s=1.0),
        says(A, "9WHF-3NRY", concurrency=4, start_s=2.0),
        says(B, "none", concurrency=4, start_s=3.0),
        says(C, "KX7P-M4TC", concurrency=4, start_s=4.0),
        says("f1", "none", concurrency=4, start_s=5.0),
    ]
    swap = "wrong_image"
    told = [hit(A), hit(B), hit(A, B, swap), hit(B, "f1", swap), hit(C), hit("f1", "f2", swap)]
    return table(rows), told


def test_what_was_planted_is_held_against_the_right_request_about_an_image():
    found = examine_run(Setting("wrong_image:0.5@2"), *example())
    assert (found.n_planted, found.n_provable, found.n_proven) == (3, 1, 1)
    assert (found.n_leaks, found.n_right) == (2, 1)
    assert (found.n_canaries_hit, found.n_canaries, found.n_judged) == (2, 3, 2)
    assert found.leak_here
    assert not found.leak_elsewhere


def test_a_leak_of_another_donor_is_not_a_right_one():
    requests, told = example()
    told[2]["answered"] = C
    found = examine_run(Setting("wrong_image:0.5@2"), requests, told)
    assert (found.n_provable, found.n_proven, found.n_leaks, found.n_right) == (1, 0, 2, 0)


def test_a_leak_in_another_phase_or_at_another_level_is_elsewhere():
    requests, told = example()
    below = requests.assign(concurrency=requests["concurrency"].replace({4: 1, 1: 4}))
    assert examine_run(Setting("wrong_image:0.5@2"), below, told).leak_elsewhere


def run(**changes) -> Found:
    values = {"n_planted": 2, "n_provable": 1, "n_proven": 1, "n_leaks": 1, "n_right": 1, "leak_here": True}
    values |= {"leak_elsewhere": False, "n_canaries_hit": 1, "n_canaries": 12, "n_judged": 12}
    values |= {"n_misread": 0, "outcomes": ("no leak", "leak"), "outcome": "leak"}
    return Found(**(values | {"bound": 0.4, "careful_bound": 0.4} | changes))


def test_rows_count_runs_and_leaks():
    missed = run(n_proven=0, n_leaks=0, n_right=0, leak_here=False, outcome="no leak", n_canaries_hit=6)
    row = planted_row(Setting("wrong_image:0.2@2"), [run(), missed])
    assert row["proven"] == "1 of 2 (50%)"
    assert row["right donor"] == "1 of 1 (100%)"
    assert row["runs with a leak at 4"] == "1 of 2 (50%)"
    row = missed_row(Setting("wrong_image:0.2@2"), [run(), missed])
    assert (row['"leak" at 4'], row['"no leak" at 4']) == (1, 1)
    assert row["hit there"] == "6 of 12 (50%)"
    assert row["leak_rate_high below it"] == 1
    row = clean_row(SOUND, [run(n_leaks=0, outcomes=("no leak",)), run()])
    assert row["with a leak"] == 1
    assert row["phases and levels"] == "2 × no leak; 1 × leak"


def test_the_bounds_are_those_of_the_summary():
    assert [row["mixed up, below"] for row in bounds_rows((12, 24))] == ["26.5%", "14.2%"]

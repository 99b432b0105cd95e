"""The design of the experiment: which frames, in which order, how many requests at most."""

from collections import Counter
from pathlib import Path

import pytest

from poc_lib.measure import plan
from poc_lib.params import Params
from poc_lib.records import Frame

FRAMES = [Frame(f"f{i:03d}", float(i), Path("x")) for i in range(96)]
DEFAULT, SERVERS, CHOSEN = Params(), Params().server_list(), {"ollama": 1, "vllm-mlx": 8}


def test_draws_share_no_frame_until_the_recording_is_used_up():
    drawn = [frame.frame_id for draw in range(4) for frame in plan.draw_frames(FRAMES, 24, 0, draw)]
    assert len(set(drawn)) == 96
    assert set(plan.draw_frames(FRAMES, 24, 0, 4)) <= set(FRAMES)


def test_every_draw_is_spread_over_the_recording_and_sent_in_an_order_of_its_own():
    drawn = plan.draw_frames(FRAMES, 24, 0, 2)
    assert Counter(int(frame.timestamp_s) // 4 for frame in drawn) == dict.fromkeys(range(24), 1)
    assert list(drawn) != sorted(drawn, key=lambda frame: frame.timestamp_s)
    assert drawn == plan.draw_frames(FRAMES, 24, 0, 2)
    assert drawn != plan.draw_frames(FRAMES, 24, 1, 2)


def test_fewer_frames_than_a_block_come_more_than_once():
    drawn = plan.draw_frames(FRAMES[:10], 24, 0, 0)
    assert (len(drawn), len(set(drawn))) == (24, 10)


@pytest.mark.parametrize(
    ("concurrency", "frames"),
    [([1, 2, 4, 8], 24), ([1], 3), ([1, 2, 4, 8, 16], 48), ([3, 8], 24), ([7, 9], 63)],
)
def test_a_block_is_a_multiple_of_every_level_and_three_waves_of_the_highest(concurrency, frames):
    assert Params(concurrency=concurrency).frames_per_block == frames


def test_the_pilot_measures_every_level_once_a_block_and_mirrors_the_next():
    units = plan.pilot_units(SERVERS, FRAMES, Params(pilot_blocks=2, proof_frames=0))
    cells = [(unit.cells[0].server, unit.cells[0].concurrency) for unit in units]
    assert sorted(cells[:5]) == sorted({("ollama", 1), *(("vllm-mlx", level) for level in (1, 2, 4, 8))})
    assert cells[5:] == cells[:5][::-1]


def test_every_level_is_asked_for_codes_once():
    units = plan.pilot_units(SERVERS, FRAMES, Params(pilot_blocks=2))
    proofs = Counter(unit.cells[0].concurrency for unit in units if unit.cells[0].phase == "proof")
    assert proofs == {1: 2, 2: 1, 4: 1, 8: 1}


def test_confirmation_blocks_go_abba_over_the_same_fresh_frames():
    units = [plan.confirm_unit(SERVERS, CHOSEN, FRAMES, DEFAULT, block) for block in range(4)]
    orders = [[cell.server for cell in unit.cells] for unit in units]
    assert orders[1] == orders[0][::-1]
    assert orders[3] == orders[2][::-1]
    pilot = set(plan.pilot_units(SERVERS, FRAMES, DEFAULT)[0].frames)
    assert pilot.isdisjoint(units[0].frames)
    assert set(units[0].frames).isdisjoint(units[1].frames)


def test_the_baseline_shows_codes_after_every_second_block():
    shown = []
    for block in range(2):
        unit = plan.confirm_unit(SERVERS, CHOSEN, FRAMES, DEFAULT, block)
        proofs = plan.confirm_proofs(unit, FRAMES, DEFAULT, block)
        shown.append({proof.cells[0].server for proof in proofs})
    assert shown == [{"ollama", "vllm-mlx"}, {"vllm-mlx"}]


def test_the_plan_counts_the_fewest_and_the_most_requests():
    rows = {row["stage"]: row for row in plan.plan_rows(SERVERS, DEFAULT)}
    assert rows["pilot"]["most"] == 5 * (24 + 24)
    assert (rows["confirmation"]["fewest"], rows["confirmation"]["most"]) == (4 * 84, 12 * 84)
    for stage, values in {"confirmation": {"max_blocks": 0}, "pilot": {"level": 8}}.items():
        params = Params(**values)
        assert stage not in [row["stage"] for row in plan.plan_rows(params.server_list(), params)]

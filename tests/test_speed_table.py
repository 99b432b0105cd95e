"""Which cells rates are taken from, and what stands in where no baseline was measured."""

import math

import pandas as pd
import pytest

from poc_lib.metrics import Baseline
from poc_lib.speed import build_speed_table, without_interrupted
from tests.builders import failed, reply, table

RECORDED = Baseline("ollama", False, 1, 0.125, 38.0, True)
FRAMES = pd.DataFrame({"frame_id": [f"f{n}" for n in range(8)], "timestamp_s": range(8), "phash": [None] * 8})


def block(number, total_s=2.0, sittings=(0,) * 8, **changes):
    """Eight frames one after the other."""
    return [
        reply(f"f{n}", block=number, start_s=n * total_s, total_s=total_s, sitting=sittings[n], **changes)
        for n in range(8)
    ]


def speed_of(replies):
    return build_speed_table(table(replies), FRAMES, 100, RECORDED)[0].iloc[0]


def test_a_cell_of_two_sittings_gives_no_rate_where_its_level_has_others():
    broken = block(1, total_s=9.0, sittings=(0,) * 4 + (1,) * 4)
    row = speed_of([*block(0), *broken, *block(2)])
    assert row["frames_per_s"] == pytest.approx(0.5)
    assert (row["blocks"], row["blocks_left_out"], row["interrupted"]) == (2, 1, False)
    assert (row["n_ok"], row["complete"]) == (24, True)


def test_the_only_cell_of_a_level_counts_and_is_marked():
    row = speed_of(block(0, sittings=(0,) * 4 + (1,) * 4))
    assert (row["blocks_left_out"], row["interrupted"]) == (0, True)
    assert row["frames_per_s"] > 0


def test_requests_of_other_phases_are_never_left_out():
    canary = reply("canary-X", phase="canary", sitting=3)
    broken = block(1, sittings=(0,) * 4 + (1,) * 4)
    left = without_interrupted(table([*block(0), *broken, canary]))
    assert len(left) == 9
    assert "canary" in set(left["phase"])


def test_failures_in_an_interrupted_cell_are_still_failures():
    broken = [*block(1, sittings=(0,) * 4 + (1,) * 4)[:7], failed("f7", block=1, sitting=1)]
    row = speed_of([*block(0), *broken])
    assert (row["n_failed"], row["complete"]) == (1, False)


def test_against_recorded_figures_the_interval_is_the_candidates_own():
    uneven = [*block(0, total_s=2.0), *block(1, total_s=2.2), *block(2, total_s=1.9)]
    row = speed_of(uneven)
    assert row["speedup_frames"] == pytest.approx(row["frames_per_s"] / 0.125)
    assert row["simultaneous_low"] == pytest.approx(row["frames_per_s_low"] / 0.125)
    assert row["simultaneous_low"] < row["speedup_frames"] < row["simultaneous_high"]
    assert row["between_blocks_known"]


def test_one_block_asks_for_more():
    row = speed_of(block(0))
    assert not row["between_blocks_known"]
    assert row["more_blocks"] == 2
    assert math.isnan(speed_of([failed(f"f{n}") for n in range(8)])["speedup_frames"])

import numpy as np
import pandas as pd
import pytest

from poc_lib.intervals import estimate_speedups
from poc_lib.intervals.speedups import COLUMNS
from poc_lib.metrics import pick_baseline, summarize_speed

from .builders import failed, table
from .interval_runs import cell, frames_table, run


def only(requests: pd.DataFrame, n_frames: int = 24, alike: int = 1) -> pd.Series:
    """The one row of a run with one candidate level."""
    return estimate_speedups(requests, frames_table(n_frames, alike), "ollama", 1).iloc[0]


def width(row: pd.Series) -> float:
    return float(np.log(row["speedup_frames_high"] / row["speedup_frames_low"]))


def lose(requests: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """The chosen requests failed."""
    return requests.assign(
        error_class=requests["error_class"].where(~chosen, "busy"),
        output_tokens=requests["output_tokens"].where(~chosen),
    )


def test_a_known_speed_up_is_found_with_its_interval_around_it():
    row = only(run(n_blocks=5))
    assert row["speedup_frames_low"] < 2 < row["speedup_frames_high"]
    assert row["speedup_frames"] == pytest.approx(2, rel=0.1)
    assert (row["n_blocks"], row["n_frames"], row["n_compared"], row["n_groups"]) == (5, 24, 120, 8)


def test_equal_servers_leave_1_inside():
    row = only(run(speedups={1: 1.0}))
    assert row["simultaneous_low"] < 1 < row["simultaneous_high"]


def test_the_estimate_is_the_ratio_of_the_speed_table():
    requests = run(speedups={1: 1.5, 4: 2.5})
    speed = summarize_speed(requests, 24, 24).set_index(["role", "concurrency"])["frames_per_s"]
    found = estimate_speedups(requests, frames_table(24), "ollama", 1).set_index("concurrency")
    for level in (1, 4):
        ratio = speed["candidate", level] / speed["baseline", 1]
        assert found["speedup_frames"][level] == pytest.approx(ratio)


def test_the_columns_are_as_written_down():
    found = estimate_speedups(run(), frames_table(24), "ollama", 1)
    assert found.columns.tolist() == COLUMNS
    assert estimate_speedups(run().iloc[:0], frames_table(24), "ollama", 1).columns.tolist() == COLUMNS


def test_what_slows_a_frame_on_both_sides_does_not_widen_the_interval():
    assert width(only(run(pairing=1.0))) == pytest.approx(width(only(run(pairing=0.0))), rel=0.35)
    unpaired = run(pairing=1.0)
    other = {f"f{i}": f"f{23 - i}" for i in range(24)}
    is_baseline = unpaired["role"] == "baseline"
    unpaired["frame_id"] = unpaired["frame_id"].where(~is_baseline, unpaired["frame_id"].map(other))
    assert width(only(unpaired)) > 2 * width(only(run(pairing=1.0)))


def test_frames_that_look_alike_count_as_fewer_and_widen_the_interval():
    requests = run(n_blocks=8, scene=6, own_blocks=0.0, noise=0.02)
    seen, hidden = only(requests, alike=6), only(requests, alike=1)
    assert (seen["n_groups"], hidden["n_groups"]) == (4, 8)
    assert width(seen) > 1.2 * width(hidden)


def test_more_blocks_narrow_the_interval():
    widths = [
        np.mean([width(only(run(n_blocks=n_blocks, seed=seed))) for seed in range(8)])
        for n_blocks in (2, 3, 6)
    ]
    assert widths[0] > 2 * widths[1]
    assert widths[1] > 1.3 * widths[2]


def test_a_wave_is_one_group_where_enough_of_them_are_there():
    requests = run(n_frames=48, speedups={1: 2.0, 8: 3.0})
    found = estimate_speedups(requests, frames_table(48), "ollama", 1).set_index("concurrency")
    assert found["n_groups"].to_dict() == {1: 8, 8: 6}


def test_one_block_is_flagged_and_keeps_the_interval_of_its_frames():
    row = only(run(n_blocks=1))
    assert not row["between_blocks_known"]
    assert np.isnan(row["block_share"])
    assert row["speedup_frames_low"] < row["speedup_frames"] < row["speedup_frames_high"]


def test_one_still_screen_is_flagged():
    row = only(run(), alike=24)
    assert row["n_groups"] == 1
    assert row["between_blocks_known"]
    assert not row["between_groups_known"]
    assert row["speedup_frames_low"] < row["speedup_frames_high"]


def test_one_block_of_one_still_screen_has_no_interval():
    row = only(run(n_blocks=1), alike=24)
    assert np.isnan(row["speedup_frames_low"])
    assert np.isnan(row["simultaneous_low"])
    assert row["speedup_frames"] > 1


def test_a_missing_token_count_leaves_the_token_ratio_unknown_and_frames_known():
    requests = run()
    requests.loc[5, "output_tokens"] = None
    row = only(requests)
    assert np.isnan(row["speedup_tokens"])
    assert np.isnan(row["speedup_tokens_low"])
    assert row["speedup_frames"] > 1


def test_longer_answers_raise_the_token_ratio():
    requests = run()
    candidate = requests["role"] == "candidate"
    requests["output_tokens"] = requests["output_tokens"].where(~candidate, 62)
    row = only(requests)
    for end in ("", "_low", "_high"):
        assert row[f"speedup_tokens{end}"] == pytest.approx(2 * row[f"speedup_frames{end}"], rel=0.01)


def test_a_frame_that_one_side_lost_once_is_compared_nowhere_and_the_level_is_not_chosen():
    requests = run(speedups={1: 2.0, 4: 3.0})
    lost = (requests["concurrency"] == 4) & (requests["block"] == 1) & (requests["frame_id"] == "f3")
    found = estimate_speedups(lose(requests, lost), frames_table(24), "ollama", 1).set_index("concurrency")
    assert found["n_frames"].to_dict() == {1: 24, 4: 23}
    assert found["complete"].to_dict() == {1: True, 4: False}
    assert np.isnan(found["simultaneous_low"][4])
    assert found["n_simultaneous"].tolist() == [1, 1]


def test_failures_never_look_like_speed():
    requests = run()
    lost = (requests["role"] == "candidate") & requests["frame_id"].isin([f"f{i}" for i in range(0, 24, 2)])
    lossy = lose(requests, lost)  # as slow as before, half the answers
    assert only(lossy)["speedup_frames"] < 0.65 * only(requests)["speedup_frames"]


def test_a_level_that_answered_nothing_has_a_row_without_a_speed_up():
    requests = table([*cell("ollama", np.ones(4)), *(failed(f"f{i}", start_s=i) for i in range(4))])
    row = only(requests, 4)
    assert np.isnan(row["speedup_frames"])
    assert (row["n_frames"], row["n_blocks"], row["n_compared"]) == (0, 0, 0)
    assert not row["complete"]


def test_without_the_baseline_every_speed_up_is_unknown():
    requests = run()
    found = estimate_speedups(requests[requests["role"] == "candidate"], frames_table(24), "ollama", 1)
    assert found["speedup_frames"].isna().all()
    assert found["complete"].all()


def test_a_block_that_broke_off_is_left_out_rather_than_its_frames():
    requests = run(n_blocks=3)
    broken = requests[~((requests["block"] == 2) & (requests["frame_id"] > "f2"))]  # few frames of the last
    row = only(broken)
    assert (row["n_blocks"], row["n_frames"]) == (2, 24)
    assert not row["complete"]


def test_more_levels_to_choose_from_widen_the_simultaneous_interval_only():
    one = only(run(speedups={1: 2.0}))
    four = estimate_speedups(run(speedups={1: 2.0, 2: 2.0, 4: 2.0, 8: 2.0}), frames_table(24), "ollama", 1)
    assert one["simultaneous_low"] == pytest.approx(one["speedup_frames_low"])
    assert (four["simultaneous_low"] < four["speedup_frames_low"]).all()
    assert (four["n_simultaneous"] == 4).all()


def test_several_candidates_share_one_family():
    first, second = run(speedups={1: 2.0}), run(speedups={1: 3.0}, seed=1)
    other = second[second["role"] == "candidate"].assign(server="mlx-vlm")
    found = estimate_speedups(pd.concat([first, other], ignore_index=True), frames_table(24), "ollama", 1)
    assert found["server"].tolist() == ["vllm-mlx", "mlx-vlm"]
    assert found["n_simultaneous"].tolist() == [2, 2]


def test_blocks_that_differ_are_named_as_the_source():
    assert only(run(n_blocks=6, own_blocks=0.3))["block_share"] > 0.7
    assert only(run(n_blocks=6, own_blocks=0.0, noise=0.3))["block_share"] < 0.5


def test_a_steady_ratio_has_an_interval_of_no_width():
    seconds = np.array([1.0, 2.0, 3.0, 4.0])
    rows = []
    for block in (0, 1):
        rows += cell("ollama", seconds, block=block) + cell("vllm-mlx", seconds / 2, block=block)
    row = only(table(rows), 4)
    assert row[["speedup_frames_low", "speedup_frames_high"]].tolist() == pytest.approx([2.0, 2.0])


def test_the_baseline_may_be_the_one_that_metrics_picks():
    requests = run()
    picked = pick_baseline(summarize_speed(requests, 24, 24), None)
    found = estimate_speedups(requests, frames_table(24), picked.name, picked.concurrency)
    assert found["speedup_frames"].notna().all()

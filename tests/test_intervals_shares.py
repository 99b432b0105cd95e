import numpy as np
import pandas as pd
import pytest

from poc_lib.intervals import wall_shares
from poc_lib.intervals.shares import answered_shares, total_by_group
from poc_lib.metrics import summarize_cells

from .builders import failed, reply, table


def test_a_lone_request_has_the_time_for_itself_and_two_at_once_share_it():
    requests = table(
        [
            reply("a", start_s=0, total_s=2, concurrency=2),
            reply("b", start_s=1, total_s=3, concurrency=2),  # together from 1 to 2
        ]
    )
    assert wall_shares(requests).tolist() == pytest.approx([1.5, 2.5])


def test_shares_add_up_to_the_wall_clock_of_every_cell_also_with_gaps_and_sittings():
    rng = np.random.default_rng(4)
    requests = table(
        reply(
            f"f{i}",
            concurrency=4,
            block=i % 2,
            sitting=i % 3,
            start_s=rng.uniform(0, 50),
            total_s=rng.gamma(1),
        )
        for i in range(60)
    )
    shares = requests.assign(share=wall_shares(requests)).groupby("block")["share"].sum()
    wall_s = summarize_cells(requests, 30).set_index("block")["wall_s"]
    assert shares.to_dict() == pytest.approx(wall_s.to_dict())


def test_shares_keep_the_index_of_the_measured_rows_and_leave_other_phases_out():
    requests = table([reply("w", phase="warmup", total_s=9), reply("a", total_s=2), reply("b", start_s=5)])
    requests.index = [10, 20, 30]
    assert wall_shares(requests).to_dict() == pytest.approx({20: 3.5, 30: 3.5})  # 3 s of idling spread


def test_time_spent_on_failures_falls_on_the_answers():
    requests = table(
        [reply("a", total_s=2), failed("b", start_s=2, total_s=6), reply("c", start_s=8, total_s=2)]
    )
    shares = answered_shares(requests)
    assert shares["frame_id"].tolist() == ["a", "c"]
    assert shares["wall_share_s"].tolist() == pytest.approx([5.0, 5.0])


def test_requests_that_took_no_time_at_all_have_no_share_and_do_no_harm():
    requests = table([reply("a", total_s=0.0), reply("b", total_s=0.0)])
    assert wall_shares(requests).tolist() == [0.0, 0.0]


def test_ten_thousand_overlapping_requests_add_up():
    rng = np.random.default_rng(1)
    start_s, total_s = np.sort(rng.uniform(0, 1000, 10_000)), rng.gamma(2, 1, 10_000)
    cell = {"server": "s", "role": "candidate", "concurrency": 64, "block": 0, "sitting": 0}
    requests = pd.DataFrame({"start_s": start_s, "total_s": total_s, "phase": "measure", **cell})
    assert wall_shares(requests).sum() == pytest.approx((start_s + total_s).max() - start_s.min())


def test_totals_are_blocks_by_groups_with_0_for_no_row_and_nan_for_a_missing_value():
    rows = pd.DataFrame(
        {"block": [0, 0, 1], "frame_id": ["a", "b", "a"], "seconds": [1, 2, 4], "tokens": [5, np.nan, 7]}
    )
    totals = total_by_group(rows, pd.Series({"a": 0, "b": 1}), ["seconds", "tokens"])
    assert totals["seconds"].tolist() == [[1, 2], [4, 0]]
    assert np.isnan(totals["tokens"][0, 1])

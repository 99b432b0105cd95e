import numpy as np
import pandas as pd
import pytest

from poc_lib.accuracy.own_means import summarize_own_means
from poc_lib.accuracy.pairs import MEASURES


def scores(values, frame_ids):
    row = {"server": "s", "role": "candidate", "concurrency": 1, "against": "stored reference"}
    table = pd.DataFrame([row | {"frame_id": frame_id} for frame_id in frame_ids])
    return table.assign(**(dict.fromkeys(MEASURES, np.nan) | {"tfidf_cosine": values}))


def test_a_mean_has_its_interval_and_its_n():
    found = summarize_own_means(scores([0.2, 0.4, 0.6, np.nan], ["a", "b", "c", "d"]))
    assert list(found["measure"]) == ["tfidf_cosine"]  # a measure with nothing scored has no row
    row = found.iloc[0]
    assert row["own_mean"] == pytest.approx(0.4)
    assert row["n_own"] == 3
    assert row["own_low"] == 0.0  # cut: a t interval of three values would go below
    assert 0.4 < row["own_high"] <= 1.0


def test_near_duplicates_count_together():
    table = scores([0.2, 0.2, 0.6, 0.6], ["a", "b", "c", "d"])
    apart = summarize_own_means(table).iloc[0]
    together = summarize_own_means(table, {"a": 0, "b": 0, "c": 1, "d": 1}).iloc[0]
    assert together["n_groups"] == 2
    assert together["own_high"] > apart["own_high"]


def test_one_group_has_a_mean_and_no_interval():
    row = summarize_own_means(scores([0.2, 0.6], ["a", "a"])).iloc[0]
    assert row["own_mean"] == pytest.approx(0.4)
    assert np.isnan(row["own_low"])

"""A thousand requests, one in twenty spoilt: each is in the file once, and each failure is what was planted.

Ten thousand take too long for every change: python -m benchmarks.ten_thousand.
"""

from collections import Counter

from tests.survival.planted import ANSWERED, SEEN_AS, expected_failures, failure_counts, measure_planted


def test_a_thousand_requests_with_planted_failures_are_told_exactly(outputs):
    planted = measure_planted(outputs, 1000)
    rows = planted.rows
    assert len(rows) == 1000
    assert rows["request_id"].nunique() == 1000
    assert not rows["request_id"].isna().any()
    assert rows["error_class"].fillna("").tolist() == [SEEN_AS.get(fault, "") for fault in rows["fault"]]
    assert failure_counts(planted.run) == expected_failures(rows)
    kinds = Counter(rows["fault"].dropna())
    assert set(SEEN_AS) <= set(kinds)
    assert set(kinds) & set(ANSWERED)

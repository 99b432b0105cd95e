import math

import pandas as pd
import pytest

from poc_lib.metrics import Baseline
from poc_lib.verdict import NOT_RECOMMENDED, decide, fastest_complete, judge_criteria, step_of

MEASURED = Baseline("ollama", True, 1, 0.5, 40.0, True)
RECORDED = Baseline("ollama", False, 1, 0.125, 38.0, True)
SPEED_COLUMNS = [
    "role",
    "concurrency",
    "frames_per_s",
    "output_tok_per_s",
    "complete",
    "speedup_frames",
    "speedup_tokens",
    "n_failed",
    "n_not_sent",
]


def speed(*rows, simulated=False):
    made = pd.DataFrame(rows, columns=SPEED_COLUMNS)
    names = made["role"].map({"candidate": "vllm-mlx", "baseline": "ollama"})
    return made.assign(server=names, simulated=simulated, n_requests=12)


def candidate(level, speedup, complete=True, tok=100.0, failed=0, not_sent=0):
    return ("candidate", level, 0.5 * speedup, tok, complete, speedup, tok / 40, failed, not_sent)


BASELINE_ROW = ("baseline", 1, 0.5, 40.0, True, math.nan, math.nan, 0, 0)


def confusion(level=4, n_judged=10, **signs):
    counts = {"duplicates": 0, "wrong_neighbours": 0, "replays": 0} | signs
    row = {"server": "vllm-mlx", "role": "candidate", "concurrency": level, "n_answers": 12}
    row["n_judged"] = n_judged
    return pd.DataFrame([row | counts])


def agreement(rate=0.9, n=12, level=4):
    row = {"role": "candidate", "concurrency": level, "against": "stored reference"}
    return pd.DataFrame([row | {"n_scored": n, "match_rate": rate}])


def criteria(speeds, against=None, confused=None, baseline=MEASURED):
    against = agreement() if against is None else against
    confused = confusion() if confused is None else confused
    return judge_criteria(speeds, against, confused, baseline, 76.0, 0.8).set_index("criterion")


def verdict_on(speeds, confused=None, baseline=MEASURED):
    confused = confusion() if confused is None else confused
    return decide(speeds, confused, criteria(speeds, None, confused, baseline).reset_index(), baseline)


@pytest.mark.parametrize(
    ("speedup", "label"),
    [
        (3.0, "strong recommendation"),
        (2.999, "recommendation"),
        (2.0, "recommendation"),
        (1.999, "marginal"),
        (1.5, "marginal"),
        (1.499, NOT_RECOMMENDED),
        (0.5, NOT_RECOMMENDED),
        (math.nan, NOT_RECOMMENDED),
    ],
)
def test_each_step_begins_at_its_threshold(speedup, label):
    assert step_of(speedup) == label
    assert verdict_on(speed(BASELINE_ROW, candidate(4, speedup))).label == label


def test_the_verdict_rests_on_the_fastest_level_that_answered_every_frame():
    verdict = verdict_on(speed(candidate(1, 1.1), candidate(4, 2.5), candidate(8, 4.0, complete=False)))
    assert (verdict.concurrency, verdict.label, verdict.speedup_frames) == (4, "recommendation", 2.5)
    assert "vllm-mlx at 4 in flight described 1.25 frames/s, 2.50 × ollama" in verdict.sentence


def test_the_baselines_own_rows_are_never_the_candidate():
    assert fastest_complete(speed(BASELINE_ROW)) is None


def test_a_candidate_that_lost_frames_at_every_level_is_not_recommended():
    verdict = verdict_on(speed(candidate(1, 2.5, complete=False), candidate(4, 9.0, complete=False)))
    assert (verdict.label, verdict.concurrency) == (NOT_RECOMMENDED, None)
    assert math.isnan(verdict.speedup_frames)
    assert "at no concurrency level" in verdict.sentence


def test_a_run_that_broke_off_before_the_candidate_is_not_recommended():
    verdict = verdict_on(speed(BASELINE_ROW))
    assert (verdict.label, verdict.concurrency) == (NOT_RECOMMENDED, None)


@pytest.mark.parametrize("sign", ["duplicates", "wrong_neighbours", "replays"])
def test_confused_answers_at_the_level_are_not_recommended_however_fast(sign):
    verdict = verdict_on(speed(candidate(4, 5.0)), confusion(4, **{sign: 1}))
    assert verdict.label == NOT_RECOMMENDED
    assert "1 of its answers at this level may belong to another image" in verdict.sentence


def test_confusion_at_another_level_is_a_reservation():
    verdict = verdict_on(speed(candidate(4, 5.0)), confusion(8, duplicates=2))
    assert verdict.label == "strong recommendation"
    assert any(note.startswith("no image confusion: not met (2 duplicates") for note in verdict.reservations)


def test_a_recorded_baseline_is_called_recorded_and_not_measured():
    verdict = verdict_on(speed(candidate(4, 5.0)), baseline=RECORDED)
    assert "(recorded, not measured)" in verdict.sentence
    assert verdict.reservations[0].startswith("the baseline is recorded, not measured")


def test_a_baseline_that_lost_frames_is_a_reservation():
    lost = Baseline("ollama", True, 1, 0.5, 40.0, False)
    assert verdict_on(speed(candidate(4, 5.0)), baseline=lost).reservations[0] == (
        "the baseline ollama lost frames itself"
    )


def test_a_clean_run_has_no_reservations():
    assert verdict_on(speed(BASELINE_ROW, candidate(4, 3.0))).reservations == ()


def test_the_headline_announces_reservations():
    assert verdict_on(speed(BASELINE_ROW, candidate(4, 3.0))).headline == "Strong recommendation"
    assert verdict_on(speed(candidate(4, 1.6)), baseline=RECORDED).headline == "Marginal, with reservations"
    assert verdict_on(speed(candidate(4, 1.0)), baseline=RECORDED).headline == "Not recommended"


def test_one_simulated_server_makes_the_verdict_simulated():
    assert verdict_on(speed(candidate(4, 3.0), simulated=True)).simulated is True
    assert verdict_on(speed(candidate(4, 3.0))).simulated is False


def test_all_criteria_are_met_by_a_good_run():
    assert criteria(speed(BASELINE_ROW, candidate(4, 2.5)))["met"].tolist() == [True] * 5


@pytest.mark.parametrize(
    ("tok", "baseline", "met"),
    [
        (76.1, MEASURED, True),
        (76.0, MEASURED, False),
        (60.0, Baseline("ollama", True, 1, 0.5, 29.0, True), True),
        (60.0, Baseline("ollama", False, 1, 0.5, 29.0, True), False),
        (60.0, Baseline("ollama", True, 1, 0.5, math.nan, True), False),
        (math.nan, MEASURED, None),
    ],
)
def test_throughput_is_above_the_target_or_twice_a_measured_baseline(tok, baseline, met):
    row = criteria(speed(candidate(4, 2.5, tok=tok)), baseline=baseline).loc["throughput"]
    assert row["met"] is met
    assert "nan" not in row["rests_on"] + row["found"]


@pytest.mark.parametrize(("speedup", "met"), [(1.5, True), (1.49, False), (math.nan, None)])
def test_the_speed_up_criterion_begins_at_one_and_a_half(speedup, met):
    assert criteria(speed(candidate(4, speedup))).loc["speed-up", "met"] is met


@pytest.mark.parametrize(
    ("against", "met"),
    [
        (agreement(0.81), True),
        (agreement(0.8), False),
        (agreement(math.nan, n=0), None),
        (agreement(0.9, level=8), None),
        (agreement().iloc[:0], None),
    ],
)
def test_the_match_rate_is_the_verdicts_levels_own(against, met):
    assert criteria(speed(candidate(4, 2.5)), against).loc["match rate", "met"] is met


def test_the_match_rate_travels_with_its_n():
    row = criteria(speed(candidate(4, 2.5)), agreement(0.9, n=7)).loc["match rate"]
    assert row["found"] == "90%"
    assert "n = 7" in row["rests_on"]


@pytest.mark.parametrize(
    ("confused", "met", "found"),
    [
        (confusion(), True, "0 duplicates, 0 wrong neighbours, 0 replays"),
        (confusion(replays=1), False, "0 duplicates, 0 wrong neighbours, 1 replays"),
        (confusion(n_judged=0), None, "0 duplicates, 0 wrong neighbours, 0 replays"),
        (confusion(n_judged=0, duplicates=2), False, "2 duplicates, 0 wrong neighbours, 0 replays"),
    ],
)
def test_no_sign_of_confusion_among_unjudged_answers_is_no_evidence(confused, met, found):
    row = criteria(speed(candidate(4, 2.5)), None, confused).loc["no image confusion"]
    assert (row["met"], row["found"]) == (met, found)
    assert "of 12 answers" in row["rests_on"]


@pytest.mark.parametrize(("failed", "not_sent", "met"), [(0, 0, True), (1, 0, False), (0, 3, False)])
def test_a_failure_or_an_unsent_frame_at_any_level_is_a_crash(failed, not_sent, met):
    rows = speed(candidate(4, 2.5), candidate(8, 3.0, complete=False, failed=failed, not_sent=not_sent))
    row = criteria(rows).loc["no crashes"]
    assert (row["met"], row["found"]) == (met, f"{failed} failed, {not_sent} not sent")


def test_the_baselines_failures_are_not_the_candidates():
    lost = ("baseline", 1, 0.5, 40.0, False, math.nan, math.nan, 5, 0)
    assert criteria(speed(lost, candidate(4, 2.5))).loc["no crashes", "met"] is True


def test_without_a_complete_level_speed_and_match_cannot_be_judged():
    rows = criteria(speed(candidate(4, 2.5, complete=False, failed=1)))
    assert rows["met"].tolist() == [None, None, None, True, False]

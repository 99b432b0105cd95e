import math

import pandas as pd
import pytest

from poc_lib.metrics import Baseline
from poc_lib.verdict import (
    INCONCLUSIVE,
    NOT_RECOMMENDED,
    choose_level,
    decide,
    judge_criteria,
    step_of,
)

MEASURED = Baseline("ollama", True, 1, 0.5, 40.0, True)
RECORDED = Baseline("ollama", False, 1, 0.125, 38.0, True)
NO_CANARIES = pd.DataFrame(columns=["server", "concurrency", "outcome", "n_judged", "n_leaks"])
NO_BOUNDS = (math.nan, math.nan)


def row(level, speedup, bounds=None, server="vllm-mlx", role="candidate", tok=200.0, **changes):
    """A row of Analysis.speed: 12 frames, 3 blocks, bounds of ± 1 % where none are given."""
    low, high = bounds or (speedup * 0.99, speedup * 1.01)
    values = {
        "server": server,
        "role": role,
        "concurrency": level,
        "frames_per_s": 0.5 * speedup,
        "output_tok_per_s": tok,
        "output_tok_per_s_low": tok * 0.99,
        "output_tok_per_s_high": tok * 1.01,
        "speedup_frames": speedup,
        "simultaneous_low": low,
        "simultaneous_high": high,
        "speedup_tokens": tok / 40,
        "speedup_tokens_low": tok / 40 * 0.99,
        "speedup_tokens_high": tok / 40 * 1.01,
        "complete": True,
        "interrupted": False,
        "simulated": False,
        "n_requests": 36,
        "n_failed": 0,
        "n_not_sent": 0,
        "n_frames": 12,
        "n_blocks": 3,
        "n_simultaneous": 1,
        "between_blocks_known": True,
        "between_groups_known": True,
        "more_blocks": 2.0,
    }
    return values | changes


BASELINE_ROW = row(1, math.nan, NO_BOUNDS, "ollama", "baseline", frames_per_s=0.5)


def speed(*rows):
    return pd.DataFrame(rows)


def confusion(level=4, n_judged=10, server="vllm-mlx", state=None, **signs):
    counts = {"duplicates": 0, "wrong_neighbours": 0, "replays": 0, "misplaced": 0} | signs
    values = {"server": server, "role": "candidate", "concurrency": level, "n_answers": 12}
    state = state or ("suspicion" if signs else "none found")
    return pd.DataFrame([values | {"n_judged": n_judged, "state": state} | counts])


def canaries(n_leaks=0, outcome="no leak", n_judged=20, server="vllm-mlx"):
    values = {"server": server, "concurrency": 4, "outcome": outcome}
    return pd.DataFrame([values | {"n_judged": n_judged, "n_leaks": n_leaks}])


def agreement(rate=0.95, bounds=(0.9, 0.99), n=12, level=4):
    values = {"server": "vllm-mlx", "role": "candidate", "concurrency": level, "against": "stored reference"}
    low, high = bounds
    return pd.DataFrame(
        [values | {"n_scored": n, "match_rate": rate, "match_rate_low": low, "match_rate_high": high}]
    )


def criteria(speeds, against=None, confused=None, coded=NO_CANARIES, baseline=MEASURED, n_planned=None):
    against = agreement() if against is None else against
    confused = confusion() if confused is None else confused
    table = judge_criteria(
        "vllm-mlx", speeds, against, confused, coded, baseline, 76.0, 0.8, n_planned=n_planned
    )
    return table.set_index("criterion")


def verdict_on(speeds, confused=None, coded=NO_CANARIES, baseline=MEASURED):
    judged = criteria(speeds, None, confused, coded, baseline).reset_index()
    return decide("vllm-mlx", speeds, coded, judged, baseline)


@pytest.mark.parametrize(
    ("speedup", "label"),
    [
        (3.0, "strong recommendation"),
        (2.999, "recommendation"),
        (2.0, "recommendation"),
        (1.999, "marginal"),
        (1.5, "marginal"),
        (1.499, NOT_RECOMMENDED),
        (math.nan, NOT_RECOMMENDED),
    ],
)
def test_each_step_begins_at_its_threshold(speedup, label):
    assert step_of(speedup) == label


@pytest.mark.parametrize(
    ("bounds", "label"),
    [
        ((3.0, 3.5), "strong recommendation"),
        ((2.0, 2.9), "recommendation"),
        ((1.5, 1.9), "marginal"),
        ((0.9, 1.4), NOT_RECOMMENDED),
        ((1.4, 1.6), INCONCLUSIVE),
        ((1.9, 3.1), INCONCLUSIVE),
    ],
)
def test_the_bounds_set_the_step_and_a_threshold_between_them_makes_it_inconclusive(bounds, label):
    assert verdict_on(speed(BASELINE_ROW, row(4, sum(bounds) / 2, bounds))).label == label


def test_an_inconclusive_verdict_says_how_many_blocks_would_settle_it():
    open_one = verdict_on(speed(row(4, 1.5, (1.4, 1.6))))
    assert (open_one.headline, open_one.more_blocks) == ("Inconclusive: run 2 more blocks", 2)
    one_more = verdict_on(speed(row(4, 1.5, (1.4, 1.6), more_blocks=1)))
    assert one_more.headline == "Inconclusive: run 1 more block"
    for_ever = verdict_on(speed(row(4, 1.5, (1.4, 1.6), more_blocks=math.nan)))
    assert (for_ever.headline, for_ever.more_blocks) == ("Inconclusive", None)


def test_what_the_lower_bound_already_reaches_is_said():
    verdict = verdict_on(speed(row(4, 2.9, (2.6, 3.2))))
    assert verdict.headline == "At least a recommendation, inconclusive above that: run 2 more blocks"
    assert (verdict.at_least, verdict.at_most) == ("recommendation", "strong recommendation")


def test_one_block_is_inconclusive_however_narrow_its_interval():
    verdict = verdict_on(speed(row(4, 5.0, between_blocks_known=False)))
    assert verdict.label == INCONCLUSIVE
    assert "cannot hold what differs from one block to the next" in verdict.sentence
    assert verdict_on(speed(row(4, 5.0, NO_BOUNDS))).label == INCONCLUSIVE


def test_a_still_screen_is_inconclusive_since_other_screens_may_differ():
    verdict = verdict_on(speed(row(4, 5.0, between_groups_known=False)))
    assert verdict.label == INCONCLUSIVE
    assert "All frames look alike" in verdict.sentence


def test_the_level_with_the_best_lower_bound_is_chosen_not_the_luckiest():
    level = choose_level(speed(row(4, 2.5, (2.4, 2.6)), row(8, 2.8, (1.2, 4.4))), "vllm-mlx")
    assert level["concurrency"] == 4


def test_a_level_that_lost_frames_is_never_chosen():
    rows = speed(row(1, 1.1), row(4, 2.5), row(8, 4.0, complete=False))
    verdict = verdict_on(rows)
    assert (verdict.concurrency, verdict.label, verdict.speedup_frames) == (4, "recommendation", 2.5)
    assert "vllm-mlx at 4 in flight described 1.25 frames/s, 2.50 × ollama" in verdict.sentence
    assert "n = 12 frames × 3 blocks" in verdict.sentence


def test_another_servers_levels_are_not_the_candidates():
    rows = speed(BASELINE_ROW, row(4, 9.0, server="mlx-vlm"), row(4, 2.5))
    assert choose_level(rows, "vllm-mlx")["speedup_frames"] == 2.5
    assert choose_level(rows, "lm-studio") is None


def test_a_candidate_that_lost_frames_at_every_level_is_not_recommended():
    verdict = verdict_on(speed(row(1, 2.5, complete=False), row(4, 9.0, complete=False)))
    assert (verdict.label, verdict.concurrency) == (NOT_RECOMMENDED, None)
    assert "at no concurrency level" in verdict.sentence


def test_a_run_that_broke_off_before_the_candidate_is_not_recommended():
    verdict = verdict_on(speed(BASELINE_ROW))
    assert (verdict.label, verdict.concurrency) == (NOT_RECOMMENDED, None)
    assert "asked nothing" in verdict.sentence


def test_a_baseline_that_answered_nothing_gives_no_speed_up():
    verdict = verdict_on(speed(row(4, math.nan, NO_BOUNDS, frames_per_s=1.0)))
    assert verdict.label == NOT_RECOMMENDED
    assert "answered nothing" in verdict.sentence


def test_a_proven_leak_at_any_level_is_not_recommended_however_fast():
    verdict = verdict_on(speed(row(8, 5.0)), coded=canaries(n_leaks=2))
    assert verdict.label == NOT_RECOMMENDED
    assert "2 answers hold the code of another screenshot" in verdict.sentence


@pytest.mark.parametrize("sign", ["duplicates", "wrong_neighbours", "replays"])
def test_a_suspicion_warns_and_does_not_condemn(sign):
    verdict = verdict_on(speed(row(4, 5.0)), confusion(4, **{sign: 1}))
    assert (verdict.label, verdict.headline) == (
        "strong recommendation",
        "Strong recommendation, with reservations",
    )
    assert any(note.startswith("no image confusion: not settled") for note in verdict.reservations)


def test_a_recorded_baseline_is_called_recorded_and_not_measured():
    verdict = verdict_on(speed(row(4, 5.0)), baseline=RECORDED)
    assert "(recorded, not measured)" in verdict.sentence
    assert verdict.reservations[0].startswith("the baseline is recorded, not measured")


def test_a_baseline_that_lost_frames_is_a_reservation():
    lost = Baseline("ollama", True, 1, 0.5, 40.0, False)
    assert verdict_on(speed(row(4, 5.0)), baseline=lost).reservations[0] == (
        "the baseline ollama lost frames itself"
    )


def test_an_interrupted_level_is_a_reservation():
    assert any(
        "two sittings" in note for note in verdict_on(speed(row(4, 5.0, interrupted=True))).reservations
    )


def test_a_clean_run_has_no_reservations_and_the_headline_is_the_label():
    verdict = verdict_on(speed(BASELINE_ROW, row(4, 3.5)))
    assert (verdict.reservations, verdict.headline) == ((), "Strong recommendation")
    assert verdict_on(speed(row(4, 1.0)), baseline=RECORDED).headline == "Not recommended"


def test_one_simulated_server_makes_the_verdict_simulated():
    assert verdict_on(speed(row(4, 3.5, simulated=True))).simulated is True
    assert verdict_on(speed(row(4, 3.5))).simulated is False


def test_a_verdict_valid_for_several_levels_names_the_method():
    sentence = verdict_on(speed(row(4, 3.5, n_simultaneous=4))).sentence
    assert "valid for 4 levels at once (Bonferroni)" in sentence


def test_all_criteria_are_met_by_a_good_run():
    assert criteria(speed(BASELINE_ROW, row(4, 2.5)))["met"].tolist() == [True] * 5


@pytest.mark.parametrize(
    ("tok", "bounds", "met"),
    [(80, (77, 83), True), (80, (70, 90), None), (60, (55, 65), False), (math.nan, NO_BOUNDS, None)],
)
def test_throughput_is_met_by_its_lower_bound(tok, bounds, met):
    low, high = bounds
    level = row(4, 2.5, tok=tok, output_tok_per_s_low=low, output_tok_per_s_high=high)
    level |= {"speedup_tokens": 1.2, "speedup_tokens_low": 1.1, "speedup_tokens_high": 1.3}
    found = criteria(speed(level)).loc["throughput"]
    assert found["met"] is met
    assert "nan" not in found["rests_on"] + found["found"]


@pytest.mark.parametrize(("baseline", "met"), [(MEASURED, True), (RECORDED, False)])
def test_throughput_may_also_be_twice_a_measured_baseline(baseline, met):
    level = row(4, 2.5, tok=60.0) | {"speedup_tokens": 2.2, "speedup_tokens_low": 2.1}
    assert criteria(speed(level), baseline=baseline).loc["throughput", "met"] is met


@pytest.mark.parametrize(
    ("bounds", "met"), [((1.5, 1.7), True), ((1.4, 1.6), None), ((1.2, 1.4), False), (NO_BOUNDS, None)]
)
def test_the_speed_up_criterion_is_met_by_its_lower_bound(bounds, met):
    assert criteria(speed(row(4, 1.5, bounds))).loc["speed-up", "met"] is met


@pytest.mark.parametrize(
    ("against", "met"),
    [
        (agreement(0.9, (0.81, 0.95)), True),
        (agreement(0.9, (0.7, 0.95)), None),
        (agreement(0.5, (0.3, 0.7)), False),
        (agreement(math.nan, NO_BOUNDS, n=0), None),
        (agreement(level=8), None),
        (agreement().iloc[:0], None),
    ],
)
def test_the_match_rate_is_the_chosen_levels_own(against, met):
    assert criteria(speed(row(4, 2.5)), against).loc["match rate", "met"] is met


def test_the_match_rate_travels_with_its_interval_and_n():
    found = criteria(speed(row(4, 2.5)), agreement(0.9, (0.6, 0.98), n=7)).loc["match rate"]
    assert found["found"] == "90% (60% to 98%)"
    assert "n = 7" in found["rests_on"]


@pytest.mark.parametrize(
    ("confused", "coded", "met"),
    [
        (confusion(), NO_CANARIES, True),
        (confusion(replays=1), NO_CANARIES, None),
        (confusion(duplicates=3, state="none found"), NO_CANARIES, True),
        (confusion(n_judged=0), NO_CANARIES, None),
        (confusion(n_judged=0), canaries(), True),
        (confusion(n_judged=0), canaries(outcome="not usable"), None),
        (confusion(), canaries(outcome="reads less"), None),
        (confusion(), canaries(n_leaks=1), False),
        (confusion(), canaries(n_leaks=1, server="mlx-vlm"), True),
    ],
)
def test_a_leak_fails_a_suspicion_is_open_and_no_evidence_is_no_proof(confused, coded, met):
    found = criteria(speed(row(4, 2.5)), None, confused, coded).loc["no image confusion"]
    assert found["met"] is met
    assert "of 12 fit one image clearly" in found["rests_on"]


@pytest.mark.parametrize(("failed", "not_sent", "met"), [(0, 0, True), (1, 0, False), (0, 3, False)])
def test_a_failure_or_an_unsent_frame_at_any_level_is_a_crash(failed, not_sent, met):
    rows = speed(row(4, 2.5), row(8, 3.0, complete=False, n_failed=failed, n_not_sent=not_sent))
    found = criteria(rows).loc["no crashes"]
    assert (found["met"], found["found"]) == (met, f"{failed} failed, {not_sent} not sent")


def test_requests_of_cells_that_were_never_reached_count_as_not_sent():
    found = criteria(speed(row(4, 2.5)), n_planned=72).loc["no crashes"]
    assert (found["met"], found["found"]) == (False, "0 failed, 36 not sent")


def test_the_baselines_failures_are_not_the_candidates():
    lost = BASELINE_ROW | {"n_failed": 5, "complete": False}
    assert criteria(speed(lost, row(4, 2.5))).loc["no crashes", "met"] is True


def test_without_a_complete_level_speed_and_match_are_not_settled():
    rows = criteria(speed(row(4, 2.5, complete=False, n_failed=1)))
    assert rows["met"].tolist() == [None, None, None, True, False]

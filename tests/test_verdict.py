"""The verdict: proof before loss before speed, and what it says to a person."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from poc_lib.metrics.speedup import binomial_upper
from poc_lib.metrics.verdict import criteria, decide, judge_proof, quality_under_load
from poc_lib.records import Finding

CLEAN = {"n_sent": 150, "n_answered": 150, "n_failed": 0, "n_signs": 0, "n_texts": 150, "n_proof": 150}
CLEAN |= {"n_code_own": 150, "n_code_other": 0, "pilot_speedup": 2.4, "output_tok_per_s": 90.0}
CLEAN |= {"match_rate": 0.05, "base_ratio": 0.62}
FIX = "start it with --disable-prefix-cache, or use 0.6.0"
REPLAY = Finding("servers", "problem", "vllm-mlx 0.5.0 replays another image's answer.", FIX, "fast")


def levels_of(**changes: dict) -> pd.DataFrame:
    """Three rows of levels, slow_1, fast_1 and fast_8, each with its changes."""
    rows = []
    for server, level in (("slow", 1), ("fast", 1), ("fast", 8)):
        row = {"server": server, "concurrency": level} | CLEAN | changes.get(f"{server}_{level}", {})
        row["mixup_upper"] = binomial_upper(row["n_code_other"], row["n_code_own"] + row["n_code_other"])
        rows.append(row)
    return pd.DataFrame(rows)


def blocks_at(ratio: float = 2.4, spread: float = 0.02, n: int = 6, **columns) -> pd.DataFrame:
    log_ratio = np.log(ratio) + spread * np.resize([-1.0, 1.0], n)
    counts = {"n_frames": 24, "candidate_lost": 0, "baseline_lost": 0}
    rates = {"candidate_output_tok_per_s": 90 + np.arange(n) / 10.0, "baseline_output_tok_per_s": 38.0}
    return pd.DataFrame({"log_ratio": log_ratio, **counts, **rates} | columns)


def answers_of(alone: float = 0.62, loaded: float = 0.61, n: int = 24, n_frames: int = 144):
    """Scored pilot answers at one and eight in flight, and the confirmation's frames."""
    loaded += 0.05 * np.resize([-1.0, 1.0], n)
    pilot = {"phase": "pilot", "frame_id": [f"frame {i}" for i in range(n)]}
    confirm = {"phase": "confirm", "frame_id": range(n_frames), "concurrency": 8, "base_ratio": math.nan}
    cells = [pilot | {"concurrency": 1, "base_ratio": alone}, confirm]
    cells.append(pilot | {"concurrency": 8, "base_ratio": loaded})
    rows = pd.concat(map(pd.DataFrame, cells), ignore_index=True)
    return rows.assign(server="fast", ref_ratio=0.4, simulated=False, complete=True)


def judged(**given):
    usual = {"blocks": blocks_at(), "levels": levels_of(), "answers": answers_of(), "max_blocks": 12}
    usual |= {"candidate": "fast", "baseline": "slow", "chosen": {"fast": 8, "slow": 1}}
    return decide(**usual | given)


def test_a_clean_run_says_decision_reason_and_nothing_else():
    verdict = judged()
    assert verdict.headline == (
        "Recommendation: fast at 8 in flight is 2.40 × (2.32 to 2.48) as fast as slow at 1; "
        "98.8% interval from 6 blocks and 144 frames."
    )
    assert (verdict.label, verdict.decided, verdict.proof) == ("recommendation", True, "met")
    assert (verdict.level, verdict.baseline_level, verdict.n_blocks, verdict.n_frames) == (8, 1, 6, 144)
    assert (verdict.more_blocks, verdict.open_above, verdict.simulated) == (None, False, False)
    assert "The interval speaks for the whole recording." in verdict.reasons
    json.dumps(dataclasses.asdict(verdict))


MIXED = {"n_code_own": 110, "n_code_other": 40}
UNTESTED = {"n_proof": 0, "n_code_own": 0}
UNREADABLE = {"n_code_own": 75}
FEW = {"n_proof": 24, "n_code_own": 24}
SIGNS = {"n_signs": 12}
SLOW_TOKENS = {"candidate_output_tok_per_s": 60.0, "baseline_output_tok_per_s": 20.0}
LOST_TWICE = [1, 0, 2, 0, 0, 0]
ONLY = "pilot only: no verdict"
PILOT = {"blocks": blocks_at(n=0), "max_blocks": 0}
ALONE = PILOT | {"levels": levels_of(fast_8={"pilot_speedup": math.nan}), "recorded_s_per_frame": 8.0}
DUMB = {"levels": levels_of(fast_1={"n_answered": 0}, fast_8={"n_answered": 0})}
SUSPECT = {"levels": levels_of(fast_1=SIGNS | UNTESTED, fast_8=UNTESTED)}
TWO = {"blocks": blocks_at(n=2), "answers": answers_of(n_frames=1)}
NO = "not recommended"
OTHERS = "40 of 300 answers were about another image"
RULES = [  # the label, what the headline says, what was measured
    ("strong recommendation", "Strong recommendation: fast", {"blocks": blocks_at(3.6)}),
    ("recommendation", "At least recommendation, perhaps strong", {"blocks": blocks_at(2.9, 0.05)}),
    ("marginal", "Marginal: fast at 8", {"blocks": blocks_at(1.7)}),
    (NO, "Not recommended: fast at 8 in flight is 0.80 ×", {"blocks": blocks_at(0.8)}),
    ("inconclusive", "Inconclusive between not recommended and marginal", {"blocks": blocks_at(1.5, 0.05)}),
    ("inconclusive", "144 frames, and one block gives no interval", {"blocks": blocks_at(n=1)}),
    ("inconclusive", "interval from 2 blocks and 1 frame.", TWO),
    (NO, f"Not recommended, however fast: {OTHERS} (40 of 150 at 8", {"levels": levels_of(fast_8=MIXED)}),
    (NO, f"however fast: {OTHERS}", PILOT | {"levels": levels_of(fast_1=MIXED)}),
    (NO, "until proven otherwise: answers look like another image's: 12 of 150 at 1", SUSPECT),
    (NO, "lost 3 of 144 frames, in 2 of 6 blocks", {"blocks": blocks_at(9.0, candidate_lost=LOST_TWICE)}),
    (NO, "fast lost answers at every level", {"chosen": {"fast": None, "slow": 1}}),
    ("no verdict", "no level was chosen", {"chosen": {"slow": 1}}),
    ("no verdict", "no baseline was measured without loss", {"chosen": {"fast": 8, "slow": None}}),
    ("no verdict", "no confirmation block", {"blocks": blocks_at(n=0)}),
    ("no verdict", "fast answered none of 300 requests", DUMB),
    (ONLY, "Pilot only: no verdict: fast at 8 in flight was 2.40 × as fast in one block, without", PILOT),
    (ONLY, "in one block; max_blocks is 1, and an interval needs two.", PILOT | {"max_blocks": 1}),
    (ONLY, "was tried, no baseline beside it, in one block, without interval.", ALONE),
]


@pytest.mark.parametrize(("label", "says", "changes"), RULES)
def test_the_first_rule_that_applies_gives_label_and_headline(label, says, changes):
    verdict = judged(**changes)
    assert verdict.label == label
    assert says in verdict.headline
    assert verdict.headline.endswith(".")


RECORDED = {"recorded_s_per_frame": 8.0, "chosen": {"fast": 8}}
DOUBTS = {
    "image identity was not tested": {"levels": levels_of(fast_1=UNTESTED, fast_8=UNTESTED)},
    "cannot be proven with this model: it read 75 of 150 at 1": {"levels": levels_of(fast_1=UNREADABLE)},
    "but 24 codes at 8 in flight leave up to 11.7% possible (wanted: 2%)": {"levels": levels_of(fast_8=FEW)},
    "the baseline is recorded, not measured": RECORDED,
    "as fast as the recorded 8 s a frame": RECORDED,
    "its answers get worse under load: similarity -0.20 (-0.22 to": {"answers": answers_of(0.81)},
    "hardly resemble the baseline's: 0.20, those": {"levels": levels_of(fast_8={"base_ratio": 0.2})},
    "the candidate lost 1 of 144 frames": {"blocks": blocks_at(candidate_lost=[1, 0, 0, 0, 0, 0])},
    "the baseline lost 60 of 144 frames": {"blocks": blocks_at(baseline_lost=10)},
    "40 answers of the baseline itself were about another image": {"levels": levels_of(slow_1=MIXED)},
    "0.5.0 replays another image's answer: start it with --disable": {"setup": [REPLAY]},
}


@pytest.mark.parametrize(("says", "changes"), DOUBTS.items())
def test_what_must_be_known_beside_the_speed_stands_in_the_headline(says, changes):
    verdict = judged(**changes)
    assert verdict.label == "recommendation"
    assert " But " in verdict.headline
    assert says in verdict.headline


def test_a_strong_recommendation_without_proof_says_so_first():
    verdict = judged(blocks=blocks_at(3.6), levels=levels_of(fast_8=FEW))
    assert verdict.headline.startswith("Strong recommendation, image identity not proven: ")


def test_a_confused_server_is_told_what_the_set_up_check_knows_and_never_to_try_more_in_flight():
    known = judged(levels=levels_of(fast_8=MIXED), setup=[REPLAY]).headline
    assert "--disable-prefix-cache, or use 0.6.0; fewer in flight are no cure unless proven clean" in known
    assert "(such levels: 1)" in known
    unknown = judged(levels=levels_of(fast_1=MIXED, fast_8=MIXED))
    assert "(such levels: none)" in unknown.headline
    assert "vllm-mlx: 0.6.0, `--disable-prefix-cache`" in unknown.headline
    assert not any("more in flight" in text for text in (known, unknown.headline, *unknown.reasons))
    assert (unknown.decided, unknown.more_blocks, unknown.proof) == (True, None, "mixed up")
    assert judged(blocks=blocks_at(n=1), levels=levels_of(fast_8=MIXED)).decided
    lossy = judged(blocks=blocks_at(candidate_lost=LOST_TWICE), setup=[REPLAY])
    assert any("--disable-prefix-cache" in reason for reason in lossy.reasons)


def test_a_loss_of_quality_within_the_margin_is_not_held_against_a_server():
    assert judged(answers=answers_of(0.65, 0.61)).headline == judged().headline


def test_problems_of_another_server_and_warnings_do_not_enter_the_verdict():
    others = [dataclasses.replace(REPLAY, server="slow"), dataclasses.replace(REPLAY, state="warning")]
    assert judged(setup=others) == judged()


def test_an_open_verdict_says_what_would_settle_it_and_for_which_frames_it_speaks():
    aside = "At 16 in flight fast lost 2 answers."
    verdict = judged(blocks=blocks_at(2.1, 0.06), n_sample=50, set_aside=[aside])
    more = f"About {verdict.more_blocks} more blocks would probably settle what is open."
    assert verdict.more_blocks > 0
    assert verdict.reasons[0] == aside
    assert verdict.reasons[-2:] == ("The interval speaks for this sample of 50 frames.", more)
    assert "2 × is too close" in judged(blocks=blocks_at(2.0, 0.06)).reasons[-1]


PROOFS = [
    ("met", {}),
    ("met", {"slow_1": UNTESTED}),
    ("met", {"fast_1": UNTESTED}),  # then the baseline shows that the model reads
    ("met", {"fast_8": SIGNS}),  # what is proven is not suspected
    ("met", {"fast_1": {"n_proof": 50, "n_code_own": 50}}),  # one level is bounded
    ("mixed up", {"fast_1": {"n_code_own": 149, "n_code_other": 1}}),
    ("suspected", {"fast_8": SIGNS | FEW}),
    ("not tested", {"fast_1": UNTESTED, "fast_8": UNTESTED}),
    ("not tested", {"fast_1": UNTESTED, "fast_8": UNTESTED | {"n_signs": 7}}),  # a few signs
    ("cannot be proven", {"fast_1": {"n_code_own": 119}}),
    ("not yet", {"fast_8": {"n_proof": 140, "n_code_own": 140}}),
    ("not yet", {"fast_8": UNTESTED}),
    ("not yet", {"fast_8": {"n_code_own": 0}}),  # no code is read under load
    ("not yet", {"slow_1": UNTESTED, "fast_1": UNTESTED}),
]


@pytest.mark.parametrize(("proof", "changes"), PROOFS)
def test_a_proof_is_met_only_where_codes_are_read_and_the_bounds_are_reached(proof, changes):
    found, why = judge_proof(levels_of(**changes), "fast", "slow", 8)
    assert found == proof
    assert "nan" not in why


def test_quality_is_compared_frame_by_frame_with_the_server_alone():
    change, low, high, n = quality_under_load(answers_of(0.70, 0.61), "fast", 8)
    assert (change, n) == (pytest.approx(-0.09), 24)
    assert low < -0.09 < high < -0.05
    answers = answers_of()
    answers["base_ratio"] = math.nan
    assert quality_under_load(answers, "fast", 8)[0] == pytest.approx(0)
    assert math.isnan(quality_under_load(answers, "fast", 1)[0])
    assert math.isnan(quality_under_load(answers, "slow", 8)[0])


CRITERIA = [
    ("ok ok ok ok ok", {}),
    ("problem ok ok ok ok", {"blocks": blocks_at(candidate_output_tok_per_s=60.0)}),
    ("ok ok ok ok ok", {"blocks": blocks_at(**SLOW_TOKENS)}),
    ("warning ok ok ok ok", {"blocks": blocks_at(candidate_output_tok_per_s=[60, 90] * 3)}),
    ("ok warning ok ok ok", {"blocks": blocks_at(1.5, 0.1)}),
    ("ok problem ok ok ok", {"blocks": blocks_at(1.1)}),
    ("ok ok problem ok ok", {"levels": levels_of(fast_8={"base_ratio": 0.5})}),
    ("ok ok note ok ok", {"levels": levels_of(slow_1={"base_ratio": math.nan})}),
    ("ok ok ok warning ok", {"levels": levels_of(fast_8=FEW)}),
    ("ok ok ok problem ok", {"levels": levels_of(fast_8=MIXED)}),
    ("ok ok ok ok problem", {"levels": levels_of(fast_8={"n_failed": 1})}),
    ("ok ok ok ok warning", {"levels": levels_of(fast_8={"n_answered": 24})}),
    ("note note ok ok ok", PILOT),
    ("note note note warning warning", {"chosen": {"slow": 1}, "blocks": blocks_at(n=0)}),
]


@pytest.mark.parametrize(("states", "changes"), CRITERIA)
def test_the_plans_criteria_are_judged_by_bounds(states, changes):
    given = {"blocks": blocks_at(), "levels": levels_of()} | changes
    found = criteria(judged(**given), given["blocks"], given["levels"], answers_of())
    assert " ".join(finding.state for finding in found) == states
    assert {finding.about for finding in found} == {"criteria"}
    assert not any("nan" in finding.text for finding in found)


def test_the_criteria_name_the_plans_numbers_and_what_was_found():
    texts = [finding.text for finding in criteria(judged(), blocks_at(), levels_of(), answers_of())]
    assert texts[0].startswith("Throughput: 90 tok/s (90 to 91), 2.37 × (")
    assert texts[0].endswith("the baseline's. Asked: over 76 tok/s, or over 2 ×.")
    assert texts[1] == "Speed-up: 2.40 × (2.32 to 2.48) in frames/s. Asked: 2-3 ×, at least 1.5 ×."
    assert texts[2].startswith(
        "Match: 0.62 alike the baseline (itself: 0.62), under load -0.01 (-0.03 to +0.01)"
    )
    assert "Over 0.8 alike the stored text: 5% (asked 80%" in texts[2]
    assert texts[3].startswith("No image confusion: none of 300 codes was another image's")
    assert texts[4].startswith("No crashes: 0 of 150 requests")
    assert max(len(text.split()) for text in texts) <= 30

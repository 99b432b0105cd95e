import math

import pandas as pd
import pytest

from poc_lib.canary.judging import judge_canaries
from poc_lib.canary.leaks import LEAK_COLUMNS, list_leaks
from poc_lib.canary.sentences import canary_sentences
from poc_lib.canary.summary import SUMMARY_COLUMNS, mixed_up_high, summarize_canaries, upper_bound
from tests.builders import failed, reply, table

A, B, C = "canary-KX7PM4TC", "canary-9WHF3NRY", "canary-3RTHX9KM"


def says(code: str) -> str:
    return f"description: an editor | activity: coding | apps: [] | topics: [] | code: {code}"


def canary(frame_id: str = A, code: str | None = None, **changes):
    """A canary's answer, by default with its own code."""
    own = frame_id.removeprefix("canary-")
    values = {"phase": "canary", "text": says(own if code is None else code)}
    return reply(frame_id, **(values | changes))


def given_up(frame_id: str, **changes):
    return canary(frame_id, **({"phase": "canary_abort", "error_class": "aborted"} | changes))


def judgements(*replies) -> list[str]:
    return judge_canaries(table(replies))["judgement"].tolist()


def test_each_answer_is_judged_by_the_code_it_holds():
    rows = [
        canary(A),
        canary(B, "9whf-3nrx", start_s=1.0),
        canary(C, "none", start_s=2.0),
        canary(A, "9WHF-3NRY", concurrency=2, start_s=3.0),
        canary(B, "KX7P-M4TG", concurrency=2, start_s=4.0),
        reply("f1", phase="canary", text=says("none"), start_s=5.0),
        reply("f2", phase="canary", text=says("3rth x9km"), start_s=6.0),
        failed("f3", phase="canary", start_s=7.0),
        given_up(A, text="description: an", start_s=8.0),
    ]
    assert judgements(*rows) == [
        "read", "misread one", "not read", "leak", "leak", "clean", "leak", "failed", "aborted",
    ]  # fmt: skip


def test_only_the_canary_phases_are_judged_and_in_sending_order():
    judged = judge_canaries(table([canary(B, start_s=2.0), reply(A, text=says("none")), canary(A)]))
    assert judged["frame_id"].tolist() == [A, B]
    assert judge_canaries(table([reply("f1")])).empty


def test_a_code_beside_the_own_one_and_one_in_a_broken_answer_are_leaks():
    both = canary(A, "KX7P-M4TC, 9WHF-3NRY")
    broken = failed(B, phase="canary", text="description: KX7P-M4TC", error_class="truncated", start_s=1.0)
    partial = given_up(C, text=says("9WHF-3NRY"), start_s=2.0)
    judged = judge_canaries(table([both, broken, partial]))
    assert judged["judgement"].tolist() == ["leak"] * 3
    assert judged["donor_frame_ids"].tolist() == [(B,), (A,), (B,)]
    assert judged["answered"].tolist() == [True, False, False]


def test_a_leak_names_both_requests_and_where_they_stood():
    rows = [
        canary(A, start_s=0.0, total_s=2.0, slot=0, ttft_s=1.0),
        canary(B, start_s=0.1, total_s=2.0, slot=1, ttft_s=2.0),
        reply("f1", phase="canary", start_s=0.2, total_s=2.0, slot=2, ttft_s=4.0),
        canary(C, "KX7P-M4TG", start_s=1.5, total_s=1.0, slot=3, ttft_s=0.1),
    ]
    rows = [*rows, reply("f9", phase="canary", block=1, text="", start_s=-1.0)]
    leaks = list_leaks(table(rows))
    assert tuple(leaks.columns) == LEAK_COLUMNS
    (leak,) = leaks.to_dict("records")
    assert (leak["frame_id"], leak["donor_frame_id"], leak["edits"]) == (C, A, 1)
    assert (leak["place"], leak["donor_place"], leak["sent_after"]) == (3, 0, 3)
    assert (leak["slot"], leak["donor_slot"]) == (3, 0)
    assert (leak["server"], leak["concurrency"], leak["block"], leak["phase"]) == ("vllm-mlx", 1, 0, "canary")
    assert leak["same_cell"] is True
    assert leak["in_flight_together"] is True
    assert leak["donor_aborted"] is False
    assert (leak["ttft_s"], leak["usual_ttft_s"]) == (0.1, 2.0)


def test_a_donor_that_had_ended_was_not_in_flight_together():
    rows = [canary(A, total_s=1.0), canary(B, "KX7P-M4TC", start_s=1.0)]
    assert list_leaks(table(rows))["in_flight_together"].tolist() == [False]
    other_sitting = [canary(A, total_s=1.0), canary(B, "KX7P-M4TC", start_s=0.5, sitting=1)]
    assert list_leaks(table(other_sitting))["in_flight_together"].tolist() == [False]


def test_a_donor_that_was_given_up_is_named_so():
    rows = [given_up(A, text="desc"), canary(B, "KX7P-M4TC", phase="canary_abort", start_s=0.5)]
    assert list_leaks(table(rows))["donor_aborted"].tolist() == [True]


def test_a_code_from_another_cell_or_from_nowhere_is_still_a_leak():
    earlier = canary(A, server="vllm-mlx", block=0)
    victim = canary(B, "KX7P-M4TC", block=1, start_s=5.0)
    later = given_up(A, text="", concurrency=2, start_s=6.0)
    (leak,) = list_leaks(table([earlier, victim, later])).to_dict("records")
    assert leak["donor_aborted"] is False
    assert (leak["same_cell"], leak["in_flight_together"], leak["donor_place"]) == (False, False, 0)
    assert math.isnan(leak["sent_after"])
    elsewhere = canary(A, server="ollama", role="baseline", start_s=1.0)
    (leak,) = list_leaks(table([victim, elsewhere])).to_dict("records")
    assert leak["donor_aborted"] is None
    assert math.isnan(leak["donor_place"])


def test_without_leaks_the_list_is_empty_and_has_its_columns():
    for rows in ([canary(A)], [reply("f1")], []):
        leaks = list_leaks(table(rows))
        assert leaks.empty
        assert tuple(leaks.columns) == LEAK_COLUMNS


def at(level: int, own: int, blind: int = 0, **changes) -> list:
    """Canaries at a level: some read, some not."""
    ids = [f"canary-{'CFHKMNPRTW'[i]}{'XY3479CFHK'[i]}XXXXXX" for i in range(own + blind)]
    codes = [None] * own + ["none"] * blind
    rows = zip(ids, codes, strict=True)
    return [canary(one, code, concurrency=level, start_s=i, **changes) for i, (one, code) in enumerate(rows)]


def test_counts_and_bounds_per_level():
    rows = [
        *at(1, 4),
        *at(4, 2),
        canary(A, "KX7P-M4TG", concurrency=4),
        canary(B, "KX7P-M4TC", concurrency=4),
        canary(C, "none", concurrency=4),
        reply("f1", phase="canary", concurrency=4),
        failed("f2", phase="canary", concurrency=4),
    ]
    summary = summarize_canaries(table(rows))
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    first, second = summary.to_dict("records")
    assert (first["n_canaries"], first["n_read"], first["n_judged"], first["n_leaks"]) == (4, 4, 4, 0)
    names = ("n_canaries", "n_read", "n_misread_one", "n_not_read", "n_leaks", "n_judged")
    assert [second[name] for name in names] == [5, 2, 1, 1, 1, 4]
    assert (second["n_requests"], second["n_other_answers"], second["n_failed"]) == (7, 1, 1)
    assert second["leak_rate"] == 0.25
    assert second["leak_rate_high"] == pytest.approx(0.8059, abs=1e-4)
    assert [first["outcome"], second["outcome"]] == ["no leak", "leak"]


def test_none_of_64_is_below_5_6_percent():
    assert upper_bound(0, 64) == pytest.approx(1 - 0.025 ** (1 / 64))
    assert f"{100 * upper_bound(0, 64):.1f}" == "5.6"
    assert upper_bound(3, 3) == 1.0
    assert math.isnan(upper_bound(0, 0))


def test_a_model_that_cannot_read_codes_never_passes():
    summary = summarize_canaries(table([*at(1, 2, blind=3), *at(4, 5)]))
    assert summary["outcome"].tolist() == ["not usable", "not usable"]
    assert not summary["usable"].any()
    why = "canaries not usable with this model: 2 of 5 codes read at 1 in flight"
    assert summary["why_not_usable"].tolist() == [why, why]


def test_half_of_the_codes_are_enough_and_a_misread_character_counts_as_read():
    summary = summarize_canaries(table([canary(A, "KX7P-M4TG"), canary(B, "none")]))
    assert summary["usable"].tolist() == [True]
    assert summary["why_not_usable"].tolist() == [None]


def test_a_level_where_nothing_was_answered_is_no_evidence():
    rows = [failed(A, phase="canary", concurrency=8), *at(1, 4)]
    summary = summarize_canaries(table(rows)).set_index("concurrency")
    assert summary.loc[1, "outcome"] == "no leak"
    assert summary.loc[8, "outcome"] == "reads less"
    assert math.isnan(summary.loc[8, "leak_rate_high"])


def test_codes_that_go_missing_under_load_are_not_taken_for_a_pass():
    summary = summarize_canaries(table([*at(1, 10), *at(4, 9, blind=1), *at(8, 5, blind=5)]))
    assert summary["outcome"].tolist() == ["no leak", "no leak", "reads less"]
    assert summary["p_reads_less"].iloc[2] == pytest.approx(0.0163, abs=1e-4)
    assert math.isnan(summary["p_reads_less"].iloc[0])


def test_a_leak_counts_also_where_the_model_reads_too_few_codes():
    summary = summarize_canaries(
        table([*at(1, 1, blind=4), canary(A, "9WHF-3NRY", concurrency=4), canary(B, "none")])
    )
    assert summary["outcome"].tolist() == ["not usable", "leak"]


def test_servers_are_judged_apart_and_phases_have_rows_of_their_own():
    rows = [*at(1, 4), *at(1, 4, phase="canary_abort"), *at(1, 0, blind=4, server="ollama", role="baseline")]
    summary = summarize_canaries(table(rows))
    keys = summary[["server", "phase", "outcome"]].itertuples(index=False, name=None)
    assert list(keys) == [
        ("ollama", "canary", "not usable"),
        ("vllm-mlx", "canary", "no leak"),
        ("vllm-mlx", "canary_abort", "no leak"),
    ]


def test_without_canaries_the_summary_is_empty():
    summary = summarize_canaries(table([reply("f1")]))
    assert summary.empty
    assert tuple(summary.columns) == SUMMARY_COLUMNS
    assert canary_sentences(summary) == {}


def test_the_sentence_says_what_was_found():
    def sentence(rows) -> str:
        return canary_sentences(summarize_canaries(table(rows)))["vllm-mlx"]

    clean = [*at(1, 6), *at(4, 6), *at(4, 4, phase="canary_abort")]
    assert sentence(clean) == (
        "vllm-mlx: all 16 answers that named a code named their own image's (mixed up: below 60.2 % at each "
        "level, exact 95 % interval), at 1 and 4 in flight, also while other requests were given up."
    )
    leaking = [*at(1, 6), canary(A, "9WHF-3NRY", concurrency=4), canary(B, concurrency=4)]
    assert sentence(leaking) == (
        "vllm-mlx: 1 of 8 answers held the code of another frame (1 at 4 in flight)."
    )
    assert "canaries not usable with this model: 1 of 5 codes read at 1 in flight" in sentence(
        at(1, 1, blind=4)
    )
    assert "codes are missing under load (read: 8 of 8 at 1 in flight; 2 of 8 at 8 in flight)" in sentence(
        [*at(1, 8), *at(8, 2, blind=6)]
    )


def test_a_code_that_was_not_read_counts_as_mixed_up_in_the_bound():
    summary = summarize_canaries(table([*at(1, 10), *at(4, 9, blind=1)]))
    assert summary["outcome"].tolist() == ["no leak", "no leak"]
    assert [mixed_up_high(row) for _, row in summary.iterrows()] == [upper_bound(0, 10), upper_bound(1, 10)]
    assert canary_sentences(summary)["vllm-mlx"] == (
        "vllm-mlx: all 19 answers that named a code named their own image's; 1 named none (mixed up at "
        "worst, these counted: below 44.5 % at each level, exact 95 % interval), at 1 and 4 in flight."
    )
    silent = summarize_canaries(table([failed(A, phase="canary")]))
    assert math.isnan(mixed_up_high(silent.iloc[0]))


def test_a_level_alone_has_one_bound():
    (sentence,) = canary_sentences(summarize_canaries(table(at(4, 6)))).values()
    assert "(mixed up: below 45.9 %, exact 95 % interval), at 4 in flight" in sentence


def test_judging_does_not_change_the_table():
    requests = table([canary(A), canary(B, "KX7P-M4TC", start_s=0.5)])
    before = requests.copy(deep=True)
    list_leaks(requests)
    summarize_canaries(requests)
    pd.testing.assert_frame_equal(requests, before)

"""Whose image is an answer about: codes that prove, signs that suggest, and what is said of them."""

from pathlib import Path

import pytest

from benchmarks.laboratory import CHOSEN, Plan, judge_run, sum_runs
from poc_lib.metrics import judge_answers, proof_findings, summarize_levels, worst_pairs
from poc_lib.metrics.confusion import is_suspicious
from poc_lib.records import Finding, Frame, Reference
from tests.rows import OLLAMA, rows_of

LOOKS = {"f1": "00ff" * 4, "f2": "ff00" * 4, "f3": "00fe" * 4, "f4": "0123456789abcdef", "f5": None}
TEXTS = {
    "f1": "Fixing the rounding of invoices in ledger.py of the quill project",
    "f2": "Reading a page about tide gauges in Esbjerg and their datum",
    "f3": "Fixing the rounding of invoices in ledger.py of the quill project",
    "f4": "Talking with Ada and Grace about the release plan in a call",
    "f5": "Watching a train timetable being scrolled in a viewer",
}
OWN, OTHER, THIRD = "CH7K4M", "T2XWRP", "NF9J36"
NAN = float("nan")


def frames_of(**references: str) -> list[Frame]:
    """Four frames, of which f1 and f3 look alike, and one whose look is not known."""
    known = {name: Reference(text, None, None, None, None) for name, text in references.items()}
    return [Frame(name, 0.0, Path(), look=look, reference=known.get(name)) for name, look in LOOKS.items()]


def stamped(code: str, read: str, **changes) -> dict:
    row = {"phase": "proof", "frame_id": f"of {code}", "code": code}
    return row | {"text": f"{TEXTS['f1']} | code: {read}"} | changes


def told(frame_id: str, about: str | None = None, **changes) -> dict:
    """A request whose answer is about a frame; about its own without more."""
    return {"frame_id": frame_id, "text": TEXTS[about or frame_id]} | changes


BASELINE = [told(frame_id, **OLLAMA) for frame_id in TEXTS]


READ = {OWN: "own", f"the code is {OWN}": "own", OTHER: "other", "LLLLLL": "none", "none": "none"}
READ |= {"CH7K4N": "own", "T2XWRC": "none"}  # one misread character clears, and accuses nobody


@pytest.mark.parametrize(("read", "proof"), READ.items())
def test_an_answer_is_cleared_by_its_code_nearly_read_and_accused_by_anothers_exactly_read(read, proof):
    answers = judge_answers(rows_of(stamped(OTHER, OTHER), stamped(OWN, read)), [], [])
    assert answers["proof"].tolist() == ["own", proof]
    assert answers["donor_request"].notna().tolist() == [False, proof == "other"]


@pytest.mark.parametrize(
    ("sitting", "start_s", "together", "ago_s"),
    [(1, 9.5, True, NAN), (1, 10.9, True, NAN), (1, 4.0, False, 5.0), (0, 50.0, False, NAN)],
)
def test_a_donor_was_in_flight_at_the_same_time_or_so_long_ago(sitting, start_s, together, ago_s):
    donor = stamped(OTHER, OTHER, sitting=sitting, start_s=start_s)
    answers = judge_answers(rows_of(donor, stamped(OWN, OTHER, sitting=1, start_s=10.0)), [], [])
    (victim,) = answers[answers["request_id"] == "r1"].itertuples()
    assert (victim.code_read, victim.proof) == (OTHER, "other")
    assert (victim.donor_request, victim.donor_frame) == ("r0", f"of {OTHER}")
    assert victim.donor_in_flight == together
    assert victim.donor_ago_s == pytest.approx(ago_s, nan_ok=True)


def test_a_code_that_its_own_answer_misread_accuses_where_it_is_repeated():
    rows = rows_of(stamped(OTHER, "T2XWRC"), stamped(OWN, "T2XWRC"), stamped(THIRD, "T2XWRD"))
    answers = judge_answers(rows, [], [])
    assert answers["proof"].tolist() == ["own", "other", "none"]
    assert answers["donor_request"].dropna().tolist() == ["r0"]


def test_a_code_that_was_sent_later_or_to_another_server_accuses_nobody():
    later = judge_answers(rows_of(stamped(OWN, OTHER), stamped(OTHER, OTHER)), [], [])
    assert later["proof"].tolist() == ["none", "own"]
    elsewhere = judge_answers(rows_of(stamped(OTHER, OTHER, **OLLAMA), stamped(OWN, OTHER)), [], [])
    assert elsewhere["proof"].tolist() == ["own", "none"]


def test_a_failed_request_is_no_proof_of_anything_but_anothers_code():
    cut = {"error_class": "truncated"}
    rows = rows_of(stamped(OTHER, OTHER), stamped(OWN, OWN, **cut), stamped(THIRD, OTHER, **cut), told("f1"))
    assert judge_answers(rows, [], [])["proof"].tolist() == ["own", "", "other", ""]


def signs_of(*rows: dict, frames: list[Frame] | None = None) -> list[str]:
    return judge_answers(rows_of(*rows), frames or frames_of(), [])["sign"].tolist()


MIXED = "Fixing the rounding of invoices in ledger.py beside a page about tide gauges"
VAGUE = "A person is at work"
ALSO_VAGUE = [told(name, text=f"{TEXTS[name]}: a person is at work", **OLLAMA) for name in ("f1", "f4")]
NEAR = told("f2", text=TEXTS["f1"][:-18], **OLLAMA)
LOADED, OPEN = {"concurrency": 4}, {"phase": "open_loop"}
ALONE = [told("f1"), told("f2"), told("f4")]
SIGNS = {
    "another frame's words": ([*BASELINE, told("f1"), told("f2", "f1")], "duplicate"),
    "a frame that looks alike": ([*BASELINE, told("f1"), told("f3")], ""),
    "a frame of unknown look": ([*BASELINE, told("f1"), told("f5", "f1")], ""),
    "though nobody else spoke": ([told("f1"), told("f2", "f1")], "duplicate"),
    "in other spelling": ([*BASELINE, told("f1"), told("f2", text=f"{TEXTS['f1'].upper()}!")], "duplicate"),
    "a stock phrase": ([told("f1", text=VAGUE), told("f2", text=VAGUE)], ""),
    "borne out": ([told("f1", **OLLAMA), told("f2", "f1", **OLLAMA), told("f1"), told("f2", "f1")], ""),
    "more like the other": ([*BASELINE, told("f1", text=MIXED), told("f2", text=MIXED)], "duplicate"),
    "as like its own": ([*ALSO_VAGUE, told("f4", text=VAGUE), told("f1", text=VAGUE)], ""),
    "fits its own, too": ([BASELINE[0], NEAR, told("f1"), told("f2", "f1")], ""),
    "short": ([*BASELINE, told("f1", text="Mail"), told("f2", text="Mail")], ""),
    "stamped": ([*BASELINE, told("f1"), told("f2", "f1", phase="proof", code=OWN)], ""),
    "failed": ([*BASELINE, told("f1"), told("f2", "f1", error_class="truncated")], ""),
    "fits another frame": ([*BASELINE, told("f2", "f4")], "wrong neighbour"),
    "alone, under load": ([*ALONE, told("f2", text=TEXTS["f4"][:-10], **LOADED)], "wrong neighbour"),
    "alone, without load": ([*ALONE[1:], told("f1", text=TEXTS["f4"][:-10])], ""),
    "fits one that looks alike": ([BASELINE[0], told("f3", "f4", **OLLAMA), told("f3", "f1")], ""),
    "fits nothing": ([*BASELINE, told("f2", text="An unclear picture of several things")], ""),
    "nothing known of its own frame": ([*BASELINE[:1], *BASELINE[2:], told("f2", "f4")], ""),
    "fits what was said under load": ([*BASELINE[:3], told("f4", **OLLAMA | LOADED), told("f2", "f4")], ""),
    "fits what came in an open loop": ([*BASELINE[:3], told("f4", **OLLAMA | OPEN), told("f2", "f4")], ""),
}


@pytest.mark.parametrize(("rows", "sign"), SIGNS.values(), ids=SIGNS)
def test_the_last_answer_shows_a_sign(rows, sign):
    assert signs_of(*rows)[-1] == sign


def test_a_stored_reference_clears_an_answer_and_accuses_none():
    rows = [*BASELINE, told("f2", text="Talking with Ada and Grace about the tide gauges in a call")]
    assert signs_of(*rows)[-1] == "wrong neighbour"
    stored = frames_of(f2="Ada and Grace talk about the tide gauges in a call")
    assert signs_of(*rows, frames=stored)[-1] == ""
    assert signs_of(told("f2", "f4"), frames=frames_of(f2=TEXTS["f2"], f4=TEXTS["f4"])) == [""]


def test_a_server_that_repeats_itself_even_unloaded_is_no_yardstick_for_another():
    moved = [told("f1", "f2"), told("f2", "f4"), told("f4", "f1"), told("f5", "f1"), told("f3", "f4")]
    signs = signs_of(*BASELINE, *moved)
    assert signs[:5] == [""] * 5
    assert all(signs[5:8])


def test_a_server_that_repeats_itself_does_not_silence_what_shows_at_others():
    repeats = [told(name, "f1", server="stuck") for name in TEXTS]
    signs = signs_of(*BASELINE, *repeats, told("f1"), told("f2", text=TEXTS["f4"][:-10]))
    assert signs[:5] == [""] * 5
    assert "duplicate" in signs[5:10]
    assert signs[10:] == ["", "wrong neighbour"]


def test_a_duplicate_names_the_request_that_the_baseline_bears_out():
    answers = judge_answers(rows_of(*BASELINE, told("f2", "f1"), told("f1")), frames_of(), [])
    assert answers["sign"].tolist()[-2:] == ["duplicate", ""]
    assert answers["sign_of"].tolist()[-2:] == [f"r{len(BASELINE) + 1}", ""]


def test_two_signs_and_more_than_one_in_twenty_are_suspicious():
    counts = {(1, 6): False, (2, 24): True, (2, 40): False, (3, 40): True, (0, 0): False}
    assert {count: is_suspicious(*count) for count in counts} == counts


def findings_of(*rows: dict, frames: list[Frame] | None = None) -> list[Finding]:
    answers = judge_answers(rows_of(*rows), frames or [], [])
    return proof_findings(answers, summarize_levels(answers, {}))


def test_a_proven_mix_up_is_said_with_its_numbers_donors_and_cure():
    rows = stamped(OTHER, OTHER), stamped(OWN, OTHER), stamped(THIRD, THIRD), stamped(THIRD[::-1], OTHER)
    (found,) = findings_of(*rows)
    assert (found.about, found.state, found.server, found.level) == ("proof", "problem", "vllm", 1)
    assert found.text.startswith("2 of 4 of vllm's answers at 1 in flight were about another image: they")
    assert "in flight with it in 0 of 2 cases; in 2 it had been answered 1.0 to 5.0 s before" in found.text
    together = [
        stamped(code, OTHER, start_s=0.1 * i) for i, code in enumerate((OTHER, OWN, THIRD, OWN[::-1]))
    ]
    apart = [stamped(f"LLLLL{i}", f"LLLLL{i}", start_s=100.0 + 9 * i) for i in range(60)]
    rows = [row | {"concurrency": 4} for row in (*together, *apart)]
    (found,) = findings_of(*rows)
    assert "in flight with it in 3 of 3 cases, more often than by chance (p = 0.0001)" in found.text
    assert "--disable-prefix-cache" in found.to_do


def test_a_server_whose_answers_are_all_the_same_is_caught_with_its_yardstick():
    texts = {f"g{i}": f"Editing module_{i}.py about topic_{i} while test_{i} fails" for i in range(12)}
    looks = [f"{i * 0x1F35C1A7E96B2D48 % 2**64:016x}" for i in range(12)]
    frames = [Frame(name, 0.0, Path(), look=look) for name, look in zip(texts, looks, strict=True)]
    rows = [{"frame_id": name, "text": text, **OLLAMA} for name, text in texts.items()]
    rows += [{"frame_id": name, "text": texts["g0"], "concurrency": c} for c in (1, 4) for name in texts]
    found = findings_of(*rows, frames=frames)
    assert [(one.server, one.state) for one in found] == [("vllm", "problem")] * 2
    assert "11 of 12 of vllm" in found[0].text  # all but those to the frame that it is about
    assert "the yardstick itself is spoilt" in found[0].text


@pytest.mark.parametrize(("n_read", "state"), [(4, "ok"), (3, "warning")])
def test_a_model_that_reads_too_few_codes_alone_proves_nothing(n_read, state):
    codes = [OWN, OTHER, THIRD, OWN[::-1]]
    (found,) = findings_of(*(stamped(code, code if i < n_read else "none") for i, code in enumerate(codes)))
    assert (found.state, found.server) == (state, "vllm")
    assert f"{n_read} " in found.text


def test_the_worst_pairs_are_proven_ones_first_and_each_frame_once():
    mixed_up = told("f2", "f1"), told("f2", "f4"), stamped(OTHER, OTHER), stamped(OWN, OTHER)
    rows = [*BASELINE, told("f1"), *mixed_up]
    pairs = worst_pairs(judge_answers(rows_of(*rows), frames_of(), []))
    assert pairs["kind"].tolist() == ["code", "duplicate"]
    assert pairs["frame_id"].tolist() == [f"of {OWN}", "f2"]
    assert pairs["donor_frame"].tolist() == [f"of {OTHER}", "f1"]
    assert worst_pairs(judge_answers(rows_of(*BASELINE), frames_of(), [])).empty


def test_nothing_is_found_where_nothing_is_planted_whatever_the_reader_and_however_terse():
    for plan in (Plan(), Plan(reader=0.7), Plan(reader=0.9, terse=True)):
        found = sum_runs(plan, 3)
        assert (found["false proofs"], found["false signs"], found["elsewhere"]) == (0, 0, 0)


@pytest.mark.parametrize("level", [CHOSEN, None])
@pytest.mark.parametrize(
    ("fault", "share"), [("swap", 0.05), ("first", 0.2), ("previous", 1.0), ("leak", 0.5)]
)
def test_planted_mix_ups_are_proven_with_their_donors_at_their_level(fault, share, level):
    found = judge_run(Plan(fault, share, level), 1)
    assert found["proven"] == found["right donor"] == found["stamped"] > 0
    assert (found["by codes"], found["by either"], found["elsewhere"], found["false proofs"]) == (1, 1, 0, 0)
    assert found["signs"] >= 0.7 * found["plain"]


def test_a_weak_reader_proves_what_it_reads_and_names_no_wrong_donor():
    found = judge_run(Plan("swap", 0.2, None, reader=0.7), 1)
    assert 0.5 * found["stamped"] < found["proven"] == found["right donor"] < found["stamped"]


def test_all_that_an_answer_says_counts_however_terse_its_description():
    found = judge_run(Plan("swap", 0.2, terse=True), 1)
    assert (found["elsewhere"], found["false signs"]) == (0, 0)
    assert found["signs"] >= 0.9 * found["plain"]

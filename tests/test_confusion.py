"""Whose image is an answer about: codes that prove, signs that suggest, and what is said of them."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from benchmarks.laboratory import CHOSEN, Plan, judge_run, sum_runs
from poc_lib.metrics import judge_answers, proof_findings, summarize_levels, worst_pairs
from poc_lib.metrics.confusion import donors_in_flight, is_suspicious
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


def frames_of(**references: str) -> list[Frame]:
    """Four frames, of which f1 and f3 look alike, and one whose look is not known."""
    known = {name: Reference(text, None, None, None, None) for name, text in references.items()}
    return [Frame(name, 0.0, Path(), look=look, reference=known.get(name)) for name, look in LOOKS.items()]


def stamped(code: str, read: str, **changes) -> dict:
    return {
        "phase": "proof",
        "frame_id": f"of {code}",
        "code": code,
        "text": f"{TEXTS['f1']} | code: {read}",
    } | changes


def told(frame_id: str, about: str | None = None, **changes) -> dict:
    """A request whose answer is about a frame; about its own without more."""
    return {"frame_id": frame_id, "text": TEXTS[about or frame_id]} | changes


BASELINE = [told(frame_id, **OLLAMA) for frame_id in TEXTS]


@pytest.mark.parametrize(
    ("read", "proof"),
    [
        (OWN, "own"),
        (f"the code is {OWN}", "own"),
        ("CH7K4N", "own"),  # one misread character clears
        (OTHER, "other"),
        ("T2XWRC", "none"),  # and accuses nobody
        ("LLLLLL", "none"),
        ("none", "none"),
    ],
)
def test_an_answer_is_cleared_by_its_code_nearly_read_and_accused_by_anothers_exactly_read(read, proof):
    answers = judge_answers(rows_of(stamped(OTHER, OTHER), stamped(OWN, read)), [], [])
    assert answers["proof"].tolist() == ["own", proof]
    assert answers["donor_request"].notna().tolist() == [False, proof == "other"]


@pytest.mark.parametrize(
    ("donor", "together", "ago_s"),
    [
        ({"start_s": 9.5}, True, None),
        ({"start_s": 10.9}, True, None),
        ({"start_s": 4.0}, False, 5.0),
        ({"sitting": 0, "start_s": 50.0}, False, None),
    ],
)
def test_a_donor_was_in_flight_at_the_same_time_or_so_long_ago(donor, together, ago_s):
    rows = rows_of(
        stamped(OTHER, OTHER, **{"sitting": 1} | donor),
        stamped(OWN, OTHER, sitting=1, start_s=10.0),
    )
    victim = judge_answers(rows, [], []).set_index("request_id").loc["r1"]
    assert victim[["code_read", "proof", "donor_request", "donor_frame"]].tolist() == [
        OTHER,
        "other",
        "r0",
        f"of {OTHER}",
    ]
    assert bool(victim["donor_in_flight"]) is together
    assert victim["donor_ago_s"] == pytest.approx(float("nan") if ago_s is None else ago_s, nan_ok=True)


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


SIGNS = {
    "another frame's words": ([*BASELINE, told("f1"), told("f2", "f1")], "duplicate"),
    "a frame that looks alike": ([*BASELINE, told("f1"), told("f3")], ""),
    "a frame of unknown look": ([*BASELINE, told("f1"), told("f5", "f1")], ""),
    "long, though nobody else spoke": ([told("f1"), told("f2", "f1")], "duplicate"),
    "borne out": ([told("f1", **OLLAMA), told("f2", "f1", **OLLAMA), told("f1"), told("f2", "f1")], ""),
    "short": ([told("f1", text="coding"), told("f2", text="coding")], ""),
    "failed": ([*BASELINE, told("f1"), told("f2", "f1", error_class="truncated")], ""),
    "fits another frame": ([*BASELINE, told("f2", "f4")], "wrong neighbour"),
    "fits one that looks alike": ([*BASELINE, told("f3", "f1")], ""),
    "fits nothing": ([*BASELINE, told("f2", text="An unclear picture of several things")], ""),
    "nothing known of its own frame": ([*BASELINE[:1], *BASELINE[2:], told("f2", "f4")], ""),
}


@pytest.mark.parametrize(("rows", "sign"), SIGNS.values(), ids=SIGNS)
def test_the_last_answer_shows_a_sign(rows, sign):
    assert signs_of(*rows)[-1] == sign


def test_a_stored_reference_clears_an_answer_and_accuses_none():
    rows = [*BASELINE, told("f2", "f4")]
    assert signs_of(*rows, frames=frames_of(f2=TEXTS["f4"]))[-1] == ""
    assert signs_of(told("f2", "f4"), frames=frames_of(f2=TEXTS["f2"], f4=TEXTS["f4"])) == [""]
    rows[-1] = told(
        "f2", text="Ada and Grace talk about tide gauges and a release plan while the call drops out"
    )
    assert signs_of(*rows)[-1] == "wrong neighbour"
    assert signs_of(*rows, frames=frames_of(f2="Ada and Grace talk about tide gauges in a call"))[-1] == ""


def test_words_that_many_frames_share_are_no_evidence_unless_the_baseline_tells_the_frames_apart():
    short = [told(frame_id, text="Reading in Mail") for frame_id in ("f1", "f2")]
    alike = [told(name, text=f"Reading a mail of {name} in Mail", **OLLAMA) for name in ("f1", "f2")]
    assert signs_of(*alike, *BASELINE[2:], *short)[-2:] == ["", ""]
    assert sorted(signs_of(*BASELINE, *short)[-2:]) == ["", "duplicate"]


def test_a_word_that_fits_most_of_its_frames_is_no_evidence_where_it_does_not():
    said = {
        "f1": "coding a ledger",
        "f2": "coding about tides",
        "f4": "a call",
        "x1": "mail",
        "x2": "map",
        "x3": "shop",
    }
    baseline = [told("f1", text=text, **OLLAMA) | {"frame_id": name} for name, text in said.items()]
    word = [told(name, text="coding") for name in ("f1", "f2", "f4")]
    assert signs_of(*baseline, *word)[-3:] == ["", "", ""]


def test_an_answer_is_never_its_own_yardstick():
    own = [told(name, block=block) for block in range(4) for name in TEXTS if block == 0 or name != "f2"]
    reworded = TEXTS["f4"].replace("in a call", "of next week")
    assert signs_of(*BASELINE, *own, told("f2", text=reworded, block=4))[-1] == "wrong neighbour"


def test_a_server_that_repeats_itself_even_unloaded_is_no_yardstick_for_another():
    moved = [told("f1", "f2"), told("f2", "f4"), told("f4", "f1"), told("f5", "f1"), told("f3", "f4")]
    signs = signs_of(*BASELINE, *moved)
    assert signs[:5] == [""] * 5
    assert all(signs[5:8])


def test_a_duplicate_names_the_request_that_the_baseline_bears_out():
    answers = judge_answers(rows_of(*BASELINE, told("f2", "f1"), told("f1")), frames_of(), [])
    assert answers["sign"].tolist()[-2:] == ["duplicate", ""]
    assert answers["sign_of"].tolist()[-2:] == [f"r{len(BASELINE) + 1}", ""]


@pytest.mark.parametrize(
    ("n_signs", "n_texts", "suspicious"),
    [(1, 6, False), (2, 24, True), (2, 40, False), (3, 40, True), (0, 0, False)],
)
def test_two_signs_and_more_than_one_in_twenty_are_suspicious(n_signs, n_texts, suspicious):
    assert is_suspicious(n_signs, n_texts) is suspicious


def test_donors_in_flight_together_are_held_against_drawn_order():
    wave = [
        stamped(code, OTHER, start_s=i // 2 * 2.0, concurrency=2)
        for i, code in enumerate([OTHER, OWN, THIRD])
    ]
    answers = judge_answers(rows_of(*wave), [], [])
    victims = answers[answers["proof"] == "other"]
    together, p_value = donors_in_flight(answers, victims)
    assert (len(victims), together) == (2, 1)
    assert p_value == pytest.approx(binomtest(1, 2, 1 / 2, "greater").pvalue)


def findings_of(*rows: dict, frames: list[Frame] | None = None) -> list[Finding]:
    answers = judge_answers(rows_of(*rows), frames or [], [])
    return proof_findings(answers, summarize_levels(answers, {}))


def test_a_proven_mix_up_is_said_with_its_numbers_donors_and_cure():
    rows = stamped(OTHER, OTHER), stamped(OWN, OTHER), stamped(THIRD, THIRD), stamped(THIRD[::-1], OTHER)
    (found,) = findings_of(*rows)
    assert (found.about, found.state, found.server, found.level) == ("proof", "problem", "vllm", 1)
    assert found.text.startswith("2 of 4 of vllm's answers at 1 in flight were about another image: they")
    assert "in flight with it in 0 of 2 cases; in 2 it had been answered 1.0 to 5.0 s before" in found.text
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
    rows = [
        *BASELINE,
        told("f1"),
        told("f2", "f1"),
        told("f2", "f4"),
        stamped(OTHER, OTHER),
        stamped(OWN, OTHER),
    ]
    pairs = worst_pairs(judge_answers(rows_of(*rows), frames_of(), []))
    assert pairs["kind"].tolist() == ["code", "duplicate"]
    assert pairs["frame_id"].tolist() == [f"of {OWN}", "f2"]
    assert pairs["donor_frame"].tolist() == [f"of {OTHER}", "f1"]
    assert worst_pairs(judge_answers(rows_of(*BASELINE), frames_of(), [])).empty


def test_nothing_is_found_where_nothing_is_planted_whatever_the_reader_and_however_terse():
    for plan in (Plan(), Plan(reader=0.7), Plan(reader=0.9, terse=True)):
        found = sum_runs(plan, 3)
        assert (found["false proofs"], found["elsewhere"]) == (0, 0)
        assert found["false signs"] <= 3


@pytest.mark.parametrize("level", [CHOSEN, None])
@pytest.mark.parametrize(
    ("fault", "share"), [("swap", 0.05), ("first", 0.2), ("previous", 1.0), ("leak", 0.5)]
)
def test_planted_mix_ups_are_proven_with_their_donors_at_their_level(fault, share, level):
    found = judge_run(Plan(fault, share, level), 1)
    assert found["proven"] == found["right donor"] == found["stamped"] > 0
    assert (found["by codes"], found["by either"], found["elsewhere"], found["false proofs"]) == (1, 1, 0, 0)
    assert found["signs"] >= 0.7 * found["plain"]


def test_one_answer_for_all_is_found_by_its_signs_alone():
    found = judge_run(Plan("fixed", 1.0), 1)
    assert (found["proven"], found["by either"], found["elsewhere"]) == (0, 1, 0)
    assert found["signs"] > 0.9 * found["plain"]


def test_a_weak_reader_proves_what_it_reads_and_names_no_wrong_donor():
    found = judge_run(Plan("swap", 0.2, None, reader=0.7), 1)
    assert 0.5 * found["stamped"] < found["proven"] == found["right donor"] < found["stamped"]

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.simulator.faults import Fault, active_fault, crash_is_due, draw_faults, parse_fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("wrong_image:0.1", Fault("wrong_image", share=0.1)),
        ("wrong_image:0.1@4", Fault("wrong_image", share=0.1, min_in_flight=4)),
        ("stall:1", Fault("stall", share=1.0)),
        ("crash_after:20", Fault("crash_after", after_requests=20)),
    ],
)
def test_a_fault_is_read_from_its_text(text, fault):
    assert parse_fault(text) == fault


def test_an_unknown_fault_names_the_nearest():
    with pytest.raises(SetupProblem, match="unknown fault 'wrong_imge': did you mean 'wrong_image'"):
        parse_fault("wrong_imge:0.1")


def test_an_unknown_fault_like_no_other_names_them_all():
    with pytest.raises(SetupProblem, match=r"the known ones are wrong_image, .*crash_after"):
        parse_fault("zzz:1")


@pytest.mark.parametrize(
    "text",
    [
        "stall",
        "stall:",
        "stall:x",
        "stall:1.5",
        "stall:-0.1",
        "stall:nan",
        "stall:0.1@0",
        "stall:0.1@",
        "stall:1@x",
    ],
)
def test_a_share_or_level_out_of_range_says_what_is_expected(text):
    with pytest.raises(SetupProblem, match="expected stall:SHARE"):
        parse_fault(text)


@pytest.mark.parametrize("text", ["crash_after", "crash_after:0.5", "crash_after:-1"])
def test_a_crash_wants_a_number_of_requests(text):
    with pytest.raises(SetupProblem, match="expected crash_after:N"):
        parse_fault(text)


def test_the_share_of_the_requests_is_hit():
    faults = (Fault("empty", share=0.2),)
    hits = [bool(draw_faults(faults, 0, "sha", count)) for count in range(2000)]
    assert 0.17 < sum(hits) / len(hits) < 0.23
    assert hits == [bool(draw_faults(faults, 0, "sha", count)) for count in range(2000)]


def test_another_seed_hits_other_requests():
    faults = (Fault("empty", share=0.5),)
    one, other = ([bool(draw_faults(faults, seed, "sha", n)) for n in range(50)] for seed in (0, 1))
    assert one != other


def test_a_level_keeps_a_fault_away_from_fewer_requests_in_flight():
    drawn = (Fault("wrong_image", min_in_flight=4), Fault("empty"))
    names = ("wrong_image", "empty")
    assert active_fault(drawn, names, 3) == "empty"
    assert active_fault(drawn, names, 4) == "wrong_image"
    assert active_fault(drawn, ("busy",), 9) is None


def test_a_crash_is_due_after_its_requests_and_never_drawn():
    faults = (Fault("crash_after", after_requests=2),)
    assert [crash_is_due(faults, number) for number in (1, 2, 3, 4)] == [False, False, True, True]
    assert draw_faults(faults, 0, "sha", 0) == ()

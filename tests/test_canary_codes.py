import itertools
import re

import pytest

from poc_lib.canary.codes import ALPHABET, canary_id, code_of, edits, is_canary, make_codes, shown_code
from poc_lib.errors import SetupProblem


def test_codes_are_at_least_three_edits_apart_and_of_one_length():
    codes = make_codes(80, seed=1)
    assert len(set(codes)) == 80
    assert {len(code) for code in codes} == {8}
    assert min(edits(a, b) for a, b in itertools.combinations(codes, 2)) >= 3


def test_codes_that_hardly_fit_are_still_kept_apart():
    codes = make_codes(40, seed=0, length=5)
    assert min(edits(a, b) for a, b in itertools.combinations(codes, 2)) >= 3


def test_no_code_has_a_look_alike_or_reads_as_a_word():
    assert not set(ALPHABET) & set("01256LISZBGOQDJUVAE8")
    for code in make_codes(80, seed=2):
        assert set(code) <= set(ALPHABET)
        assert len(re.findall(r"\d", code)) >= 2
        assert len(re.findall(r"[A-Z]", code)) >= 2


def test_the_same_seed_gives_the_same_codes_and_fewer_are_the_first_of_more():
    assert make_codes(6, seed=3) == make_codes(12, seed=3)[:6]
    assert make_codes(6, seed=3) != make_codes(6, seed=4)
    assert make_codes(0, seed=3) == []


@pytest.mark.parametrize(("n", "length"), [(500, 4), (1, 1), (1, 17)])
def test_codes_that_do_not_exist_are_refused_in_one_line(n, length):
    with pytest.raises(SetupProblem, match=f"canary codes of {length} characters"):
        make_codes(n, seed=0, length=length)


def test_a_frame_id_holds_its_code():
    assert code_of(canary_id("KX7PM4TC")) == "KX7PM4TC"
    assert is_canary("canary-KX7PM4TC")
    assert not is_canary("f1")
    assert shown_code("KX7PM4TC") == "KX7P-M4TC"
    with pytest.raises(ValueError, match="'f1' is no canary"):
        code_of("f1")

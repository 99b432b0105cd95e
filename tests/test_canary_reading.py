import pytest

from poc_lib.canary.codes import make_codes
from poc_lib.canary.reading import Found, find_codes

OWN, OTHER = "KX7PM4TC", "9WHF3NRY"
CODES = [OWN, OTHER]


@pytest.mark.parametrize(
    "text",
    [
        "description: an editor | activity: coding | code: KX7P-M4TC",
        "code: kx7p-m4tc",
        "K X 7 P M 4 T C",
        "KX7P\nM4TC",
        "[K, X, 7, P | M, 4, T, C]",
        "The check code is **KX7P M4TC**.",
        "KX7P–M4TC.",
        "xxKX7PM4TCxx",
        "ＫＸ７Ｐ-Ｍ４ＴＣ",
    ],
)
def test_a_code_is_found_however_it_is_spelled(text):
    assert find_codes(text, CODES, OWN) == [Found(OWN, 0)]


@pytest.mark.parametrize(
    "misread", ["KX7P-M4TG", "KX1P-M4TC", "X7P-M4TC", "KX7P-M4T", "KX7PP-M4TC", "KX7-M4TC"]
)
def test_one_character_misread_missing_or_too_many_is_still_that_code(misread):
    assert find_codes(f"code: {misread}", CODES, OWN) == [Found(OWN, 1)]
    assert find_codes(f"code: {misread}", CODES, OTHER) == [Found(OWN, 1)]


@pytest.mark.parametrize(
    "text", ["code: KX1P-M4TG", "code: none", "", None, "code: KX7P", "7PKX-TCM4", "KX13M4TC"]
)
def test_two_misread_characters_or_half_a_code_are_no_code(text):
    assert find_codes(text, CODES, OWN) == []


def test_all_codes_of_an_answer_are_found_exact_ones_first():
    text = "KX7P-M4TG and later 9WHF-3NRY, again KX7P M4TG"
    assert find_codes(text, CODES, OWN) == [Found(OTHER, 0), Found(OWN, 1)]
    assert find_codes("KX7P-M4TC KX7P-M4TG", CODES, OWN) == [Found(OWN, 0)]


def test_a_codes_end_and_the_words_around_it_do_not_pass_for_another_code():
    shifted = "EKX7PMNT"  # three edits from "KX7PM4TC", one from a stretch of "code: KX7PM4TC"
    assert find_codes("code: KX7PM4TC", [OWN, shifted], OWN) == [Found(OWN, 0)]
    assert find_codes("code: KX7PM4TC", [OWN, shifted], shifted) == [Found(OWN, 0)]


def test_ordinary_answers_of_any_length_hold_no_code():
    words = "Editing file_9473.py in Terminal, tests 3 of 47 passed; commit 7f3c49 at 19:43, XMPP chat. " * 40
    assert find_codes(words, make_codes(64, seed=0)) == []

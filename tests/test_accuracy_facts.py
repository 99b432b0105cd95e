import math

import pytest

from poc_lib.accuracy.facts import fidelity, read_facts, share_held
from poc_lib.accuracy.names import ALIASES, fold_app, fold_apps, fold_name, fold_topics


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("edits src/poc/frames.py:42 and .gitignore", {"frames.py", "42", ".gitignore"}),
        ("Node.js, main.c and x.py in /usr/local/lib", {"node.js", "main.c", "x.py", "lib"}),
        ("2 failed, 1,024 rows at 10:42, 85% of 3.14", {"2", "1024", "10:42", "85", "3.14"}),
        ("KeyError in load_rows of iTerm2, Q3, v1.2", {"keyerror", "load_rows", "iterm2", "q3", "v1.2"}),
        ("see https://www.GitHub.com/a/b/.", {"github.com", "github.com/a/b"}),
        ("on localhost:8000/docs", {"8000"}),
        ('a slide "Q3  Roadmap" and “two words”', {"q3", "q3 roadmap", "two words"}),
        ("the file 'notes' and `run it`", {"notes", "run it"}),
        ("It doesn't end. Next, e.g. the user's review and/or read/write", set()),
        ("Two people read a slide in a Zoom call", set()),
    ],
)  # fmt: skip
def test_file_names_numbers_identifiers_addresses_and_quotes_are_found(text, named):
    assert read_facts(text).named == named


def test_precision_and_recall_are_over_the_checkable_tokens():
    answer = read_facts("frames.py shows 2 failed and a TypeError")
    reference = read_facts("In frames.py pytest reports 2 failed of 9, a KeyError in load_rows")
    met = fidelity(answer, reference)
    assert (met.n_answer, met.n_reference) == (3, 5)
    assert (met.precision, met.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 5))
    assert met.f1 == pytest.approx(2 * 2 / (3 + 5))


def test_a_quoted_string_need_not_be_quoted_on_the_other_side():
    met = fidelity(
        read_facts('the slide "Quarterly roadmap"'), read_facts("slide titled quarterly  Roadmap, 7")
    )
    assert (met.precision, met.recall) == (1.0, 0.0)


def test_a_reference_without_such_tokens_confirms_none_and_an_answer_without_has_no_precision():
    nothing = fidelity(read_facts("main.py"), read_facts("an editor"))
    assert all(math.isnan(value) for value in (nothing.precision, nothing.recall, nothing.f1))
    assert nothing.n_answer == 1
    left_out = fidelity(read_facts("an editor"), read_facts("main.py"))
    assert math.isnan(left_out.precision)
    assert (left_out.recall, left_out.f1) == (0.0, 0.0)
    assert math.isnan(share_held(frozenset(), read_facts("main.py")))


def test_a_number_is_not_found_inside_another_one():
    assert share_held(read_facts("42").named, read_facts("1420 and 4.2 and x42")) == 0.0


@pytest.mark.parametrize(
    "name", ["VS Code", "Visual Studio Code", "Code", "vs-code", "Code.app", "VS Code 1.93"]
)
def test_spellings_of_one_app_are_one(name):
    assert fold_app(name) == "visual studio code"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Chrome", "Google Chrome", True),
        ("iTerm2", "iTerm", True),
        ("iTerm 2", "iTerm", True),
        ("Xcode 16.2", "xcode", True),
        ("zoom.us", "Zoom", True),
        ("C++", "C", False),
        ("Terminal", "iTerm", False),
        ("1Password", "2048", False),
    ],
)
def test_only_the_same_product_folds_together(one, other, same):
    assert (fold_app(one) == fold_app(other)) is same


def test_a_topic_keeps_its_version_and_a_missing_list_stays_missing():
    assert fold_topics(["Python 3.12", "GPT-4"]) == {"python 3 12", "gpt 4"}
    assert fold_apps(None) is None
    assert fold_apps(float("nan")) is None
    assert fold_apps([]) == frozenset()


def test_every_alias_is_written_as_names_are_folded_and_leads_to_an_end():
    assert all(fold_name(canonical) == canonical for canonical in ALIASES.values())
    assert not set(ALIASES) & set(ALIASES.values())

import itertools
import re

from poc_lib.canvas import SIZE, font, wrap
from poc_lib.demo.code import CODE_SIZE
from poc_lib.demo.script import read_day

SHOTS = read_day()


def _texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_what_a_description_quotes_is_drawn_in_its_picture():
    for shot in SHOTS:
        assert any(shot.visible in _squeezed(text) for text in _texts(shot.state)), shot.visible


def test_a_step_changes_the_picture_and_leaves_the_step_before_as_it_was():
    for before, after in itertools.pairwise(SHOTS):
        if before.scene == after.scene:
            assert before.state != after.state
    first = SHOTS[0].state["lines"]
    assert first[-1].strip() == "level = station.mean_level"


def test_two_wordings_of_an_action_differ_and_no_action_occurs_twice():
    assert all(shot.action != shot.same_action for shot in SHOTS)
    assert len({shot.action for shot in SHOTS}) == len(SHOTS)


def test_code_and_shell_lines_fit_into_their_windows():
    advance = font(CODE_SIZE, mono=True).getlength("m")
    for shot in SHOTS:
        if shot.kind in ("editor", "terminal"):
            left, _, right, _ = shot.state.get("area", (110, 0, 914, 0))
            width = SIZE[0] - 350 if shot.kind == "editor" else right - left - 26
            prompt = len(shot.state.get("prompt", ""))
            for line in shot.state["lines"]:
                longest = len(line) - 2 + prompt + 1 if line.startswith("$ ") else len(line)
                assert longest * advance <= width, line


def test_every_drawn_character_has_a_glyph():
    sans = font(12)
    missing = sans.getmask("\uf8fe").getbbox(), bytes(sans.getmask("\uf8fe"))
    for shot in SHOTS:
        if shot.kind in ("editor", "terminal"):
            continue
        for character in set("".join(_texts(shot.state))) - set(" \n"):
            mask = sans.getmask(character)
            assert (mask.getbbox(), bytes(mask)) != missing, character


def test_words_are_wrapped_to_the_width_and_none_is_lost():
    words = "Clean the Fresnel lens every four weeks, and after each storm with sea spray"
    lines = wrap(words, 120, 12)
    assert " ".join(lines) == words
    assert all(font(12).getlength(line) <= 120 for line in lines)

"""The stamped code: drawn apart, read back after JPEG, found in whatever dress an answer gives it."""

import io
import random
from itertools import combinations

import numpy as np
import pytest
from PIL import Image
from rapidfuzz.distance import Levenshtein

from demo.model import read_strip
from poc_lib.client import stamp
from poc_lib.client.stamp import draw_codes, judge_code, proof_prompt, stamp_image
from poc_lib.records import SetupProblem

OWN, OTHER = "X7K9CF", "TDRM34"
FORM = "description: <what> | activity: <one word> | apps: [<each>] | topics: [<each>]"


def plain(grey: int, size: tuple[int, int] = (1024, 576)) -> Image.Image:
    return Image.new("RGB", size, (grey,) * 3)


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def as_jpeg(image: Image.Image) -> Image.Image:
    image.save(data := io.BytesIO(), "JPEG", quality=80)
    return Image.open(data)


def test_the_seed_decides_codes_three_edits_apart_from_each_other_and_from_those_taken():
    first = draw_codes(200, "seed")
    assert draw_codes(200, "seed") == first != draw_codes(200, "another seed")
    more = draw_codes(300, "more", taken=first)
    assert len(more) == 300
    assert all(len(code) == 6 and set(code) <= set(stamp.ALPHABET) for code in more)
    assert min(Levenshtein.distance(a, b) for a, b in combinations(first + more, 2)) >= 3
    assert not set(stamp.ALPHABET) & set("0OQ1I5S8BUAEY"), "look-alikes and vowels stay out"


def test_more_codes_than_there_is_room_for_and_frames_too_narrow_are_refused_in_one_line(monkeypatch):
    with pytest.raises(SetupProblem, match="150 px wide, a code needs 192"):
        stamp_image(plain(9, (150, 150)), OWN)
    monkeypatch.setattr(stamp, "ALPHABET", "XY")
    with pytest.raises(SetupProblem, match="use fewer frames"):
        draw_codes(100, "crowded")


SIZES = [((1024, 576), 32), ((192, 40), 32), ((1500, 90), 32), ((3000, 9), 96)]


@pytest.mark.parametrize(("size", "unit"), SIZES)
def test_the_strip_stands_above_the_frame_and_every_pixel_of_the_frame_stays(size, unit):
    frame = noise(size)
    stamped = np.asarray(stamp_image(frame, OWN))
    assert stamped.shape == (size[1] + unit, size[0], 3)
    assert np.array_equal(stamped[unit:], np.asarray(frame))
    rest = stamped[:unit, 6 * unit :]
    assert rest.size == 0 or (rest == rest[0, 0]).all(), "the rest of the strip is plain"


@pytest.mark.parametrize(("grey", "ground"), [(250, 245), (140, 245), (110, 16), (5, 16)])
def test_the_strip_is_light_over_a_light_top_and_dark_over_a_dark_one(grey, ground):
    frame = plain(255 - grey)
    frame.paste(plain(grey, (1024, 32)), (0, 0))  # the top counts, not the whole frame
    strip = np.asarray(stamp_image(frame, OWN), dtype=int)[:32]
    assert strip[0, -1].tolist() == [ground] * 3
    assert np.abs(strip - ground).max() > 200, "the ink stands out from its ground"


def test_each_character_stays_inside_its_own_square():
    strip = np.asarray(stamp_image(plain(255), "WMWMWM").convert("L"), dtype=int)[:32, :192]
    cells = strip.reshape(32, 6, 32)
    inked = np.abs(cells - 245) > 20
    assert inked.any(axis=(0, 2)).all()
    assert not inked[:, :, [0, -1]].any()
    assert not inked[[0, -1]].any()


def test_the_code_is_read_back_from_jpeg_at_every_size_on_every_ground_and_in_every_colour_mode():
    rng = random.Random(3)
    for i, code in enumerate(draw_codes(60, "read")):
        size = (rng.choice((400, 768, 1024, 1600, 2200)), 300)
        frame = noise(size, i) if i % 3 == 0 else plain(rng.randrange(256), size)
        mode = ("RGB", "L", "RGBA", "P", "1")[i % 5]
        assert read_strip(as_jpeg(stamp_image(frame.convert(mode), code))) == code
    for frame in (plain(200), noise((1024, 576)), plain(90, (100, 60)), stamp_image(plain(9), "@#$%&?")):
        assert read_strip(frame) is None


@pytest.mark.parametrize(
    "text",
    [
        "description: an editor | activity: coding | apps: [VS Code] | topics: [a] | code: x7k9cf",
        "**Code:** `X7K-9CF`.",
        "code: X 7 K 9 C F",
        "code: [x7k9cf] (in the strip)",
        '{"description": "an editor", "code": "X7K9CF"}',
        "Code:\n\n**X7K9CF**",
        "VS Code: main.py | code: X7K9CF | code: ",
        "code: XTK9CF, one character misread",
        "The strip reads X7K9CF above a terminal.",
    ],
)
def test_an_answer_with_its_own_code_in_any_dress_is_its_own(text):
    assert judge_code(text, OWN, [OTHER]).whose == "own"


@pytest.mark.parametrize("read", ["TDRM34", "TDRN34"])
def test_an_answer_with_another_code_names_it_even_when_one_character_is_misread(read):
    assert judge_code(f"an editor | code: {read}", OWN, [OWN, OTHER]) == (read, "other", OTHER)


def test_an_answer_without_a_known_code_proves_nothing():
    for text in (
        "an editor | code: none",
        "a text without any",
        "code: X7K",
        "X7K9CF and TDRM34 can be read",
    ):
        assert judge_code(text, OWN, [OTHER]) == (None, "none", None)
    for read in ("XT99CF", "TDRXX4"):  # two misread: nobody's
        assert judge_code(f"code: {read}", OWN, [OTHER]) == (read, "none", None)


def test_the_app_s_form_gets_the_code_as_its_last_field_and_any_other_prompt_as_a_last_line():
    prompt = f"Describe this.\n\n{FORM}\n\nThe activity is one of: coding, other.\n"
    addition = f"{stamp.PROOF_FIELD}\n{stamp.PROOF_SENTENCE}"
    assert proof_prompt(prompt) == prompt.replace(FORM, FORM + addition)
    asked = f"What is this?\n\nEnd with one more line, {stamp.PROOF_FIELD[3:]}\n{stamp.PROOF_SENTENCE}\n"
    assert proof_prompt("What is this?\n") == proof_prompt("What is this?") == asked

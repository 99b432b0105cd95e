import itertools

import numpy as np
import pytest
from PIL import Image, ImageChops

from poc_lib.canary import drawing, prepare
from poc_lib.canary.codes import code_of, make_codes
from poc_lib.canary.drawing import draw_canary
from poc_lib.canary.prepare import canary_size, prepare_canaries
from poc_lib.errors import SetupProblem
from poc_lib.looks import LOOKS_DIFFERENT_BITS, hash_distance, visual_hash
from tests.builders import frame


def test_a_drawing_depends_on_nothing_but_its_arguments():
    first = draw_canary("KX7PM4TC", 0, 512, 288)
    assert first.size == (512, 288)
    assert ImageChops.difference(first, draw_canary("KX7PM4TC", 0, 512, 288)).getbbox() is None
    assert ImageChops.difference(first, draw_canary("KX7PM4TC", 1, 512, 288)).getbbox() is not None


@pytest.mark.parametrize("size", [(1024, 576), (1920, 1080), (1024, 665), (600, 900), (1280, 400)])
def test_the_code_is_whole_large_and_of_high_contrast_at_every_size(size, monkeypatch):
    width, height = size
    shown = draw_canary("KX7PM4TC", 3, width, height)
    monkeypatch.setattr(drawing, "shown_code", lambda code: "9WHF-3NRY")
    other = draw_canary("KX7PM4TC", 3, width, height)
    left, top, right, bottom = ImageChops.difference(shown, other).getbbox()
    assert right - left > 0.28 * width, "nothing but the code differs, and it is large"
    assert bottom - top < 0.09 * width, "on one line"
    assert left > 0
    assert right < width
    assert 0.03 * height < top
    assert bottom < height
    grey = np.asarray(shown.convert("L"))[top:bottom, left:right]
    assert np.ptp(grey) > 150


def test_canaries_look_different_and_say_their_code_in_their_id(tmp_path):
    frames = prepare_canaries(tmp_path / "canaries", 12, seed=0, width=512, height=288)
    assert [code_of(one.frame_id) for one in frames] == make_codes(12, seed=0)
    hashes = [visual_hash(Image.open(one.image_path)) for one in frames]
    assert min(hash_distance(*pair) for pair in itertools.combinations(hashes, 2)) >= LOOKS_DIFFERENT_BITS
    for one in frames:
        assert Image.open(one.image_path).size == (one.width, one.height) == (512, 288)
        assert Image.open(one.image_path).format == "JPEG"
        assert one.image_problem is None
        assert one.reference is None


def test_canaries_that_lie_there_are_kept_and_more_can_be_added(tmp_path):
    few = prepare_canaries(tmp_path, 3, seed=5, width=256, height=144)
    stamps = [one.image_path.stat().st_mtime_ns for one in few]
    more = prepare_canaries(tmp_path, 5, seed=5, width=256, height=144)
    assert more[:3] == few
    assert [one.image_path.stat().st_mtime_ns for one in more[:3]] == stamps
    assert not list(tmp_path.glob("*.part"))


def test_another_size_gets_files_of_its_own(tmp_path):
    small = prepare_canaries(tmp_path, 1, seed=0, width=256, height=144)
    large = prepare_canaries(tmp_path, 1, seed=0, width=512, height=288)
    assert small[0].image_path != large[0].image_path
    assert small[0].frame_id == large[0].frame_id


def test_pictures_that_cannot_be_told_apart_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "draw_canary", lambda code, seed, *size: Image.new("RGB", size, "#404040"))
    with pytest.raises(SetupProblem, match="no 2 canaries of 64 × 48 pixels that look different"):
        prepare_canaries(tmp_path, 2, seed=0, width=64, height=48)


def test_canaries_take_the_most_common_size_of_the_frames():
    sizes = [(1024, 576), (1920, 1080), (1024, 576), (None, None)]
    frames = [frame(f"f{i}", width=w, height=h) for i, (w, h) in enumerate(sizes)]
    assert canary_size(frames) == (1024, 576)
    assert canary_size([]) == (1024, 576)

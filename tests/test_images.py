import pytest
from PIL import Image

from poc_lib.images import scale_image
from tests.builders import frame


@pytest.fixture
def shot(tmp_path):
    path = tmp_path / "shot.png"
    Image.new("RGBA", (400, 225), (0, 90, 180, 255)).save(path)
    return frame("f1", image_path=path, width=400, height=225)


def test_a_wide_image_is_scaled_into_the_folder(shot, tmp_path):
    scaled = scale_image(shot, 200, tmp_path / "scaled")
    assert scaled.image_path == tmp_path / "scaled" / "f1.jpg"
    assert (scaled.width, scaled.height) == (200, 112)
    with Image.open(scaled.image_path) as image:
        assert (image.size, image.format) == ((200, 112), "JPEG")
    assert (scaled.frame_id, scaled.reference) == (shot.frame_id, shot.reference)


def test_the_stored_image_stays_as_it_was(shot, tmp_path):
    before = shot.image_path.read_bytes()
    scale_image(shot, 100, tmp_path / "scaled")
    assert shot.image_path.read_bytes() == before


@pytest.mark.parametrize("width", [400, 1024])
def test_an_image_is_never_scaled_up(shot, tmp_path, width):
    assert scale_image(shot, width, tmp_path / "scaled") is shot
    assert not (tmp_path / "scaled").exists()


def test_scaling_again_gives_the_same_bytes(shot, tmp_path):
    """A continued run compares the images' hashes."""
    first = scale_image(shot, 200, tmp_path / "scaled").image_path.read_bytes()
    assert scale_image(shot, 200, tmp_path / "scaled").image_path.read_bytes() == first

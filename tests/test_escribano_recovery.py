from pathlib import Path

import av
import pytest
from PIL import Image

from poc_lib.errors import SetupProblem
from poc_lib.escribano import read_frames, recover_images
from poc_lib.records import Frame
from tests.schemas import add_rows, make_database, make_image, observation, recording

SECONDS = 12


def _grey(second: int) -> int:
    return 20 + 18 * second


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Twelve seconds at five pictures a second; the grey tells the second. One key frame at the start."""
    path = tmp_path_factory.mktemp("video") / "output.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.gop_size = 20
        for i in range(5 * SECONDS):
            grey = _grey(i // 5)
            picture = av.VideoFrame.from_image(Image.new("RGB", (320, 180), (grey, grey, grey)))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def _frames(tmp_path, video_path, times, image="gone.jpg"):
    path = make_database(tmp_path / "app" / "escribano.db") if (tmp_path / "app").mkdir() is None else None
    add_rows(path, "recordings", recording(video_path=str(video_path) if video_path else None))
    rows = (observation(f"o/{i}", at, tmp_path / "purged" / image) for i, at in enumerate(times))
    add_rows(path, "observations", *rows)
    return path, read_frames(path, "r1")


def _shade(path: Path) -> int:
    return Image.open(path).convert("L").getpixel((5, 5))


def test_missing_images_are_cut_at_their_own_moments(tmp_path, video):
    times = [0.0, 2.5, 3.5, 9.1, 11.8]
    path, frames = _frames(tmp_path, video, times)
    found = recover_images(frames, path, tmp_path / "out", width=160)
    assert [frame.frame_id for frame in found] == [frame.frame_id for frame in frames]
    for frame in found:
        assert frame.recovered
        assert frame.image_problem is None
        assert (frame.width, frame.height) == (160, 90)
        assert abs(_shade(frame.image_path) - _grey(int(frame.timestamp_s))) <= 6
        assert frame.image_path.parent == tmp_path / "out"
        assert frame.reference is not None


def test_a_moment_between_two_pictures_takes_the_following_one(tmp_path, video):
    path, frames = _frames(tmp_path, video, [2.95])
    (frame,) = recover_images(frames, path, tmp_path / "out", width=320)
    assert abs(_shade(frame.image_path) - _grey(3)) <= 6


def test_pictures_are_never_enlarged(tmp_path, video):
    path, frames = _frames(tmp_path, video, [1.0])
    assert recover_images(frames, path, tmp_path / "out", width=1024)[0].width == 320


def test_a_moment_far_behind_the_end_is_not_recovered_but_the_last_instant_is(tmp_path, video):
    path, frames = _frames(tmp_path, video, [12.0, 40.0])
    last, beyond = recover_images(frames, path, tmp_path / "out", width=160)
    assert last.recovered
    assert not beyond.recovered
    assert beyond.image_problem == f"missing; its video {video} ends before this moment"


def test_images_that_exist_are_left_alone_and_nothing_is_written_for_them(tmp_path, video):
    make_image(tmp_path / "purged" / "here.jpg")
    path, frames = _frames(tmp_path, video, [1.0], image="here.jpg")
    assert recover_images(frames, path, tmp_path / "out", width=160) == frames
    assert not (tmp_path / "out").exists()


def test_a_picture_cut_before_is_used_again(tmp_path, video, monkeypatch):
    path, frames = _frames(tmp_path, video, [1.0, 2.0])
    first = recover_images(frames, path, tmp_path / "out", width=160)
    monkeypatch.setattr(av, "open", lambda *_: pytest.fail("the video was opened again"))
    assert recover_images(frames, path, tmp_path / "out", width=160) == first


def test_ids_that_differ_only_in_odd_characters_get_different_files(tmp_path, video):
    path, _ = _frames(tmp_path, video, [1.0])
    frames = [Frame(name, 1.0, tmp_path / "x.jpg", "r1", image_problem="missing") for name in ("a/b", "a:b")]
    found = recover_images(frames, path, tmp_path / "out", width=160)
    assert found[0].image_path != found[1].image_path


def test_a_frame_that_cannot_be_recovered_says_why(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video" * 100)
    path, frames = _frames(tmp_path, broken, [1.0])
    (frame,) = recover_images(frames, path, tmp_path / "out", width=160)
    assert frame.image_problem.startswith(f"missing; its video {broken} cannot be decoded")


@pytest.mark.parametrize(
    ("video_path", "why"),
    [(None, "its recording names no video"), ("/nowhere/v.mp4", "its video /nowhere/v.mp4 is missing too")],
)
def test_a_missing_video_is_part_of_the_reason(tmp_path, video_path, why):
    path, frames = _frames(tmp_path, video_path, [1.0])
    (frame,) = recover_images(frames, path, tmp_path / "out", width=160)
    assert frame.image_problem == f"missing; {why}"
    assert not frame.recovered


def test_the_always_on_recorder_has_no_video_to_cut_from(tmp_path, video):
    path, _ = _frames(tmp_path, video, [1.0])
    frame = Frame("f", 1.8e9, tmp_path / "x.jpg", image_problem="missing")
    (kept,) = recover_images([frame], path, tmp_path / "out", width=160)
    assert kept.image_problem == "missing; the always-on recorder keeps no video"


def test_a_file_without_pictures_is_not_a_video(tmp_path):
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        silence = av.AudioFrame(format="s16", layout="mono", samples=800)
        silence.sample_rate = 8000
        for plane in silence.planes:
            plane.update(bytes(1600))
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    path, frames = _frames(tmp_path, sound, [0.0])
    (frame,) = recover_images(frames, path, tmp_path / "out", width=160)
    assert frame.image_problem == f"missing; its video {sound} has no picture"


@pytest.mark.parametrize("folder", ["app", "purged", "home/.escribano", "home/.escribano/frames/x"])
def test_escribanos_own_folders_are_never_written(tmp_path, video, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path, frames = _frames(tmp_path, video, [1.0])
    with pytest.raises(SetupProblem, match="belongs to Escribano"):
        recover_images(frames, path, tmp_path / folder, width=160)
    assert not (tmp_path / "home").exists()

"""The sample: spread over time; missing images cut again from the video, into our own folder alone."""

from pathlib import Path

import av
import pytest
from PIL import Image

from poc_lib.database import select_frames
from poc_lib.images import LOOKS_DIFFERENT_BITS, look_at_image, look_distance
from poc_lib.records import Frame, SetupProblem
from tests.schemas import add_rows, make_database, make_image, make_recording, observation, recording, shot


def grey(second: int) -> int:
    return 20 + 18 * second


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Twelve seconds at five pictures a second; the grey tells the second."""
    path = tmp_path_factory.mktemp("video") / "output.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.codec_context.gop_size = 20
        for i in range(60):
            picture = Image.new("RGB", (1280, 720), (grey(i // 5),) * 3)
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def make(tmp_path: Path, video_path: Path | str | None, *times_s: float, ids=(), image="gone.jpg") -> Path:
    """A database of one recording with frames at ``times_s`` whose images are gone."""
    (tmp_path / "app").mkdir()
    path = make_database(tmp_path / "app" / "escribano.db")
    add_rows(path, "recordings", recording(video_path=str(video_path) if video_path else None))
    rows = zip(ids or [f"o/{i}" for i in range(len(times_s))], times_s, strict=True)
    add_rows(path, "observations", *(observation(name, at, tmp_path / "purged" / image) for name, at in rows))
    return path


def make_damaged(path: Path) -> Path:
    """An image whose header is fine: the damage shows when it is decoded."""
    path.parent.mkdir(exist_ok=True)
    Image.effect_noise((200, 200), 90).save(path, format="PNG")
    path.write_bytes(path.read_bytes()[:9000])
    return path


def test_missing_images_are_cut_at_their_own_moments_at_the_apps_width(tmp_path, video):
    seconds = {0.0: 0, 2.5: 2, 2.95: 3, 3.5: 3, 9.1: 9, 11.8: 11, 12.0: 11}  # 2.95 is between two pictures
    ids = ["../x", "/etc/x", str(tmp_path / "y"), "a/b", "x" * 5000, "nul\0", ".."]
    chosen = select_frames(make(tmp_path, video, *seconds, ids=ids), "r1", 0, tmp_path / "deep" / "out")
    for frame, (at_s, second) in zip(chosen.frames, seconds.items(), strict=True):
        assert (frame.recovered, frame.reference is not None) == (True, True)
        assert frame.image_path == tmp_path / "deep" / "out" / f"{at_s}.jpg"
        with Image.open(frame.image_path) as image:
            assert image.size == (frame.width, frame.height) == (1024, 576)
            assert abs(image.convert("L").getpixel((5, 5)) - grey(second)) <= 6
    assert chosen.counts == {"frames": 7, "usable": 7, "in the sample": 7, "cut again from the video": 7}


def test_a_damaged_image_is_cut_again_and_where_that_fails_both_reasons_are_told(tmp_path, video):
    make_damaged(tmp_path / "purged" / "bad.png")
    path = make(tmp_path, video, 2.5, 40.0, 2e11, "noon", image="bad.png")
    chosen = select_frames(path, "r1", 0, tmp_path / "out")
    (frame,) = chosen.frames
    assert (frame.recovered, frame.width, frame.image_path) == (True, 1024, tmp_path / "out" / "2.5.jpg")
    assert (chosen.counts["usable"], chosen.counts["cut again from the video"]) == (1, 1)
    why = "image cut or damaged, and its video has no picture of this moment, e.g. bad.png"
    assert chosen.counts[f"not usable: {why}"] == 2  # their moments are behind the end of the video


def test_only_what_the_sample_needs_is_cut(tmp_path, video):
    path = make(tmp_path, video, *range(12))
    first = select_frames(path, "r1", 3, tmp_path / "out")
    assert [frame.timestamp_s for frame in first.frames] == [0, 6, 11]
    assert (first.counts["usable"], first.counts["cut again from the video"], first.whole) == (12, 3, False)
    assert len(list((tmp_path / "out").iterdir())) == 3
    assert select_frames(path, "r1", 3, tmp_path / "out") == first


def test_an_image_that_can_be_sent_is_left_alone(tmp_path, video):
    image = make_image(tmp_path / "purged" / "here.jpg")
    (frame,) = select_frames(make(tmp_path, video, 1.0, image="here.jpg"), "r1", 0, tmp_path / "out").frames
    assert (frame.recovered, frame.image_path, (tmp_path / "out").exists()) == (False, image, False)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("text", ", and its video cannot be decoded (Invalid data found when processing input)"),
        ("nothing", ""),
        ("sound", ", and its video has no picture of this moment"),
    ],
)
def test_a_frame_that_cannot_be_recovered_says_why(tmp_path, content, why):
    broken = tmp_path / "broken.wav"
    if content == "sound":
        with av.open(str(broken), "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            silence = av.AudioFrame(format="s16", layout="mono", samples=800)
            silence.sample_rate = 8000
            container.mux(stream.encode(silence))
    elif content == "text":
        broken.write_bytes(b"no video" * 100)
    with pytest.raises(SetupProblem) as caught:
        select_frames(make(tmp_path, broken, 1.0), "r1", 0, tmp_path / "out")
    assert f"1 × not usable: image missing{why}, e.g. gone.jpg" in str(caught.value)


@pytest.mark.parametrize("video_path", [None, "/nowhere/v.mp4", "~no-such-user/v.mp4", "x" * 5000])
def test_where_there_is_no_video_the_counts_say_so(tmp_path, video_path):
    path = make(tmp_path, video_path, 1.0)
    add_rows(path, "observations", observation("here", 2.0, make_image(tmp_path / "here.jpg")))
    counts = select_frames(path, "r1", 0, tmp_path / "out").counts
    assert counts["not usable: image missing, e.g. gone.jpg"] == 1
    add_rows(path, "frames", shot("f", 1_795_176_000.0, tmp_path / "gone.jpg"))  # nor has the recorder any
    with pytest.raises(SetupProblem, match=r"image missing, e\.g\. gone\.jpg"):
        select_frames(path, "2026-11-20T00:00Z/2026-11-21T00:00Z", 0, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, video):
    path = make(tmp_path, video, 1.0)
    with pytest.raises(SetupProblem, match="recovered images cannot be written"):
        select_frames(path, "r1", 0, path)


@pytest.mark.parametrize(("n", "chosen"), [(1, [0]), (2, [0, 9]), (4, [0, 3, 6, 9]), (99, [*range(10)])])
def test_a_sample_is_spread_evenly_over_the_frames(tmp_path, n, chosen):
    frames = select_frames(make_recording(tmp_path, n_frames=10), "r1", n).frames
    assert [int(frame.timestamp_s) // 10 for frame in frames] == chosen


def test_all_usable_frames_take_part_up_to_500_and_as_many_as_asked_for(tmp_path):
    path = make_recording(tmp_path, n_frames=610)
    for wanted, n in ((0, 500), (600, 600), (9999, 610)):
        chosen = select_frames(path, "r1", wanted)
        assert (len(chosen.frames), chosen.whole) == (n, n == 610)
        assert chosen.counts == {"frames": 610, "usable": 610, "in the sample": n}
    assert chosen.frames[-1].label == "frame 610 · 101:30"


def test_a_frame_that_turns_out_broken_gives_its_place_to_another(tmp_path):
    path = make_recording(tmp_path, n_frames=3)
    add_rows(path, "observations", observation("damaged", 900.0, make_damaged(tmp_path / "damaged.png")))
    chosen = select_frames(path, "r1", 2)
    assert [frame.frame_id for frame in chosen.frames] == ["o0", "o2"]
    assert chosen.counts["not usable: image cut or damaged, e.g. damaged.png"] == 1


def test_looks_tell_screens_apart_and_outlast_another_size(tmp_path):
    def look(seed: int, size: tuple[int, int] = (1024, 576)) -> str:
        image = Image.new("L", (1024, 576), 230)
        for i in range(40):
            x, y = (seed * 131 + i * 197) % 900, (seed * 57 + i * 83) % 500
            image.paste(30 + 5 * (i % 9), (x, y, x + 90, y + 40))
        image.resize(size).save(tmp_path / "screen.png")
        return look_at_image(Frame("f", 0.0, tmp_path / "screen.png")).look

    assert len(look(1)) == 16
    assert look_distance(look(1), look(1, (512, 288))) < LOOKS_DIFFERENT_BITS
    assert look_distance(look(1), look(2)) >= LOOKS_DIFFERENT_BITS
    assert look_distance("0" * 16, "f" * 16) == 64

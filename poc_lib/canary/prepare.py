"""The canaries of a run as frames: drawn once, told apart, and found again when the run goes on."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from poc_lib.canary.codes import canary_id, make_codes
from poc_lib.canary.drawing import draw_canary
from poc_lib.errors import SetupProblem
from poc_lib.looks import LOOKS_DIFFERENT_BITS, hash_distance, visual_hash
from poc_lib.records import Frame

JPEG_QUALITY = 88
MAX_DRAWINGS = 200  # of one canary, until it looks unlike the ones before
DEFAULT_SIZE = (1024, 576)


def canary_size(frames: Sequence[Frame]) -> tuple[int, int]:
    """The most common width and height of the frames in pixels, so that canaries cost a server the same."""
    sizes = Counter((frame.width, frame.height) for frame in frames if frame.width and frame.height)
    return sizes.most_common(1)[0][0] if sizes else DEFAULT_SIZE


def prepare_canaries(folder: Path, n: int, seed: int, width: int, height: int) -> list[Frame]:
    """``n`` canaries as JPEG files under ``folder``; files that lie there already are kept as they are.

    Any two of them differ by at least LOOKS_DIFFERENT_BITS of their 64-bit perceptual hashes.

    Raises:
        SetupProblem: so many codes, or so many pictures unlike each other, do not exist.
    """
    frames: list[Frame] = []
    hashes: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    for code in make_codes(n, seed):
        path = folder / f"{canary_id(code)}-{width}x{height}.jpg"
        if not path.is_file():
            _write_image(_draw_apart(code, seed, (width, height), hashes), path)
        with Image.open(path) as image:
            hashes.append(visual_hash(image))
        frames.append(_frame(code, path, width, height))
    return frames


def _draw_apart(code: str, seed: int, size: tuple[int, int], hashes: Sequence[str]) -> Image.Image:
    for attempt in range(MAX_DRAWINGS):
        image = draw_canary(code, seed + attempt, *size)
        own = visual_hash(image)
        # JPEG moves a bit or two of the hash, which the file's own is taken from.
        if all(hash_distance(own, other) >= LOOKS_DIFFERENT_BITS + 2 for other in hashes):
            return image
    raise SetupProblem(
        f"no {len(hashes) + 1} canaries of {size[0]} × {size[1]} pixels that look different were found: "
        "ask for fewer canaries"
    )


def _write_image(image: Image.Image, path: Path) -> None:
    part = path.with_suffix(f".{os.getpid()}.part")
    image.save(part, format="JPEG", quality=JPEG_QUALITY)
    part.replace(path)


def _frame(code: str, path: Path, width: int, height: int) -> Frame:
    return Frame(
        frame_id=canary_id(code),
        timestamp_s=0.0,
        image_path=path,
        width=width,
        height=height,
        reference_problem="a canary: nothing was stored about it",
    )

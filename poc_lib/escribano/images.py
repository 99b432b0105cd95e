"""An image file's size from its header, and why it cannot be sent."""

from pathlib import Path

MISSING = "missing"
NO_PATH = "no image path stored"
EMPTY = "empty file"
NOT_AN_IMAGE = "not an image"
CUT_SHORT = "cut short"

JPEG_END = b"\xff\xd9"
TAIL_BYTES = 4096  # some writers add padding or metadata behind the end marker


def check_image(path: Path | None) -> tuple[int | None, int | None, str | None]:
    """Width and height in pixels and the problem with the file; either the size or the problem is None.

    Only the header is read (and a JPEG's last bytes), nothing is decoded.
    """
    # Pillow takes a while to import and a listing of recordings does not need it.
    from PIL import Image, UnidentifiedImageError

    if path is None:
        return None, None, NO_PATH
    try:
        if not path.is_file():
            return None, None, MISSING
        if path.stat().st_size == 0:
            return None, None, EMPTY
        with Image.open(path) as image:
            (width, height), kind = image.size, image.format
        cut_short = kind == "JPEG" and not _has_jpeg_end(path)
    except UnidentifiedImageError:
        return None, None, NOT_AN_IMAGE
    except Image.DecompressionBombError:
        return None, None, "too large to be a screenshot"
    except OSError as error:
        return None, None, f"unreadable ({error.strerror or error})"
    return (None, None, CUT_SHORT) if cut_short else (width, height, None)


def _has_jpeg_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return JPEG_END in file.read()

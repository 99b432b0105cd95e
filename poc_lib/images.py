"""Image files: whether each can be sent, and how it looks as a 64-bit perceptual hash."""

import hashlib
from dataclasses import replace

import imagehash
from PIL import Image

from poc_lib.records import Frame

# Drawn screens of 1024 × 576 pixels: another clock, caret or typed line changed at most 8 bits, JPEG quality
# 95 against 40 at most 4, one line of scrolling 6 in the median; another file in the same editor 14 in the
# median (95 % at 8 or more), another kind of window 16 or more. So from 10 bits on, a screen is another one.
LOOKS_DIFFERENT_BITS = 10
STARTS = {"JPEG": b"\xff\xd8", "PNG": b"\x89PNG", "WEBP": b"RIFF"}  # of the files that vision servers read
JPEG_END = b"\xff\xd9"
TAIL_BYTES = 4096  # some writers add padding or metadata behind the end marker
DRAFT_PX = 128  # enough for the look: a JPEG is decoded at the smallest size that is not below this


def look(image: Image.Image) -> str:
    """The image's 64-bit perceptual hash (DCT of its grey 32 × 32 reduction) as 16 hex digits."""
    return str(imagehash.phash(image))


def look_distance(left: str, right: str) -> int:
    """Number of bits in which two looks differ, 0 to 64."""
    return (int(left, 16) ^ int(right, 16)).bit_count()


def look_at_image(frame: Frame, whole: bool) -> Frame:
    """The frame, or the frame with its image's problem; of a ``whole`` image also its size, SHA-256 and look.

    Without ``whole`` nothing is decoded: only the file's first bytes are looked at, and a JPEG's last ones.
    """
    if frame.image_problem:
        return frame
    try:
        size = frame.image_path.stat().st_size if frame.image_path.is_file() else None
        if not size:
            return replace(frame, image_problem="image missing" if size is None else "image file empty")
        with frame.image_path.open("rb") as file:
            start = file.read(8)
            file.seek(max(0, size - TAIL_BYTES))
            if start.startswith(STARTS["JPEG"]) and JPEG_END not in file.read():
                return replace(frame, image_problem="image cut short")
            if not whole and start.startswith(tuple(STARTS.values())):
                return frame
            file.seek(0)
            frame = replace(frame, sha256=hashlib.file_digest(file, "sha256").hexdigest())
            with Image.open(file, formats=list(STARTS)) as image:
                frame = replace(frame, width=image.width, height=image.height)
                image.draft("L", (DRAFT_PX, DRAFT_PX))
                return replace(frame, look=look(image))
    except Image.UnidentifiedImageError:
        return replace(frame, image_problem="not a JPEG, PNG or WebP image")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # from Pillow's readers
        why = getattr(error, "strerror", None)
        return replace(frame, image_problem=f"image unreadable ({why})" if why else "image damaged")

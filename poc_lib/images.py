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


def look_distance(left: str, right: str) -> int:
    """Number of bits in which two looks differ, 0 to 64."""
    return (int(left, 16) ^ int(right, 16)).bit_count()


def look_at_image(frame: Frame) -> Frame:
    """The frame with its image's size, SHA-256 and look, or with the reason why it cannot be sent.

    A look is the 64-bit perceptual hash (DCT of the grey 32 × 32 reduction) as 16 hex digits.
    """
    if frame.image_problem:
        return frame
    try:
        with frame.image_path.open("rb") as file, Image.open(file, formats=("JPEG", "PNG", "WEBP")) as image:
            width, height = image.size
            image.draft("L", (128, 128))  # a JPEG is decoded at the smallest size that is not below this
            look = str(imagehash.phash(image))
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return replace(frame, width=width, height=height, look=look, sha256=sha256)
    except Image.UnidentifiedImageError:
        return replace(frame, image_problem="not a JPEG, PNG or WebP image")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # from Pillow's readers
        why = getattr(error, "strerror", None)
        return replace(frame, image_problem=f"image unreadable ({why})" if why else "image cut or damaged")

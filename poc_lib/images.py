"""Image files before they are sent."""

from dataclasses import replace
from pathlib import Path

from PIL import Image

from poc_lib.records import Frame

JPEG_QUALITY = 85


def scale_image(frame: Frame, width: int, folder: Path) -> Frame:
    """The frame with its image scaled down to ``width`` pixels, written into ``folder``; never scaled up."""
    with Image.open(frame.image_path) as image:
        if image.width <= width:
            return frame
        height = round(image.height * width / image.width)
        scaled = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{frame.frame_id}.jpg"
    scaled.save(path, quality=JPEG_QUALITY)
    return replace(frame, image_path=path, width=width, height=height)

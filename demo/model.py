"""The simulated model: it recognises a screenshot from its bytes, reads its code, and finds words for it."""

import base64
import hashlib
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from PIL import Image

from poc_lib.client import stamp

THUMBNAIL = (64, 36)  # px; two screens that differ in one line of text differ in some of them
SAME_PICTURE = 30e3  # largest sum of squared grey differences between two encodings of one screen
FRAME_ASPECT = 9 / 16
LIKENESS = 0.85  # least correlation of a cell with its character; JPEG of quality 80 keeps 0.98
CODE_MARK, FORM_MARK = "code:", "description:"

# A model at temperature 0.3 says the same in other words: one of each row, drawn anew for every answer.
PHRASES = (
    ("The user is", "A person is", "The user seems to be", "The user is"),
    ("changing", "editing", "changing", "altering"),
    ("reading", "looking at", "reading", "studying"),
    ("checking", "reviewing", "checking", "inspecting"),
    ("; the text", ", and the text", "; the words", "; the text"),
    ("can be read", "is visible", "can be seen", "can be read"),
)


class Knowledge(NamedTuple):
    """What the model knows: an entry a screenshot, found by its file's SHA-256 or by its thumbnail."""

    entries: dict[str, dict]  # sha256: frame_id, description, activity, apps, topics
    thumbnails: np.ndarray  # grey levels, a row for each entry


def draw(*keys: object) -> float:
    """Draw from [0, 1); the same keys draw the same number, in every process."""
    return int.from_bytes(hashlib.blake2b(repr(keys).encode(), digest_size=8).digest(), "big") / 2**64


def thumbnail(image: Image.Image) -> np.ndarray:
    """Reduce a screenshot, or the part below its strip, to a few grey levels."""
    width, height = image.size
    strip = stamp.unit_of(width)
    if abs((height - strip) / width - FRAME_ASPECT) >= abs(height / width - FRAME_ASPECT):
        strip = 0
    image.draft("L", (width // 4, height // 4))
    box = (0, image.height * strip / height, image.width, image.height)
    return np.asarray(image.convert("L").resize(THUMBNAIL, Image.Resampling.BILINEAR, box), np.int32).ravel()


def read_knowledge(path: Path) -> Knowledge:
    """Read the answers file that ``prepare_demo`` wrote."""
    entries = {entry["sha256"]: entry for entry in orjson.loads(path.read_bytes())}
    thumbnails = [np.frombuffer(base64.b64decode(entry["thumbnail"]), np.uint8) for entry in entries.values()]
    return Knowledge(entries, np.array(thumbnails, np.int32))


def read_strip(image: Image.Image) -> str | None:
    """Read a stamped image's code by comparing its cells with the drawn characters; None if there is none."""
    unit = stamp.unit_of(image.width)
    cells = np.asarray(image.crop((0, 0, stamp.LENGTH * unit, unit)).convert("L"), dtype=float)
    cells = cells.reshape(unit, stamp.LENGTH, unit).swapaxes(0, 1).reshape(stamp.LENGTH, -1)
    glyphs = np.stack(
        [np.asarray(stamp.glyph(character, unit), dtype=float).ravel() for character in stamp.ALPHABET]
    )
    with np.errstate(invalid="ignore", divide="ignore"):  # a plain cell is like no character
        likeness = np.nan_to_num(np.corrcoef(cells, glyphs)[: stamp.LENGTH, stamp.LENGTH :])
    likeness *= np.sign(likeness.sum())  # light ink correlates positively, dark ink negatively
    if likeness.max(axis=1).min() < LIKENESS:
        return None
    return "".join(stamp.ALPHABET[best] for best in likeness.argmax(axis=1))


def look(knowledge: Knowledge, data: bytes, wants_code: bool) -> tuple[dict, str | None]:
    """Recognise the screenshot in an image file's bytes; returns its entry and its code if it is read."""
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 in knowledge.entries:
        return knowledge.entries[sha256], None
    image = Image.open(io.BytesIO(data))
    code = read_strip(image) if wants_code else None
    misfit = np.square(knowledge.thumbnails - thumbnail(image)).sum(axis=1)
    if misfit.min() < SAME_PICTURE:
        return list(knowledge.entries.values())[misfit.argmin()], code
    said = f"The user is looking at a picture that nobody has drawn, with pattern {sha256[:8]}."
    return {"frame_id": sha256, "description": said, "activity": "other", "apps": [], "topics": []}, code


def say(entry: dict, prompt: str, code: str | None, *keys: object) -> str:
    """Word an answer in the form that the prompt asks for; the keys draw the wording."""
    head, quote, tail = re.match(r"([^“]*)(“.*”)?(.*)", entry["description"], re.DOTALL).groups("")
    for place, phrases in enumerate(PHRASES):
        chosen = phrases[int(draw(*keys, place) * len(phrases))]
        head, tail = head.replace(phrases[0], chosen), tail.replace(phrases[0], chosen)
    said, activity, apps = f"{head}{quote}{tail}", entry["activity"], ", ".join(entry["apps"])
    topics = ", ".join(entry["topics"][: 1 if draw(*keys, "topics") < 0.15 else None])
    if FORM_MARK in prompt:
        said = f"description: {said} | activity: {activity} | apps: [{apps}] | topics: [{topics}]"
        return f"{said} | {CODE_MARK} {code or 'none'}" if CODE_MARK in prompt else said
    said = f"{said} In front is {apps or 'nothing known'}. It is about {topics or activity}."
    return f"{said}\n\n{CODE_MARK} {code or 'none'}" if CODE_MARK in prompt else said

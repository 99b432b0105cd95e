"""A code for every image: a strip above the frame that the answer must repeat, and the judgement of it.

The strip is plain, one unit high (32 px at 1,024 px of width); each character stands in a square cell of one
unit, from the left edge on: a patch of its own for a model that sees patches of 32 px.
"""

import random
import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from poc_lib.records import SetupProblem

ALPHABET = "CDFHJKLMNPRTVWX234679"  # no look-alikes (0 O Q, 1 I, 2 Z, 5 S, 8 B, 6 G, V U Y) and no vowels
LENGTH = 6
APART = 3  # edits between any two codes of a run: one misread character still tells them apart
LIGHT, DARK = 245, 16  # grey levels of ground and ink; which is which follows the frame's top
PROOF_FIELD = " | code: <the six characters in the strip at the very top of the image>"
PROOF_SENTENCE = (
    "The code stands at the very top of the image, in a plain strip: six capital letters and digits from the "
    "left edge on. Copy it exactly; write none if there is no strip."
)
FORM_LINE = re.compile(r"^.*\bdescription:.*\|.*\btopics:.*$", re.MULTILINE | re.IGNORECASE)
CODE_FIELD = re.compile(r"\bCODE[\s\"'*_`]*[:=]\s*([^|\r\n]*)")


class CodeRead(NamedTuple):
    """An answer's code: the characters read, whose they are, and the other code when it is not its own."""

    read: str | None
    whose: Literal["own", "other", "none"]
    other: str | None


def unit_of(width: int) -> int:
    """Return the strip's height and a cell's side in px for a frame `width` px wide."""
    return 32 * max(1, round(width / 1024))


def draw_codes(n: int, seed: str, taken: Collection[str] = ()) -> list[str]:
    """Draw `n` codes at least APART edits from each other and from `taken`; SetupProblem without room."""
    rng, codes = random.Random(seed), list(taken)
    for _ in range(21 * n + 1000):
        if len(codes) == n + len(taken):
            return codes[len(taken) :]
        code = "".join(rng.choices(ALPHABET, k=LENGTH))
        if not process.extractOne(code, codes, scorer=Levenshtein.distance, score_cutoff=APART - 1):
            codes.append(code)
    raise SetupProblem(f"{len(codes)} codes drawn, {n + len(taken)} needed: use fewer frames.")


def stamp_image(image: Image.Image, code: str) -> Image.Image:
    """Return an RGB copy of the frame with `code` in a strip above it; SetupProblem if it is too narrow."""
    unit, frame = unit_of(image.width), image.convert("RGB")
    if frame.width < LENGTH * unit:
        raise SetupProblem(f"A frame is {frame.width} px wide, a code needs {LENGTH * unit}: widen it.")
    top = np.asarray(frame.crop((0, 0, frame.width, min(unit, frame.height))).convert("L"))
    ground, ink = (LIGHT, DARK) if top.mean() >= 128 else (DARK, LIGHT)
    stamped = Image.new("RGB", (frame.width, frame.height + unit), (ground,) * 3)
    stamped.paste(frame, (0, unit))
    for place, character in enumerate(code):
        stamped.paste((ink,) * 3, (place * unit, 0), glyph(character, unit))
    return stamped


def judge_code(text: str, own: str, others: Sequence[str]) -> CodeRead:
    """Say whose code the answer carries: that of `own` and `others` within one edit of what it reads.

    Its last code field that holds anything like a code is read, else the only code that stands anywhere.
    """
    read, fields = None, CODE_FIELD.findall(text.upper())
    for field in fields:
        tokens = re.findall(r"(?<![A-Z0-9])[A-Z0-9]{5,7}(?![A-Z0-9])", field)
        joined = re.sub(r"[\W_]", "", field)
        if tokens or LENGTH - 1 <= len(joined) <= LENGTH + 1:
            read = max(tokens or [joined], key=lambda token: sum(c in ALPHABET for c in token) / len(token))
    lone = set(re.findall(rf"(?<!\w)[{ALPHABET}]{{{LENGTH}}}(?!\w)", text))
    if len(lone) == 1 and not fields:
        read = lone.pop()
    if read and Levenshtein.distance(read, own) <= 1:
        return CodeRead(read, "own", None)
    near = read and process.extractOne(read, others, scorer=Levenshtein.distance, score_cutoff=1)
    return CodeRead(read, "other", near[0]) if near else CodeRead(read, "none", None)


def proof_prompt(prompt: str) -> str:
    """Return `prompt` with the code asked for: in the app's one-line form as last field, else last."""
    if not (forms := list(FORM_LINE.finditer(prompt))):
        return f"{prompt.rstrip()}\n\nEnd with one more line,{PROOF_FIELD[2:]}\n{PROOF_SENTENCE}\n"
    end = forms[-1].end()
    return f"{prompt[:end].rstrip()}{PROOF_FIELD}\n{PROOF_SENTENCE}{prompt[end:]}"


@lru_cache(maxsize=256)
def glyph(character: str, unit: int) -> Image.Image:
    cell, font, stroke = Image.new("L", (unit, unit)), ImageFont.load_default(unit * 0.9), unit // 32
    draw = ImageDraw.Draw(cell)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font, stroke_width=stroke)
    middle = (unit - left - right) / 2, (unit - top - bottom) / 2
    draw.text(middle, character, fill=255, font=font, stroke_width=stroke)
    return cell

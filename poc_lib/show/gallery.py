"""Frames beside what was said about them, with the differences marked: what people judge by eye."""

import base64
import io
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from PIL import Image

from poc_lib import metrics
from poc_lib.params import DEMO, Params
from poc_lib.records import Frame
from poc_lib.show.tables import Shown, interval, render_part, say

if TYPE_CHECKING:
    from poc_lib.analysis import Analysis

THUMBNAIL_BYTES = 15_000
SIZES = ((480, 72), (420, 60), (360, 50), (280, 45), (200, 40))  # width in pixels, JPEG quality
MOST_CHARS = 1_000  # of a text
CLOSED_LOOP = ("pilot", "confirm", "measure")


def samples(analysis: "Analysis", n: int = 3) -> Shown:
    """Answers of the candidate from the least to the most alike: frame, both texts, differences marked.

    They are of the chosen level where there is one. The other text is the stored one, where the frame has
    one, else the baseline's.
    """
    answers, levels = analysis.answers, analysis.levels
    good = answers[answers["error_class"].isna() & answers["text"].ne("")]
    good = good[good["phase"].isin(CLOSED_LOOP)]
    chosen = levels.loc[levels["chosen"].eq(True) & levels["role"].eq("candidate"), "concurrency"]
    rows = good[good["role"].eq("candidate") & (good["concurrency"].isin(chosen) | chosen.empty)]
    if rows.empty:
        return say("No answer can be shown: there is none.")
    theirs = good[good["role"].eq("baseline")].sort_values("concurrency", kind="stable")
    theirs = theirs.drop_duplicates("frame_id").set_index("frame_id")
    rows = rows.assign(alike=rows["ref_ratio"].fillna(rows["base_ratio"]).astype(float))
    rows = rows.sort_values("alike", kind="stable").drop_duplicates("frame_id")
    cards = []
    for i in sorted({round(i * (len(rows) - 1) / max(1, n - 1)) for i in range(n)}):
        row, frame = rows.iloc[i], analysis.frames[rows["frame_id"].iloc[i]]
        whose, other = "no text to hold it against", ""
        if stored := frame.reference:
            whose, other = f"stored, by {stored.model or 'an earlier model'}", stored.description
        elif frame.frame_id in theirs.index:
            whose, other = theirs.loc[frame.frame_id, "server"], _said(theirs.loc[frame.frame_id])
        pieces = mark_differences(_said(row), other[:MOST_CHARS])
        texts = zip((f"{row['server']}, {row['concurrency']} in flight", whose), pieces, strict=True)
        note = f"alike: {interval(row['alike'], unit='')}"
        cards.append({"frames": [frame], "note": note, "texts": list(texts)})
    return _gallery(analysis.params, cards)


def worst_pairs(analysis: "Analysis", n: int = 3) -> Shown | None:
    """Answers about another image: what was sent, what the answer is about, the answer with its code marked.

    Proven ones first, then those that look so; None where there is neither.
    """
    cards = []
    for row in metrics.worst_pairs(analysis.answers, n).to_dict("records"):
        note, code = f"looks as if about another image: {row['kind']}", "\0"
        if row["kind"] == "code":
            note, code = f"proven: its image shows {row['code']}", row["code_read"]
        parts = re.split(f"({re.escape(code)})", str(row["text"])[:MOST_CHARS])
        said = [("mark" if part == code else "same", part) for part in parts]
        frames = [analysis.frames.get(row[key]) for key in ("frame_id", "donor_frame")]
        texts = [(f"{row['server']}, {row['concurrency']} in flight", said)]
        cards.append({"frames": list(filter(None, frames)), "note": note, "texts": texts})
    return _gallery(analysis, cards) if cards else None


def _said(row: pd.Series) -> str:
    described = row["description"] if isinstance(row["description"], str) else ""
    return (described or str(row["text"]))[:MOST_CHARS]


def mark_differences(answer: str, other: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Both texts in pieces: what the answer alone says is "ins", what it leaves out "del", the rest "same".

    Words are compared without case and without what stands between them.
    """
    ours, theirs = (re.findall(r"\w+\W*|\W+", text) for text in (answer, other))
    keys = [[re.sub(r"\W+", "", word).casefold() for word in words] for words in (ours, theirs)]
    left, right = [], []
    for tag, a, b, c, d in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
        left += [("same" if tag == "equal" else "ins", "".join(ours[a:b]))] if b > a else []
        right += [("same" if tag == "equal" else "del", "".join(theirs[c:d]))] if d > c else []
    return left, right


def thumbnail(path: Path) -> str:
    """An image as a JPEG data URI of at most 15 KB before encoding; "" where it cannot be read."""
    try:
        with Image.open(path) as image:
            whole = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    for width, quality in SIZES:
        buffer, small = io.BytesIO(), whole.copy()
        small.thumbnail((width, width))
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= THUMBNAIL_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def frame_gallery(frames: Sequence[Frame], params: Params, n: int = 3) -> Shown:
    """Frames spread over the recording, each with the description stored for it."""
    if not frames:
        return say("No frame is usable.")
    chosen = frames[:: max(1, len(frames) // n)][:n]
    stored = [frame.reference.description if frame.reference else "" for frame in chosen]
    cards = [
        {"frames": [frame], "note": "", "texts": [("stored", [("", text[:MOST_CHARS])] if text else [])]}
        for frame, text in zip(chosen, stored, strict=True)
    ]
    return _gallery(params, cards)


def _gallery(params: Params, cards: list[dict]) -> Shown:
    is_shown = params.screenshots or params.database == DEMO
    for card in cards:
        card["images"] = [thumbnail(frame.image_path) for frame in card["frames"]] if is_shown else []
    return render_part("gallery", cards=cards, is_shown=is_shown)

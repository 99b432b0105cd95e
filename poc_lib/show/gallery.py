"""Frames beside what was said about them, with the differences marked: what people judge by eye."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from poc_lib import metrics
from poc_lib.metrics.agreement import TIMED
from poc_lib.params import DEMO, Params
from poc_lib.records import Frame
from poc_lib.show.tables import Shown, interval, render_part, say

if TYPE_CHECKING:
    from poc_lib.analysis import Analysis

WIDTH, QUALITY = 400, 50  # of a thumbnail in pixels, and as a JPEG
MOST_CHARS = 1_000  # of a text


def samples(analysis: "Analysis", n: int = 3) -> Shown:
    """Answers of the candidate from the least to the most alike: frame, both texts, differences marked.

    They are of the chosen level where there is one. The other text is the stored one, where the frame has
    one, else the baseline's.
    """
    answers, levels = analysis.answers, analysis.levels
    good = answers[answers["error_class"].isna() & answers["text"].ne("") & answers["phase"].isin(TIMED)]
    chosen = levels.loc[levels["chosen"].eq(True) & levels["role"].eq("candidate"), "concurrency"]
    rows = good[good["role"].eq("candidate") & (good["concurrency"].isin(chosen) | chosen.empty)]
    if rows.empty:
        return say("No answer can be shown: there is none.")
    others = good[good["role"].eq("baseline")].sort_values("concurrency", kind="stable")
    others = {row["frame_id"]: row for row in reversed(others.to_dict("records"))}
    rows = rows.assign(alike=rows["ref_ratio"].fillna(rows["base_ratio"]).astype(float))
    rows = rows.sort_values("alike", kind="stable").drop_duplicates("frame_id").to_dict("records")
    cards = []
    for row in [rows[i] for i in sorted({round(i * (len(rows) - 1) / max(1, n - 1)) for i in range(n)})]:
        frame, whose, other = analysis.frames[row["frame_id"]], "no text to hold it against", ""
        if stored := frame.reference:
            whose, other = f"stored, by {stored.model or 'an earlier model'}", stored.description
        elif found := others.get(row["frame_id"]):
            whose, other = found["server"], _said(found)
        names = (f"{row['server']}, {row['concurrency']} in flight", whose)
        texts = list(zip(names, mark_differences(_said(row), other[:MOST_CHARS]), strict=True))
        note = f"alike: {interval(row['alike'], unit='')}"
        cards.append({"frames": [frame], "note": note, "texts": texts})
    return _gallery(cards, _may_show(analysis.params))


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
    return _gallery(cards, _may_show(analysis.params)) if cards else None


def _said(row: Mapping) -> str:
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
    """A small JPEG of an image as a data URI; "" where it cannot be read."""
    buffer = io.BytesIO()
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    small.thumbnail((WIDTH, WIDTH))
    small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def frame_gallery(frames: Sequence[Frame], n: int = 3, screenshots: bool = False) -> Shown:
    """Frames spread over the recording, each with the description stored for it."""
    cards = []
    for frame in frames[:: max(1, len(frames) // n)][:n]:
        stored = frame.reference.description[:MOST_CHARS] if frame.reference else ""
        cards.append(
            {"frames": [frame], "note": "", "texts": [("stored", [("same", stored)] * bool(stored))]}
        )
    return _gallery(cards, screenshots) if cards else say("No frame is usable.")


def _may_show(params: Params) -> bool:
    return params.screenshots or params.database == DEMO


def _gallery(cards: list[dict], is_shown: bool) -> Shown:
    for card in cards:
        card["images"] = [thumbnail(frame.image_path) for frame in card["frames"]] if is_shown else []
    return render_part("gallery", cards=cards, is_shown=is_shown)

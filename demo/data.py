"""The generated data: screenshots, an Escribano database around them, and what the simulated model knows."""

import base64
import hashlib
import io
import json
import random
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import NamedTuple

import PIL
import yaml
from PIL import Image

from demo.drawing import draw_screenshot
from demo.model import thumbnail

HERE = Path(__file__).parent
SEED, EVERY_S, JPEG_QUALITY = 20261120, 18, 86
MAIN, OLDER, RECORDER = "cap-2026-11-20", "cap-2026-11-13", None  # recording_id of their observations
STARTS = {  # the recorder's noon is the same day in nearly every zone
    MAIN: datetime(2026, 11, 20, 9, 4, 31, tzinfo=UTC),
    OLDER: datetime(2026, 11, 13, 14, 20, 5, tzinfo=UTC),
    RECORDER: datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC),
}
MARKER = "complete.txt"  # written last; holds the folder that the database speaks of
INSERT_OBSERVATION = """INSERT INTO observations (id, recording_id, frame_id, type, timestamp, image_path,
  vlm_description, activity_type, apps, topics, created_at) VALUES (:id, :recording_id, :frame_id, 'visual',
  :timestamp, :image_path, :description, :activity, :apps, :topics, datetime(:captured_at, '+1 hour'))"""
INSERT_FRAME = """INSERT INTO frames (id, display_id, captured_at, timestamp, image_path, width, height,
  analyzed) VALUES (:frame_id, '1', :captured_at, :timestamp, :image_path, 1024, 576, 1)"""
PURGED = (14, 38, 61)  # screenshots whose file the system has removed


class DemoData(NamedTuple):
    """Where the generated data lie."""

    database: Path  # an Escribano database with its screenshots beside it
    answers: Path  # JSON: what the simulated model knows of each screenshot


def prepare_demo(folder: Path) -> DemoData:
    """Draw the demo's data under ``folder`` on the first call (seconds), find them again afterwards.

    The folder's name holds a hash of what shapes the data, so another version draws its own; it appears under
    that name only when it is complete. The database holds absolute paths: a moved folder is drawn again.
    """
    digest = hashlib.sha256(f"{SEED} {PIL.__version__}".encode())
    for name in ("data.py", "drawing.py", "model.py", "escribano.sql", "odd_rows.sql", "stories.yaml"):
        digest.update((HERE / name).read_bytes())
    target = folder.expanduser().resolve() / f"demo-{digest.hexdigest()[:12]}"
    if not _is_complete(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=target.parent) as building:
            _draw_all(Path(building) / target.name, target)
            if not _is_complete(target):  # another process may have been faster
                shutil.rmtree(target, ignore_errors=True)
                (Path(building) / target.name).rename(target)
    return DemoData(target / "escribano.db", target / "answers.json")


def _is_complete(target: Path) -> bool:
    return (target / MARKER).is_file() and (target / MARKER).read_text() == str(target)


def _draw_all(building: Path, target: Path) -> None:
    (building / "frames").mkdir(parents=True)
    known = []
    with closing(sqlite3.connect(building / "escribano.db")) as database:
        database.executescript((HERE / "escribano.sql").read_text(encoding="utf-8"))
        for n, (row, entry, jpeg) in enumerate(_draw_shots()):
            path = f"frames/frame_{n + 1:06d}.jpg"
            row["image_path"] = str(target / path)
            database.execute(INSERT_OBSERVATION, row)
            if row["frame_id"]:
                database.execute(INSERT_FRAME, row)
            if n not in PURGED:
                (building / path).write_bytes(jpeg)
                known.append(entry)
        database.executescript((HERE / "odd_rows.sql").read_text(encoding="utf-8"))
    (building / "answers.json").write_text(json.dumps(known))
    (building / MARKER).write_text(str(target))


def _draw_shots() -> Iterator[tuple[dict, dict, bytes]]:
    """Draw every screenshot, with its row in the database and the model's entry."""
    content = yaml.safe_load((HERE / "stories.yaml").read_text(encoding="utf-8"))
    rng, stories, shots = random.Random(SEED), content["stories"], content["shots"]
    for n, (number, shot) in enumerate(product(range(len(stories) + 1), shots)):
        # The first story is seen once more: half of it in the older recording, half by the recorder.
        recording = MAIN if number < len(stories) else OLDER if n % len(shots) < 5 else RECORDER
        offset_s = EVERY_S * (n if recording == MAIN else n % 5) + round(rng.uniform(0, 4), 2)
        moment = STARTS[recording] + timedelta(seconds=offset_s)
        story, app = stories[number % len(stories)], shot["apps"][number % 2]
        jpeg = io.BytesIO()
        image = draw_screenshot(shot, story, number, app, f"{moment:%a %d %b  %H:%M}")
        image.save(jpeg, format="JPEG", quality=JPEG_QUALITY)
        words = {key: shot[key].format(**story).strip().replace("|", "/") for key in ("doing", "quote")}
        entry = {
            "frame_id": str(uuid.UUID(int=rng.getrandbits(128))),
            "sha256": hashlib.sha256(jpeg.getvalue()).hexdigest(),
            "thumbnail": base64.b64encode(thumbnail(Image.open(jpeg)).astype("uint8").tobytes()).decode(),
            "description": content["said"].format(app=app, **words),
            "activity": shot["activity"],
            "apps": [app],
            "topics": [story["project"], story["subject"]],
        }
        row = {
            "id": entry["frame_id"],
            "recording_id": recording,
            "frame_id": None if recording else f"FRAME-{n}",
            "timestamp": offset_s if recording else moment.timestamp(),
            "captured_at": f"{moment:%Y-%m-%dT%H:%M:%S}.000Z",
            "description": rng.choice(content["stored"]).format(app=app, **words),
            "activity": shot["activity"] if rng.random() < 0.9 else "reading",
            "apps": json.dumps([app]),
            "topics": json.dumps(entry["topics"][: rng.choice((1, 2, 2))]),
        }
        yield row, entry, jpeg.getvalue()

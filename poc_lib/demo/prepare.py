"""Building the demo data once and finding it again."""

import hashlib
import io
import json
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import Image

from poc_lib.demo.rows import (
    Take,
    answer_entry,
    audio_row,
    frame_row,
    has_image,
    image_name,
    observation_row,
    plan_takes,
    processing_rows,
    recording_rows,
)
from poc_lib.demo.screenshots import draw_screenshot
from poc_lib.demo.script import read_day
from poc_lib.demo.tables import create_database, insert_rows

SEED = 20261120
DATABASE, ANSWERS, CONTENTS = "escribano.db", "answers.json", "contents.json"
# The recorder's last two frames: one is waiting for its description, one was given up.
NOT_DESCRIBED = {6: 0, 7: 2}


@dataclass(frozen=True, slots=True)
class DemoData:
    """Where the demo data lie."""

    database: Path  # an Escribano database with its screenshots beside it
    answers: Path  # JSON: what is in each picture, by the SHA-256 of the file's bytes


def prepare_demo(folder: Path) -> DemoData:
    """The embedded demo data under ``folder``: built on the first call (seconds), found again afterwards.

    The name of the folder holds a hash of everything that shapes the data, so a newer version builds its own.
    It appears under that name only when it is complete.
    """
    target = folder.expanduser().resolve() / f"demo-{_content_hash()}"
    if not _is_complete(target):
        _build_beside(target)
    return DemoData(target / DATABASE, target / ANSWERS)


def _build_beside(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        building.chmod(0o755)
        _build(building, target)
        if target.exists() and not _is_complete(target):
            shutil.rmtree(target)
        try:
            building.rename(target)
        except OSError:
            # Another process was faster; its data are the same.
            if not _is_complete(target):
                raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _build(building: Path, target: Path) -> None:
    """Write everything into ``building``; the paths in the database are those under ``target``."""
    takes = plan_takes(read_day(), SEED)
    answers = {}
    with closing(create_database(building / DATABASE)) as connection:
        insert_rows(connection, "recordings", recording_rows())
        for take in takes:
            data = draw_screenshot(take.shot, f"{take.moment:%a %d %b  %H:%M}")
            path = target / image_name(take)
            if has_image(take):
                _write(building / image_name(take), data)
                answers[hashlib.sha256(data).hexdigest()] = answer_entry(take, _row_id(take))
            if take.shot.recording == "recorder":
                picture = Image.open(io.BytesIO(data))
                analyzed = NOT_DESCRIBED.get(take.number, 1)
                insert_rows(connection, "frames", [frame_row(take, str(path), picture, analyzed)])
            if _is_described(take):
                insert_rows(connection, "observations", [observation_row(take, str(path))])
        insert_rows(connection, "observations", [audio_row()])
        in_main = sum(take.shot.recording == "main" for take in takes)
        in_older = sum(take.shot.recording == "older" for take in takes)
        for table, row in processing_rows(in_main, in_older):
            insert_rows(connection, table, [row])
        connection.commit()
    _write(building / ANSWERS, json.dumps(answers, indent=1).encode())
    contents = {"folder": str(target), "images": len(answers)}
    _write(building / CONTENTS, json.dumps(contents).encode())


def _is_complete(target: Path) -> bool:
    """Whether all files are there and the folder was not moved, since the database holds absolute paths."""
    if not (target / CONTENTS).is_file():
        return False
    contents = json.loads((target / CONTENTS).read_text(encoding="utf-8"))
    images = sum(1 for _ in target.rglob("*.jpg"))
    files = (target / DATABASE).is_file() and (target / ANSWERS).is_file()
    return files and contents == {"folder": str(target), "images": images}


def _is_described(take: Take) -> bool:
    return not (take.shot.recording == "recorder" and take.number in NOT_DESCRIBED)


def _row_id(take: Take) -> str:
    return take.observation_id if _is_described(take) else take.frame_id


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _content_hash() -> str:
    """Twelve digits that change with the drawing code, the script, the seed or Pillow."""
    digest = hashlib.sha256(f"{SEED} {PIL.__version__}".encode())
    folder = Path(__file__).parent
    for source in sorted([*folder.glob("*.py"), *folder.glob("*.json")]):
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:12]

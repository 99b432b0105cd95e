"""Escribano databases of several ages in temporary files, built row by row for the tests."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from poc_lib.params import PROJECT_ROOT

NOON = 1_795_176_000.0  # 2026-11-20T12:00:00Z
DAY = "2026-11-20T00:00Z/2026-11-21T00:00Z"  # around it

# The tables at migration 24.
SCHEMA = (PROJECT_ROOT / "demo" / "escribano.sql").read_text(encoding="utf-8").partition("\n\n")[0]
# What a migration added: an older file lacks it.
LATER = {17: "tb_id", 16: "vlm_stats", 15: "frame_id", 6: "vlm_raw_response", 3: "activity_type apps topics"}
LATER_TABLES = {14: "frames", 5: "processing_stats processing_runs"}


class RawText(bytes):
    """Bytes that are stored as TEXT, whether they are UTF-8 or not."""


def make_database(path: Path, version: int = 24) -> Path:
    """An empty database as the app had it after migration ``version``; closed, so nothing lies beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        for added, columns in LATER.items():
            for column in columns.split() if version < added else ():
                connection.execute(f"ALTER TABLE observations DROP COLUMN {column}")
        for added, tables in LATER_TABLES.items():
            for table in tables.split() if version < added else ():
                connection.execute(f"DROP TABLE {table}")
    return path


def add_rows(path: Path, table: str, *rows: dict[str, Any]) -> None:
    """Insert rows and close, which folds the write-ahead log into the file."""
    with closing(sqlite3.connect(path)) as connection:
        for row in rows:
            marks = ["CAST(? AS TEXT)" if isinstance(value, RawText) else "?" for value in row.values()]
            values = [bytes(value) if isinstance(value, RawText) else value for value in row.values()]
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(marks)})", values)
        connection.commit()


def recording(recording_id: str = "r1", captured_at: Any = "2026-11-20T09:00:00.000Z", **more: Any) -> dict:
    """A processed recording of ten minutes."""
    base = {"id": recording_id, "captured_at": captured_at, "duration": 600.0, "source_type": "cap"}
    return base | {"status": "processed"} | more


def observation(observation_id: Any, timestamp: Any, image: Any, **more: Any) -> dict:
    """A described frame of recording r1; ``more`` replaces or adds columns."""
    base = {"id": observation_id, "recording_id": "r1", "type": "visual", "timestamp": timestamp}
    image = str(image) if isinstance(image, Path) else image
    return base | {"image_path": image, "vlm_description": "Editing tide_model.py in VS Code"} | more


def shot(frame_id: str, timestamp: Any, image: Any, **more: Any) -> dict:
    """A frame of the always-on recorder."""
    base = {"id": frame_id, "display_id": "1", "captured_at": "2026-11-20T12:00:00Z", "timestamp": timestamp}
    return base | {"image_path": str(image), "analyzed": 1} | more


def make_image(path: Path, size: tuple[int, int] = (64, 36), colour: str = "#336699") -> Path:
    """A small JPEG of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, format="JPEG")
    return path


def make_recording(folder: Path, n_frames: int = 3, version: int = 24) -> Path:
    """A database with one recording, r1, of ``n_frames`` described frames ten seconds apart."""
    path = make_database(folder / "escribano.db", version)
    image = make_image(folder / "frames" / "frame.jpg")
    add_rows(path, "recordings", recording())
    add_rows(path, "observations", *(observation(f"o{i}", 10.0 * i, image) for i in range(n_frames)))
    return path

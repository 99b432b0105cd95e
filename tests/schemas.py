"""Escribano databases of several ages in temporary files, built row by row for the tests."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from poc_lib.demo.tables import create_database, insert_rows

DESCRIPTION = "Editing tide_model.py in VS Code"

# Columns of observations that a migration added, newest first: an older file lacks all from its own on.
ADDED_COLUMNS = {
    17: ("tb_id",),
    16: ("vlm_stats",),
    15: ("frame_id",),
    6: ("vlm_raw_response",),
    3: ("activity_type", "apps", "topics"),
}
ADDED_TABLES = {14: ("frames",), 5: ("processing_runs", "processing_stats")}


def make_database(path: Path, version: int = 24) -> Path:
    """An empty database as the app had it after migration ``version``; closed, so nothing lies beside it."""
    with closing(create_database(path)) as connection:
        connection.executescript("DROP INDEX idx_observations_frame; DROP INDEX idx_obs_recording_time;")
        for added, columns in ADDED_COLUMNS.items():
            for column in columns if version < added else ():
                connection.execute(f"ALTER TABLE observations DROP COLUMN {column}")
        for added, tables in ADDED_TABLES.items():
            for table in tables if version < added else ():
                connection.execute(f"DROP TABLE {table}")
        connection.execute("DELETE FROM _schema_version WHERE version > ?", (version,))
        connection.execute(f"PRAGMA user_version = {version if version >= 14 else 0}")
        connection.commit()
    return path


def add_rows(path: Path, table: str, *rows: dict[str, Any]) -> None:
    """Insert rows and close, which folds the write-ahead log into the file."""
    with closing(sqlite3.connect(path)) as connection:
        insert_rows(connection, table, rows)
        connection.commit()


def recording(recording_id: str = "r1", captured_at: str = "2026-11-20T09:00:00.000Z", **more: Any) -> dict:
    """A processed recording of ten minutes."""
    base = {"id": recording_id, "captured_at": captured_at, "duration": 600.0, "source_type": "cap"}
    return base | {"status": "processed"} | more


def observation(observation_id: str, timestamp: float, image: Path | None, **more: Any) -> dict:
    """A described frame of recording r1; ``more`` replaces or adds columns."""
    base = {
        "id": observation_id,
        "recording_id": "r1",
        "type": "visual",
        "timestamp": timestamp,
        "image_path": str(image) if image else None,
        "vlm_description": DESCRIPTION,
    }
    return base | more


def recorder_frame(frame_id: str, timestamp: float, image: Path, **more: Any) -> dict:
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


__all__ = [
    "DESCRIPTION",
    "add_rows",
    "make_database",
    "make_image",
    "make_recording",
    "observation",
    "recorder_frame",
    "recording",
]

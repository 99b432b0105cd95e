"""Escribano databases of several ages in temporary files, built row by row for the tests."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

NOON = 1_795_176_000.0  # 2026-11-20T12:00:00Z
DAY = "2026-11-20T00:00Z/2026-11-21T00:00Z"  # around it

# The columns of each table at migration 24, in the app's order.
TABLES = {
    "_schema_version": "version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT (datetime('now'))",
    "recordings": """
        id TEXT PRIMARY KEY, video_path TEXT, audio_mic_path TEXT, audio_system_path TEXT,
        duration REAL NOT NULL, captured_at TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'raw',
        processing_step TEXT, source_type TEXT NOT NULL, source_metadata TEXT, error_message TEXT,
        created_at TEXT NOT NULL DEFAULT (datetime('now')),
        updated_at TEXT NOT NULL DEFAULT (datetime('now'))""",
    "frames": """
        id TEXT PRIMARY KEY, display_id TEXT NOT NULL, captured_at TEXT NOT NULL, timestamp REAL NOT NULL,
        image_path TEXT NOT NULL, phash TEXT, width INTEGER, height INTEGER, analyzed INTEGER DEFAULT 0,
        processing_lock_id TEXT, processing_started_at TEXT, retry_count INTEGER DEFAULT 0, failed_at TEXT,
        created_at TEXT DEFAULT (datetime('now'))""",
    "observations": """
        id TEXT PRIMARY KEY, recording_id TEXT REFERENCES recordings(id) ON DELETE CASCADE,
        frame_id TEXT REFERENCES frames(id), type TEXT NOT NULL, timestamp REAL NOT NULL, end_timestamp REAL,
        image_path TEXT, ocr_text TEXT, vlm_description TEXT, vlm_raw_response TEXT, activity_type TEXT,
        apps TEXT, topics TEXT, text TEXT, audio_source TEXT, audio_type TEXT, embedding BLOB,
        created_at TEXT NOT NULL DEFAULT (datetime('now')), vlm_stats TEXT, tb_id TEXT""",
    "processing_runs": """
        id TEXT PRIMARY KEY, recording_id TEXT NOT NULL REFERENCES recordings(id), run_type TEXT NOT NULL,
        status TEXT NOT NULL DEFAULT 'running', started_at TEXT NOT NULL, completed_at TEXT,
        total_duration_ms INTEGER, error_message TEXT, metadata TEXT""",
    "processing_stats": """
        id TEXT PRIMARY KEY, run_id TEXT NOT NULL REFERENCES processing_runs(id) ON DELETE CASCADE,
        phase TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'running', started_at TEXT NOT NULL,
        completed_at TEXT, duration_ms INTEGER, items_total INTEGER, items_processed INTEGER,
        metadata TEXT""",
}
# What a migration added: an older file lacks it.
LATER = {17: "tb_id", 16: "vlm_stats", 15: "frame_id", 6: "vlm_raw_response", 3: "activity_type apps topics"}
LATER_TABLES = {14: "frames", 5: "processing_stats processing_runs"}


class RawText(bytes):
    """Bytes that are stored as TEXT, whether they are UTF-8 or not."""


def make_database(path: Path, version: int = 24) -> Path:
    """An empty database as the app had it after migration ``version``; closed, so nothing lies beside it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for name, columns in TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
        for added, columns in LATER.items():
            for column in columns.split() if version < added else ():
                connection.execute(f"ALTER TABLE observations DROP COLUMN {column}")
        for added, tables in LATER_TABLES.items():
            for table in tables.split() if version < added else ():
                connection.execute(f"DROP TABLE {table}")
        connection.executemany(
            "INSERT INTO _schema_version (version) VALUES (?)", [(n + 1,) for n in range(version)]
        )
        connection.execute(f"PRAGMA user_version = {version if version >= 14 else 0}")
        connection.commit()
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

"""The tables of an Escribano database at migration 24, as far as this project reads or fills them."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 24

# The columns of each table, in the app's order.
TABLES: dict[str, str] = {
    "_schema_version": """
        version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL DEFAULT (datetime('now'))""",
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
INDICES = (
    "CREATE INDEX idx_recordings_captured_at ON recordings(captured_at)",
    "CREATE INDEX idx_obs_recording_time ON observations(recording_id, timestamp)",
    "CREATE INDEX idx_observations_frame ON observations(frame_id)",
    "CREATE INDEX idx_frames_captured ON frames(timestamp)",
)


def create_database(path: Path) -> sqlite3.Connection:
    """A new, empty Escribano database in write-ahead logging mode, open for writing."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    for name, columns in TABLES.items():
        connection.execute(f"CREATE TABLE {name} ({columns})")
    for statement in INDICES:
        connection.execute(statement)
    applied = [{"version": n, "applied_at": "2026-06-12 07:30:00"} for n in range(1, SCHEMA_VERSION + 1)]
    insert_rows(connection, "_schema_version", applied)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.commit()
    return connection


def insert_rows(connection: sqlite3.Connection, table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows given as column-value pairs; columns that a row leaves out take their defaults."""
    for row in rows:
        marks = ", ".join(f":{name}" for name in row)
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", row)

"""The list of recordings, and which of them a selection means."""

import sqlite3
from pathlib import Path

from poc_lib.errors import SetupProblem
from poc_lib.escribano.opening import open_database
from poc_lib.escribano.references import reference_problem
from poc_lib.escribano.schema import check_schema, read_columns, select_list
from poc_lib.records import Recording

# A recording of this name holds the blocks of the always-on recorder; it never has frames of its own.
SENTINEL_ID = "__recorder__"
NAMED_IDS = 3  # ids listed in an error message

RECORDING_COLUMNS = ("id", "captured_at", "duration", "status", "video_path")


def read_recordings(database: Path) -> list[Recording]:
    """All recordings, newest first by capture time; the recorder's sentinel is left out.

    Raises:
        SetupProblem: the file cannot be read or is not Escribano's.
    """
    with open_database(database) as connection:
        check_schema(connection, database)
        return list_recordings(connection)


def list_recordings(connection: sqlite3.Connection) -> list[Recording]:
    """As ``read_recordings``, on an open connection whose schema has been checked."""
    connection.create_function(
        "is_usable", 2, lambda text, activity: reference_problem(text, activity) is None
    )
    columns = select_list(connection, "recordings", "r", RECORDING_COLUMNS)
    has_activity = "activity_type" in read_columns(connection, "observations")
    activity = "o.activity_type" if has_activity else "NULL"
    rows = connection.execute(
        f"""
        SELECT {columns}, count(o.id) AS n_frames,
               coalesce(sum(o.id IS NOT NULL AND is_usable(o.vlm_description, {activity})), 0) AS n_usable
        FROM recordings r LEFT JOIN observations o ON o.recording_id = r.id AND o.type = 'visual'
        WHERE r.id <> ?
        GROUP BY r.id
        ORDER BY datetime(r.captured_at) DESC, r.captured_at DESC, r.rowid DESC
        """,
        (SENTINEL_ID,),
    )
    return [_recording(row) for row in rows]


def _recording(row: sqlite3.Row) -> Recording:
    return Recording(
        recording_id=row["id"],
        captured_at=row["captured_at"],
        duration_s=row["duration"],
        status=row["status"],
        video_path=Path(row["video_path"]) if row["video_path"] else None,
        n_frames=row["n_frames"],
        n_usable=row["n_usable"],
    )


def latest_recording(recordings: list[Recording], database: Path, recorder_hint: str) -> Recording:
    """The newest recording with a usable description; ``recordings`` are newest first.

    Raises:
        SetupProblem: there is none; ``recorder_hint`` says what the always-on recorder has instead.
    """
    for recording in recordings:
        if recording.n_usable:
            return recording
    if not recordings:
        raise SetupProblem(
            f"{database} holds no recordings: {recorder_hint or 'record and process one in the app'}"
        )
    n_frames = sum(recording.n_frames for recording in recordings)
    raise SetupProblem(
        f"none of the {len(recordings)} recordings in {database} has a usable description "
        f"({n_frames} frames in all): {recorder_hint or 'let the app process a recording first'}"
    )


def unknown_selection(selection: str, recordings: list[Recording], database: Path) -> SetupProblem:
    """The problem of a selection that is neither a recording's id nor a time."""
    newest = ", ".join(f"'{recording.recording_id}'" for recording in recordings[:NAMED_IDS]) or "none"
    return SetupProblem(
        f"no recording '{selection}' in {database}: give 'latest', one of the newest ids ({newest}), "
        "a day (2026-11-20) or a time window (2026-11-20T09:00/2026-11-20T12:30)"
    )

"""The frames of a recording or of a stretch of the always-on recorder, with their stored references."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from poc_lib.errors import SetupProblem
from poc_lib.escribano.images import check_image
from poc_lib.escribano.opening import open_database
from poc_lib.escribano.recordings import latest_recording, list_recordings, unknown_selection
from poc_lib.escribano.references import parse_reference, parse_vlm_model
from poc_lib.escribano.schema import check_schema, read_columns, select_list
from poc_lib.escribano.windows import Window, parse_window
from poc_lib.records import Frame, Recording

OBSERVATION_COLUMNS = (
    "image_path",
    "ocr_text",
    "vlm_description",
    "activity_type",
    "apps",
    "topics",
    "created_at",
)
# What the recorder notes about a frame that has no observation yet (column ``analyzed``).
NOT_DESCRIBED = {0: "not described yet", 2: "the app gave up describing it"}


@dataclass(frozen=True, slots=True)
class ModelRun:
    """A processing run of a recording: from when on which model wrote the descriptions."""

    started_utc: str | None  # as SQLite's datetime() writes it
    model: str


def read_frames(database: Path, selection: str) -> list[Frame]:
    """All visual rows of a selection in time order, unusable ones included with the reason.

    ``selection`` is "latest" (the newest recording with a usable description), a recording's id, or, for the
    always-on recorder, a local day "2026-11-20" or a window "2026-11-20T09:00/2026-11-20T12:30".

    Raises:
        SetupProblem: the file cannot be read, is not Escribano's, or the selection is unknown or empty.
    """
    with open_database(database) as connection:
        check_schema(connection, database)
        recordings = list_recordings(connection)
        recording = _find_recording(connection, recordings, selection, database)
        if recording is not None:
            return _read_recording_frames(connection, recording, database)
        window = parse_window(selection)
        if window is None:
            raise unknown_selection(selection, recordings, database)
        return _read_recorder_frames(connection, window, selection, database)


def _find_recording(
    connection: sqlite3.Connection, recordings: list[Recording], selection: str, database: Path
) -> Recording | None:
    if selection == "latest":
        return latest_recording(recordings, database, _recorder_hint(connection))
    return next((r for r in recordings if r.recording_id == selection), None)


def _read_recording_frames(
    connection: sqlite3.Connection, recording: Recording, database: Path
) -> list[Frame]:
    columns = select_list(connection, "observations", "o", OBSERVATION_COLUMNS)
    rows = connection.execute(
        f"""
        SELECT o.id AS id, o.timestamp AS timestamp, o.recording_id AS recording_id, NULL AS captured_at,
               NULL AS analyzed, {columns}, datetime(o.created_at) AS created_utc
        FROM observations o WHERE o.recording_id = ? AND o.type = 'visual'
        ORDER BY o.timestamp, o.rowid
        """,
        (recording.recording_id,),
    ).fetchall()
    if not rows:
        raise SetupProblem(
            f"recording '{recording.recording_id}' has no frames (status {recording.status}): "
            "let the app process it, or choose another recording"
        )
    runs = _read_model_runs(connection, recording.recording_id)
    return [_frame(row, _model_at(runs, row["created_utc"]), database) for row in rows]


def _read_recorder_frames(
    connection: sqlite3.Connection, window: Window, selection: str, database: Path
) -> list[Frame]:
    rows: list[sqlite3.Row] = []
    if read_columns(connection, "frames"):
        rows += connection.execute(_recorder_query(connection), (window.start_unix_s, window.end_unix_s))
        rows += connection.execute(_orphan_query(connection), (window.start_unix_s, window.end_unix_s))
    if not rows:
        hint = _recorder_hint(connection) or "this file has no frames of the always-on recorder"
        raise SetupProblem(f"no recorder frames in {selection}: {hint}")
    return sorted((_frame(row, None, database) for row in rows), key=lambda f: (f.timestamp_s, f.frame_id))


def _recorder_query(connection: sqlite3.Connection) -> str:
    """Frames with their newest observation: a frame that was described twice is still one frame."""
    frame_columns = select_list(connection, "frames", "f", ("captured_at", "analyzed"))
    columns = select_list(connection, "observations", "o", OBSERVATION_COLUMNS[1:])
    newest = "NULL"
    if "frame_id" in read_columns(connection, "observations"):
        newest = """(SELECT n.id FROM observations n WHERE n.frame_id = f.id AND n.type = 'visual'
                     ORDER BY n.created_at DESC, n.rowid DESC LIMIT 1)"""
    return f"""
        SELECT coalesce(o.id, f.id) AS id, f.timestamp AS timestamp, NULL AS recording_id, {frame_columns},
               f.image_path AS image_path, {columns}
        FROM frames f LEFT JOIN observations o ON o.id = {newest}
        WHERE f.timestamp >= ? AND f.timestamp < ?
    """


def _orphan_query(connection: sqlite3.Connection) -> str:
    """The recorder's observations whose frame row is gone."""
    columns = select_list(connection, "observations", "o", OBSERVATION_COLUMNS)
    has_frame_id = "frame_id" in read_columns(connection, "observations")
    frame_gone = "NOT EXISTS (SELECT 1 FROM frames f WHERE f.id = o.frame_id)" if has_frame_id else "1"
    return f"""
        SELECT o.id AS id, o.timestamp AS timestamp, NULL AS recording_id, NULL AS captured_at,
               NULL AS analyzed, {columns}
        FROM observations o
        WHERE o.recording_id IS NULL AND o.type = 'visual' AND {frame_gone}
          AND o.timestamp >= ? AND o.timestamp < ?
    """


def _frame(row: sqlite3.Row, model: str | None, database: Path) -> Frame:
    path = _image_path(row["image_path"], database)
    width, height, image_problem = check_image(path)
    reference, problem = parse_reference(
        row["vlm_description"], row["activity_type"], row["apps"], row["topics"], model
    )
    if row["vlm_description"] is None and row["analyzed"] in NOT_DESCRIBED:
        problem = NOT_DESCRIBED[row["analyzed"]]
    return Frame(
        frame_id=str(row["id"]),
        timestamp_s=float(row["timestamp"]),
        image_path=path or Path(),
        recording_id=row["recording_id"],
        captured_at=row["captured_at"],
        width=width,
        height=height,
        image_problem=image_problem,
        reference=reference,
        reference_problem=problem,
        ocr_text=row["ocr_text"],
    )


def _image_path(stored: str | None, database: Path) -> Path | None:
    """A relative path counts from the database's folder; the app itself stores absolute ones."""
    return database.expanduser().parent / Path(stored).expanduser() if stored else None


def _read_model_runs(connection: sqlite3.Connection, recording_id: str) -> list[ModelRun]:
    if not read_columns(connection, "processing_runs"):
        return []
    rows = connection.execute(
        "SELECT datetime(started_at), metadata FROM processing_runs WHERE recording_id = ? "
        "ORDER BY datetime(started_at) DESC",
        (recording_id,),
    )
    runs = [(started, parse_vlm_model(metadata)) for started, metadata in rows]
    return [ModelRun(started, model) for started, model in runs if model]


def _model_at(runs: list[ModelRun], created_utc: str | None) -> str | None:
    """The model of the newest run that had started when the row was written; ``runs`` are newest first."""
    for run in runs:
        if created_utc is None or run.started_utc is None or run.started_utc <= created_utc:
            return run.model
    return None


def _recorder_hint(connection: sqlite3.Connection) -> str:
    """What the always-on recorder holds and how to choose it; empty where it holds nothing."""
    if not read_columns(connection, "frames"):
        return ""
    n, last = connection.execute("SELECT count(*), max(timestamp) FROM frames").fetchone()
    if not n:
        return ""
    day = datetime.fromtimestamp(last).astimezone().date()
    return f"the always-on recorder holds {n} frames, the last from {day}: set recording to '{day}'"

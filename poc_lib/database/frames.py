"""The frames of a recording or of a stretch of the always-on recorder, with their stored references."""

import os
import re
import sqlite3
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from poc_lib.database.opening import REQUIRED, read_columns, read_database, select_list
from poc_lib.database.recovery import UNKNOWN, draw_sample
from poc_lib.images import look_at_image
from poc_lib.records import Frame, Recording, Reference, SetupProblem
from poc_lib.text import one_line, repair

MOST_FRAMES = 500  # of them take part where no number is asked for
SENTINEL_ID = "__recorder__"  # this recording holds the recorder's blocks and never has frames of its own
LATEST_S = 2.5e11  # Unix seconds in the year 9892: what is beyond is no moment
PLACEHOLDERS = ("No description", "Parse error", "Failed to parse Frame")  # the app's words for a failure
NOT_DESCRIBED = {0: "not described yet", 2: "the app gave up describing it"}  # by column ``analyzed``
STORED = "vlm_description activity_type apps topics"


@dataclass(frozen=True, slots=True)
class Selection:
    """The frames that take part, and what became of all others."""

    frames: list[Frame]  # in time order, with label, look, SHA-256, width and height
    counts: dict[str, int]  # "frames" = "usable" + every "not usable: …"; and "in the sample", ...
    recording: str  # what was chosen, in words
    whole: bool  # every usable frame takes part


def read_recordings(database: Path) -> list[Recording]:
    """All recordings, newest first by capture time; the recorder's sentinel is left out.

    Raises:
        SetupProblem: the file cannot be read or is not Escribano's.
    """
    folder = Path(os.path.expanduser(database)).absolute().parent
    return read_database(database, lambda connection: _list_recordings(connection, folder))


def select_frames(
    database: Path, recording: str, n_frames: int, recover_into: Path | None = None
) -> Selection:
    """The sample of a recording, or of a stretch of the always-on recorder, spread evenly over time.

    A frame is usable when its image can be sent and, where any frame has one, with a usable reference. The
    database is closed before the first image is opened.

    Args:
        recording: "latest" (the newest with a usable description), a recording's id, a local day "2026-11-20"
            or a window "2026-11-20T09:00/2026-11-20T12:30" of the always-on recorder.
        n_frames: at most so many; 0: all usable ones, thinned to MOST_FRAMES.
        recover_into: folder for missing images, cut again from the recording's video; None: leave them out.

    Raises:
        SetupProblem: a wrong file, an unknown recording, no usable frame, or a folder that cannot be written.
    """
    folder = Path(os.path.expanduser(database)).absolute().parent
    chosen, named, to_do, rows = read_database(database, lambda c: read_rows(c, folder, recording))
    frames = [look_at_image(_frame(row, folder), whole=False) for row in rows]
    frames.sort(key=lambda frame: (frame.timestamp_s, frame.frame_id))
    video = chosen.video_path if chosen and recover_into and os.path.isfile(chosen.video_path or "") else None
    home = Path(os.path.expanduser("~/.escribano")).resolve()
    if video and (recover_into.resolve() == folder.resolve() or recover_into.resolve().is_relative_to(home)):
        raise SetupProblem(f"{one_line(recover_into)} is Escribano's: recover images into another folder")
    sample, usable, lost = draw_sample(frames, n_frames or MOST_FRAMES, video, recover_into)
    counts = {"frames": len(rows), "usable": len(usable), "in the sample": len(sample)}
    if recover_into:
        how = "cut again from the video" if video else "cut again (there is no video)"
        counts[how] = sum(frame.recovered for frame in sample)
    unscored = [frame for frame in usable if not frame.reference]
    for prefix, some in (("not usable: ", lost), ("usable without a reference: ", unscored)):
        examples = {f.image_problem or f.reference_problem: f.image_path.name or f.frame_id for f in some}
        for reason, n in Counter(f.image_problem or f.reference_problem for f in some).most_common():
            counts[f"{prefix}{reason}, e.g. {one_line(examples[reason])}"] = n
    if not sample:
        why = "; ".join(f"{n} × {what}" for what, n in counts.items() if what.startswith("not usable"))
        raise SetupProblem(f"{named}: of {len(rows)} frames none is usable ({why or 'none found'}); {to_do}")
    return Selection(sample, counts, named, whole=len(sample) == len(usable))


def read_past_speed(database: Path) -> list[dict[str, Any]]:
    """The app's own speed, newest first: a finished run of its vision step each; empty where it noted none.

    Keys: recording_id, started_at (ISO), model (None: not noted), n_frames, duration_s, s_per_frame. Raises
    SetupProblem as ``read_recordings``.
    """
    # A resumed run notes all frames that were described before as processed in a few milliseconds: no speed.
    query = """
        SELECT r.recording_id, coalesce(s.started_at, r.started_at) AS started_at, r.metadata AS model,
               CAST(s.items_processed AS INTEGER) AS n_frames, s.duration_ms / 1e3 AS duration_s,
               s.duration_ms / 1e3 / CAST(s.items_processed AS INTEGER) AS s_per_frame
        FROM processing_stats s JOIN processing_runs r ON r.id = s.run_id
        WHERE s.phase = 'vlm-batch-inference' AND s.status = 'success' AND s_per_frame BETWEEN 0.01 AND 1e6
        ORDER BY datetime(coalesce(s.started_at, r.started_at)) DESC"""
    with_stats = "processing_stats"
    rows = read_database(database, lambda c: list(c.execute(query)) if read_columns(c, with_stats) else [])
    return [dict(row) | {"model": _model(row["model"])} for row in rows]


def parse_window(selection: str) -> tuple[float, float] | None:
    """Start and end in Unix seconds of a day or a window "A/B"; None: it is neither. Raises SetupProblem."""
    first, slash, last = (part.strip() for part in selection.partition("/"))
    if not re.match(r"\d{4}-\d{2}-\d{2}" if slash else r"\d{4}-\d{2}-\d{2}$", first):
        return None
    try:
        start = datetime.fromisoformat(first)
        end = datetime.fromisoformat(last) if slash else start + timedelta(days=1)
        window = start.timestamp(), end.timestamp()  # without an offset they are local: 23 to 25 hours a day
    except (ValueError, OverflowError, OSError) as error:
        raise SetupProblem(f"'{one_line(selection)}' is not a day or a time window: {error}") from None
    if window[1] <= window[0]:
        raise SetupProblem(f"the time window '{one_line(selection)}' ends before it starts: give start/end")
    return window


def reference_problem(description: Any, activity: Any) -> str | None:
    """Why a stored description is not usable as a reference; None: it is."""
    text = (_text(description) or "").strip().lower()
    if not text:
        found = "no description" if description is None else "empty description"
        return "description is not UTF-8 text" if _text(description or "") is None else f"{found} stored"
    for start in PLACEHOLDERS:
        if text.startswith(start.lower()):
            return f"placeholder '{start}…'"
    return "activity 'unknown': an unparsed reply" if str(activity).strip().lower() == "unknown" else None


def parse_names(stored: Any) -> tuple[str, ...] | None:
    """Names from a JSON array or from ``A, B``; None where nothing is stored, () for an empty array.

    The always-on recorder writes its arrays without escaping quotes, so a text in brackets need not be JSON.
    """
    text = (_text(stored) or "").strip()
    if not text or text == "null":
        return None
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        values = [part.strip().strip('"') for part in text.removeprefix("[").removesuffix("]").split(",")]
    values = values if isinstance(values, list) else [values]
    return tuple(str(v).strip() for v in values if isinstance(v, str | int | float) and str(v).strip())


def _list_recordings(connection: sqlite3.Connection, folder: Path) -> list[Recording]:
    columns = select_list(connection, "recordings", "id captured_at duration status video_path", "r")
    activity = select_list(connection, "observations", "activity_type", "o")
    visual = f"SELECT recording_id, vlm_description, {activity} FROM observations o WHERE type = 'visual'"
    n_frames, n_usable = Counter(), Counter()
    for recording_id, description, stored in connection.execute(visual):
        n_frames[recording_id] += 1
        n_usable[recording_id] += reference_problem(description, stored) is None
    newest_first = "ORDER BY datetime(r.captured_at) DESC, r.captured_at DESC, r.rowid DESC"
    rows = connection.execute(f"SELECT {columns} FROM recordings r {newest_first}").fetchall()
    return [
        Recording(
            recording_id=repair(str(row["id"])),
            captured_at=_text(row["captured_at"]),
            duration_s=_seconds(row["duration"]),
            status=_text(row["status"]),
            video_path=_find_file(row["video_path"], folder)[0] if row["video_path"] else None,
            n_frames=n_frames[row["id"]],
            n_usable=n_usable[row["id"]],
        )
        for row in rows
        if row["id"] != SENTINEL_ID
    ]


def read_rows(connection: sqlite3.Connection, folder: Path, selection: str) -> tuple[Any, str, str, list]:
    """The chosen recording (None: the recorder), its name, what to do if no frame is usable, and its rows."""
    recordings = _list_recordings(connection, folder)
    chosen = [r for r in recordings if (r.n_usable if selection == "latest" else r.recording_id == selection)]
    # Older files have no table of the always-on recorder's frames, or no link to it, or no processing runs.
    frames = f"(SELECT {select_list(connection, 'none', REQUIRED['frames'], '')})"
    frames = "frames" if read_columns(connection, "frames") else frames
    link = "o.frame_id" if "frame_id" in read_columns(connection, "observations") else "NULL"
    run = """(SELECT metadata FROM processing_runs p WHERE p.recording_id = o.recording_id AND metadata LIKE
              '%"vlm_model"%' AND coalesce(datetime(started_at) <= datetime(o.created_at), 1)
              ORDER BY datetime(started_at) DESC LIMIT 1)"""
    run = run if read_columns(connection, "processing_runs") else "NULL"
    recent = f"SELECT max(timestamp) FROM {frames} WHERE timestamp BETWEEN 0 AND {LATEST_S}"
    (last_s,) = connection.execute(recent).fetchone()
    day = last_s and datetime.fromtimestamp(last_s, UTC).astimezone().date()
    to_do = f"the always-on recorder's last day is {day or 'none'}"
    if chosen:
        condition, bounds = "recording_id = ?", (chosen[0].recording_id,)
        named = f"recording '{one_line(chosen[0].recording_id)}' of {one_line(chosen[0].captured_at)}"
        to_do = "the system purges old images, so choose a newer recording or one whose video still exists"
    elif bounds := parse_window(selection):
        outside = f"timestamp < ? OR timestamp BETWEEN ? AND {LATEST_S}"  # text and infinity are everywhere
        condition = f"recording_id IS NULL AND NOT coalesce({outside}, 0)"
        named = f"always-on recorder, {one_line(selection)}"
    else:
        newest = ", ".join(f"'{one_line(r.recording_id)}'" for r in recordings[:3]) or "there are none"
        is_latest = selection == "latest"
        wanted = (
            "with a usable description: give" if is_latest else f"'{one_line(selection)}': give 'latest',"
        )
        raise SetupProblem(
            f"no recording {wanted} one of the newest ids ({newest}), a day (2026-11-20) or "
            f"a time window (2026-11-20T09:00/2026-11-20T12:30); {to_do}"
        )
    rows = connection.execute(
        f"""SELECT * FROM (
                SELECT id AS frame, id, timestamp, NULL AS recording_id, image_path, captured_at, analyzed,
                       NULL AS run, NULL AS written, {select_list(connection, "none", STORED, "")}
                FROM {frames}
                UNION ALL
                SELECT coalesce(f.id, o.id), o.id, coalesce(f.timestamp, o.timestamp), o.recording_id,
                       coalesce(f.image_path, o.image_path), f.captured_at, f.analyzed, {run},
                       datetime(o.created_at), {select_list(connection, "observations", STORED, "o")}
                FROM observations o LEFT JOIN {frames} f ON f.id = {link} WHERE o.type = 'visual'
            ) WHERE {condition} ORDER BY written""",
        bounds,
    )
    # Described twice, it is still one frame; without any id each row is one of its own.
    newest_of_each = {i if row["frame"] is None else row["frame"]: row for i, row in enumerate(rows)}
    return chosen[0] if chosen else None, named, to_do, list(newest_of_each.values())


def _frame(row: sqlite3.Row, folder: Path) -> Frame:
    path, problem = _find_file(row["image_path"], folder)
    why = reference_problem(row["vlm_description"], row["activity_type"])
    if row["vlm_description"] is None:
        why = NOT_DESCRIBED.get(row["analyzed"], why)
    reference = None
    if why is None:
        activity = (_text(row["activity_type"]) or "").strip().lower() or None
        names = parse_names(row["apps"]), parse_names(row["topics"])
        reference = Reference(row["vlm_description"].strip(), activity, *names, _model(row["run"]))
    at_s = _seconds(row["timestamp"]) if _text(row["id"]) else None
    return Frame(
        frame_id=str(row["id"]),
        timestamp_s=at_s or 0.0,
        image_path=path,
        recording_id=_text(row["recording_id"]),
        captured_at=_text(row["captured_at"]),
        image_problem=UNKNOWN if at_s is None else problem,
        reference=reference,
        reference_problem=why,
    )


def _find_file(stored: Any, folder: Path) -> tuple[Path, str | None]:
    """Where a stored path leads, from the database's folder, and why it leads nowhere."""
    text = _text(stored)
    if not text or "\0" in text:
        why = "its image path is not readable text" if stored else "no image path stored"
        return Path(one_line(stored or "")), why
    try:
        return folder / Path(text).expanduser(), None
    except RuntimeError:
        return Path(text), "its image path begins with an unknown home"


def _model(metadata: Any) -> str | None:
    """Not read as JSON: a migration replaced every closing brace in older rows, which left invalid JSON."""
    found = re.search(r'"vlm_model"\s*:\s*"([^"]+)"', _text(metadata) or "")
    return found and found.group(1)


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value <= LATEST_S else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and repair(value) == value else None

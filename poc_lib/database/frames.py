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

from poc_lib.database.opening import read_columns, read_database, select_list
from poc_lib.database.recovery import MISSING, draw_sample
from poc_lib.records import Frame, Reference, SetupProblem
from poc_lib.text import one_line, repair

MOST_FRAMES = 500  # of them take part where no number is asked for
LATEST_S = 2.5e11  # Unix seconds in the year 9892: what is beyond is no moment
PLACEHOLDERS = re.compile("no description|parse error|failed to parse frame")  # the app's words for a failure
NOT_DESCRIBED = {0: "not described yet", 2: "the app gave up describing it"}  # by column ``analyzed``
STORED = "vlm_description activity_type apps topics"


@dataclass(frozen=True, slots=True)
class Selection:
    """The frames that take part, and what became of all others."""

    frames: list[Frame]  # in time order, with label, look, SHA-256, width and height
    counts: dict[str, int]  # "frames" = "usable" + every "not usable: …"; and "in the sample", ...
    recording: str  # what was chosen, in words
    whole: bool  # every usable frame takes part


def select_frames(
    database: Path, recording: str, n_frames: int, recover_into: Path | None = None
) -> Selection:
    """The sample of a recording, or of a stretch of the always-on recorder, evenly spread.

    A frame is usable when its image can be sent and, where any frame has one, with a usable reference.

    Args:
        recording: "latest" (the newest with a usable description), a recording's id, a local day "2026-11-20"
            or a window "2026-11-20T09:00/2026-11-20T12:30" of the always-on recorder.
        n_frames: at most so many; 0: all usable ones, thinned to MOST_FRAMES.
        recover_into: folder for missing images, cut again from the recording's video; None: leave them out.

    Raises:
        SetupProblem: a wrong file, an unknown recording, no usable frame, or a folder that cannot be written.
    """
    folder = Path(os.path.expanduser(database)).absolute().parent
    video, named, to_do, rows = read_database(database, lambda c: read_rows(c, folder, recording))
    frames = sorted((_frame(row, folder) for row in rows), key=lambda f: (f.timestamp_s, f.frame_id))
    video = video if recover_into and video and os.path.isfile(video) else None
    sample, usable, lost = draw_sample(frames, n_frames or MOST_FRAMES, video, recover_into)
    counts = {"frames": len(rows), "usable": len(usable), "in the sample": len(sample)}
    if video:
        counts["cut again from the video"] = sum(frame.recovered for frame in sample)
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

    Keys: recording_id, started_at (ISO), model (None: not noted), n_frames, duration_s, s_per_frame.

    Raises:
        SetupProblem: the file cannot be read or is not Escribano's.
    """
    # A resumed run notes all frames that were described before as processed in a few milliseconds: no speed.
    query = """
        SELECT r.recording_id, coalesce(s.started_at, r.started_at) AS started_at, r.metadata AS model,
               CAST(s.items_processed AS INTEGER) AS n_frames, s.duration_ms / 1e3 AS duration_s,
               s.duration_ms / 1e3 / CAST(s.items_processed AS INTEGER) AS s_per_frame
        FROM processing_stats s JOIN processing_runs r ON r.id = s.run_id
        WHERE s.phase = 'vlm-batch-inference' AND s.status = 'success' AND s_per_frame BETWEEN 0.01 AND 1e6
        ORDER BY datetime(coalesce(s.started_at, r.started_at)) DESC"""
    stats = "processing_stats"
    rows = read_database(database, lambda c: list(c.execute(query)) if read_columns(c, stats) else [])
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
        if window[1] > window[0]:
            return window
        error = "it ends before it starts"
    except (ValueError, OverflowError, OSError) as problem:
        error = problem
    raise SetupProblem(f"'{one_line(selection)}' is not a day or a time window: {error}")


def parse_names(stored: Any) -> tuple[str, ...] | None:
    """Names from a JSON array or from ``A, B``; None where nothing is stored, () for an empty array.

    The always-on recorder writes its arrays without escaping quotes, so a text in brackets need not be JSON.
    """
    text = _text(stored).strip()
    if not text or text == "null":
        return None
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        values = [part.strip().strip('"') for part in text.removeprefix("[").removesuffix("]").split(",")]
    values = values if isinstance(values, list) else [values]
    return tuple(str(v).strip() for v in values if isinstance(v, str | int | float) and str(v).strip())


def reference_problem(description: Any, activity: Any) -> str | None:
    """Why a stored description is not usable as a reference; None: it is."""
    text = _text(description).strip().lower()
    if not text:
        return f"{'no' if description is None else 'empty or unreadable'} description stored"
    if found := PLACEHOLDERS.match(text):
        return f"placeholder '{found[0]}…'"
    return "activity 'unknown': an unparsed reply" if str(activity).strip().lower() == "unknown" else None


def read_rows(connection: sqlite3.Connection, folder: Path, selection: str) -> tuple[Any, str, str, list]:
    """The video of what is selected (None: it has none), its name, what to do without frames, its rows."""
    # Older files have no table of the always-on recorder's frames, or no link to it, or no processing runs.
    frames = "(SELECT 0 AS id, 0 AS timestamp, 0 AS image_path, 0 AS analyzed LIMIT 0)"
    frames = "frames" if read_columns(connection, "frames") else frames
    link = "o.frame_id" if "frame_id" in read_columns(connection, "observations") else "NULL"
    run = """(SELECT metadata FROM processing_runs p WHERE p.recording_id = o.recording_id AND metadata LIKE
              '%"vlm_model"%' AND coalesce(datetime(started_at) <= datetime(o.created_at), 1)
              ORDER BY datetime(started_at) DESC LIMIT 1)"""
    run = run if read_columns(connection, "processing_runs") else "NULL"
    recent = f"SELECT max(timestamp) FROM {frames} WHERE timestamp BETWEEN 0 AND {LATEST_S}"
    (last_s,) = connection.execute(recent).fetchone()
    day = last_s and datetime.fromtimestamp(last_s, UTC).astimezone().date()
    to_do, video = f"the always-on recorder's last day is {day or 'none'}", None
    if chosen := _choose_recording(connection, selection, to_do):
        condition, bounds = "recording_id = ?", (chosen["id"],)
        named = f"recording '{one_line(chosen['id'])}' of {one_line(chosen['captured_at'])}"
        to_do = "the system purges old images, so choose a newer recording or one whose video still exists"
        video = _path(chosen["video_path"], folder)
    else:
        outside = f"timestamp < ? OR timestamp BETWEEN ? AND {LATEST_S}"  # text and infinity are everywhere
        condition, bounds = f"recording_id IS NULL AND NOT coalesce({outside}, 0)", parse_window(selection)
        named = f"always-on recorder, {one_line(selection)}"
    rows = connection.execute(
        f"""SELECT * FROM (
                SELECT id AS frame, id, timestamp, NULL AS recording_id, image_path, analyzed,
                       NULL AS run, NULL AS written, {select_list(connection, "none", STORED, "")}
                FROM {frames}
                UNION ALL
                SELECT coalesce(f.id, o.id), o.id, coalesce(f.timestamp, o.timestamp), o.recording_id,
                       coalesce(f.image_path, o.image_path), f.analyzed, {run},
                       datetime(o.created_at), {select_list(connection, "observations", STORED, "o")}
                FROM observations o LEFT JOIN {frames} f ON f.id = {link} WHERE o.type = 'visual'
            ) WHERE {condition} ORDER BY written""",
        bounds,
    )
    # Described twice, it is still one frame; without any id each row is one of its own.
    newest_of_each = {i if row["frame"] is None else row["frame"]: row for i, row in enumerate(rows)}
    return video, named, to_do, list(newest_of_each.values())


def _choose_recording(connection: sqlite3.Connection, selection: str, recorder: str) -> sqlite3.Row | None:
    """The recording that is selected; None: a stretch of the always-on recorder is."""
    activity = select_list(connection, "observations", "activity_type", "o")
    visual = f"SELECT recording_id, vlm_description, {activity} FROM observations o WHERE type = 'visual'"
    described = {row[0] for row in connection.execute(visual) if reference_problem(row[1], row[2]) is None}
    columns = select_list(connection, "recordings", "id captured_at video_path", "r")
    recordings = connection.execute(  # the sentinel holds the recorder's blocks and never has frames
        f"SELECT {columns} FROM recordings r WHERE id <> '__recorder__' "
        "ORDER BY datetime(r.captured_at) DESC, r.captured_at DESC, r.rowid DESC"
    ).fetchall()
    is_latest = selection == "latest"
    chosen = [r for r in recordings if (r["id"] in described if is_latest else r["id"] == selection)]
    if chosen or parse_window(selection):
        return next(iter(chosen), None)
    newest = ", ".join(f"'{one_line(r['id'])}'" for r in recordings[:3]) or "there are none"
    lacking = "with a usable description: give" if is_latest else f"'{one_line(selection)}': give 'latest',"
    raise SetupProblem(
        f"no recording {lacking} one of the newest ids ({newest}), a day (2026-11-20) or "
        f"a time window (2026-11-20T09:00/2026-11-20T12:30); {recorder}"
    )


def _frame(row: sqlite3.Row, folder: Path) -> Frame:
    path, at_s = _path(row["image_path"], folder), row["timestamp"]
    problem = None if path and os.path.isfile(path) else MISSING
    if path is None:
        problem = "its image path is not readable text" if row["image_path"] else "no image path stored"
    if not (_text(row["id"]) and isinstance(at_s, int | float) and 0 <= at_s <= LATEST_S):
        problem, at_s = "its id or its timestamp cannot be read", 0.0
    why = reference_problem(row["vlm_description"], row["activity_type"])
    if row["vlm_description"] is None:
        why = NOT_DESCRIBED.get(row["analyzed"], why)
    reference = None
    if why is None:
        activity = _text(row["activity_type"]).strip().lower() or None
        names = parse_names(row["apps"]), parse_names(row["topics"])
        reference = Reference(row["vlm_description"].strip(), activity, *names, _model(row["run"]))
    return Frame(
        frame_id=str(row["id"]),
        timestamp_s=float(at_s),
        image_path=path or Path(one_line(row["image_path"] or "")),
        recording_id=_text(row["recording_id"]) or None,
        image_problem=problem,
        reference=reference,
        reference_problem=why,
    )


def _path(stored: Any, folder: Path) -> Path | None:
    """Where a stored path leads, from the database's folder; None: it is none."""
    text = _text(stored)
    return folder / os.path.expanduser(text) if text and "\0" not in text else None


def _model(metadata: Any) -> str | None:
    """Not read as JSON: a migration replaced every closing brace in older rows, which left invalid JSON."""
    found = re.search(r'"vlm_model"\s*:\s*"([^"]+)"', _text(metadata))
    return found and found.group(1)


def _text(value: Any) -> str:
    """A stored text; "" for what is none, or not UTF-8."""
    return value if isinstance(value, str) and repair(value) == value else ""

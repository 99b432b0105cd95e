"""Escribano's database, read only, even while the app writes: frames with stored references, past speed."""

import os
import re
import shutil
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

from poc_lib.images import look_at_image
from poc_lib.records import Frame, Reference, SetupProblem
from poc_lib.text import one_line, repair

LATER_TABLES = {  # of later migrations of the app: an older file is read as if they were there and empty
    "frames": "id, timestamp, image_path, analyzed",
    "processing_runs": "id, recording_id, started_at, metadata",
    "processing_stats": "run_id, phase, status, started_at, duration_ms, items_processed",
}
LATER_COLUMNS = ("frame_id", "activity_type", "apps", "topics")  # of observations, as if there and NULL
MOST_FRAMES = 500  # of them take part where no number is asked for
LATEST_S = 2.5e11  # Unix seconds in the year 9892: what is beyond is no moment
PLACEHOLDERS = re.compile("no description|parse error|failed to parse frame")  # the app's words for a failure
NOT_DESCRIBED = {0: "not described yet", 2: "the app gave up describing it"}  # by column ``analyzed``
MISSING = "image missing"


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
    ``recording`` is "latest" (the newest with a usable description), a recording's id, or a day or window of
    the recorder (see parse_window). ``n_frames``: at most so many; 0: up to MOST_FRAMES. ``recover_into``:
    folder for images that are missing or damaged, cut again from the recording's video. Raises SetupProblem
    for a wrong file, an unknown recording, no usable frame, a folder that cannot be written.
    """
    folder = Path(os.path.expanduser(database)).absolute().parent
    video, named, to_do, rows = read_database(database, lambda c: read_rows(c, folder, recording))
    frames = sorted((_frame(row, folder) for row in rows), key=lambda f: (f.timestamp_s, f.frame_id))
    video = video if recover_into and video and os.path.isfile(video) else None
    hopeful = {None, MISSING} if video else {None}
    while True:
        sendable = [f for f in frames if f.image_problem in hopeful]
        usable = [f for f in sendable if f.reference] or sendable
        n = min(n_frames or MOST_FRAMES, len(usable))
        sample = [usable[round(i * (len(usable) - 1) / max(n - 1, 1))] for i in range(n)]
        unseen = [f for f in sample if f.look is None]
        if not unseen:
            break
        with ThreadPoolExecutor() as threads:
            looked_at = {f.frame_id: f for f in threads.map(look_at_image, unseen)}
        lost = [f for f in looked_at.values() if f.image_problem]
        if video and lost:
            looked_at |= recover_images(lost, video, recover_into)
        frames = [looked_at.get(f.frame_id, f) for f in frames]
    for i, frame in enumerate(sample):
        clock = "{:02d}:{:02d}".format(*divmod(int(frame.timestamp_s), 60))
        if frame.recording_id is None:
            clock = f"{datetime.fromtimestamp(frame.timestamp_s, UTC).astimezone():%H:%M}"
        sample[i] = replace(frame, label=f"frame {i + 1} · {clock}")
    counts = {"frames": len(rows), "usable": len(usable), "in the sample": len(sample)}
    if video:
        counts["cut again from the video"] = sum(frame.recovered for frame in sample)
    examples = defaultdict(list)
    for frame in frames:
        can_be_sent = frame.image_problem in hopeful
        is_usable = can_be_sent and not usable[0].reference
        if why := frame.reference_problem if can_be_sent else frame.image_problem:
            what = "usable without a reference" if is_usable else "not usable"
            examples[f"{what}: {why}"].append(frame.image_path.name or frame.frame_id)
    for reason, names in sorted(examples.items(), key=lambda item: -len(item[1])):
        counts[f"{reason}, e.g. {one_line(names[-1])}"] = len(names)
    if not sample:
        why = "; ".join(f"{n} × {what}" for what, n in counts.items() if what.startswith("not usable"))
        raise SetupProblem(f"{named}: of {len(rows)} frames none is usable ({why or 'none found'}); {to_do}")
    return Selection(sample, counts, named, whole=len(sample) == len(usable))


def recover_images(frames: list[Frame], video: Path, folder: Path) -> dict[str, Frame]:
    """By id: the frames with an image that is cut from the video, or with why it cannot be.

    The picture is the first at or after the timestamp, as the app's own extraction takes it, or the last one
    just before the end. Files are named by the moment. Raises SetupProblem if the folder cannot be written.
    """
    import av  # takes a while to import, and most runs recover nothing

    recovered, why = {}, "its video has no picture of this moment"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with av.open(str(video)) as container:
            for frame in frames if container.streams.video else []:
                stream, picture = container.streams.video[0], None
                moment_s = frame.timestamp_s + float((stream.start_time or 0) * stream.time_base)
                container.seek(int(moment_s / stream.time_base), stream=stream)
                for picture in (shown for shown in container.decode(stream) if shown.time is not None):
                    if picture.time >= moment_s - 0.005:  # times are rounded
                        break
                if picture and picture.time >= moment_s - 2:  # else the video is another one, or was cut
                    path = folder.absolute() / f"{frame.timestamp_s}.jpg"  # one moment is one picture
                    image = picture.to_image()
                    image.thumbnail((1024, image.height), Image.Resampling.LANCZOS)  # as wide as the app's
                    image.save(path, quality=92)
                    cut = replace(frame, image_path=path, image_problem=None, recovered=True)
                    recovered[frame.frame_id] = look_at_image(cut)
    except (av.FFmpegError, OverflowError) as error:
        why = f"its video cannot be decoded ({one_line(getattr(error, 'strerror', None) or error, 60)})"
    except OSError as error:
        raise SetupProblem(f"recovered images cannot be written: {one_line(error)}") from None
    return {f.frame_id: replace(f, image_problem=f"{f.image_problem}, and {why}") for f in frames} | recovered


def read_past_speed(database: Path) -> list[dict[str, Any]]:
    """The app's own speed, newest first: a finished run of its vision step each; empty where it noted none.

    Keys: started_at (ISO), model (None: not noted), n_frames, s_per_frame. A run that was resumed notes all
    earlier frames as processed in a few milliseconds: it is left out.
    """
    query = """
        SELECT s.started_at, r.metadata AS model, s.items_processed AS n_frames,
               s.duration_ms / 1e3 / s.items_processed AS s_per_frame
        FROM processing_stats s JOIN processing_runs r ON r.id = s.run_id
        WHERE s.phase = 'vlm-batch-inference' AND s.status = 'success' AND s_per_frame BETWEEN 0.01 AND 1e6
        ORDER BY datetime(s.started_at) DESC"""
    rows = read_database(database, lambda connection: connection.execute(query).fetchall())
    return [dict(row) | {"model": _model(row["model"])} for row in rows]


def read_rows(connection: sqlite3.Connection, folder: Path, selection: str) -> tuple[Any, str, str, list]:
    """The video of what is selected (None: it has none), its name, what to do without frames, its rows."""
    last_day = "SELECT date(max(timestamp), 'unixepoch', 'localtime') FROM frames"
    (day,) = connection.execute(f"{last_day} WHERE timestamp BETWEEN 0 AND {LATEST_S}").fetchone()
    to_do = f"the always-on recorder's last day is {day or 'none'}"
    recordings = connection.execute(  # the sentinel holds the recorder's blocks and never has frames
        "SELECT id, captured_at, video_path FROM recordings WHERE id <> '__recorder__' "
        "ORDER BY datetime(captured_at) DESC, captured_at DESC, rowid DESC"
    ).fetchall()
    wanted, lacking = {selection}, f"'{one_line(selection)}': give 'latest',"
    if selection == "latest":
        columns = "recording_id, vlm_description, activity_type, NULL AS analyzed"
        visual = connection.execute(f"SELECT {columns} FROM observations WHERE type = 'visual'")
        wanted = {row["recording_id"] for row in visual if reference_problem(row) is None}
        lacking = "with a usable description: give"
    chosen = next((recording for recording in recordings if recording["id"] in wanted), None)
    if chosen:
        condition, bounds = "recording_id = ?", (chosen["id"],)
        video = _path(chosen["video_path"], folder)
        named = f"recording '{one_line(chosen['id'])}' of {one_line(chosen['captured_at'])}"
        to_do = "the system purges old images, so choose a newer recording or one whose video still exists"
    elif bounds := parse_window(selection):
        outside = f"timestamp < ? OR timestamp BETWEEN ? AND {LATEST_S}"  # text and infinity are everywhere
        condition = f"recording_id IS NULL AND NOT coalesce({outside}, 0)"
        video, named = None, f"always-on recorder, {one_line(selection)}"
    else:
        newest = ", ".join(f"'{one_line(recording['id'])}'" for recording in recordings[:3])
        raise SetupProblem(
            f"no recording {lacking} one of the newest ids ({newest or 'there are none'}), a day (2026-11-20)"
            f" or a time window (2026-11-20T09:00/2026-11-20T12:30); {to_do}"
        )
    rows = connection.execute(
        f"""SELECT * FROM (
                SELECT coalesce(f.id, o.id) AS frame, o.id, coalesce(f.timestamp, o.timestamp) AS timestamp,
                       coalesce(f.image_path, o.image_path) AS image_path, f.analyzed, o.recording_id,
                       o.vlm_description, o.activity_type, o.apps, o.topics,
                       datetime(o.created_at) AS written,
                       (SELECT metadata FROM processing_runs p
                        WHERE p.recording_id = o.recording_id AND metadata LIKE '%"vlm_model"%'
                              AND coalesce(datetime(started_at) <= datetime(o.created_at), 1)
                        ORDER BY datetime(started_at) DESC LIMIT 1) AS run
                FROM observations o LEFT JOIN frames f ON f.id = o.frame_id WHERE o.type = 'visual'
                UNION ALL
                SELECT id, id, timestamp, image_path, analyzed, NULL, NULL, NULL, NULL, NULL, NULL, NULL
                FROM frames
            ) WHERE {condition} ORDER BY written""",
        bounds,
    )
    # Described twice, it is still one frame; without any id each row is one of its own.
    newest_of_each = {i if row["frame"] is None else row["frame"]: row for i, row in enumerate(rows)}
    return video, named, to_do, list(newest_of_each.values())


def parse_window(selection: str) -> tuple[float, float] | None:
    """Start and end in Unix seconds of a day or a window "A/B"; None: it is neither. Raises SetupProblem."""
    first, slash, last = (part.strip() for part in selection.partition("/"))
    if not re.match(r"\d{4}-\d{2}-\d{2}" if slash else r"\d{4}-\d{2}-\d{2}$", first):
        return None
    try:
        start = datetime.fromisoformat(first)
        end = datetime.fromisoformat(last) if slash else start + timedelta(days=1)
        window = start.timestamp(), end.timestamp()  # without an offset they are local: 23 to 25 hours a day
        if window[1] <= window[0]:
            raise ValueError("it ends before it starts")
        return window
    except (ValueError, OverflowError, OSError) as error:
        raise SetupProblem(f"'{one_line(selection)}' is not a day or a time window: {error}") from None


def parse_names(stored: Any) -> tuple[str, ...] | None:
    """Names from a JSON array or from ``A, B``; None where nothing is stored, () for an empty array."""
    text = _text(stored).strip()
    if not text or text == "null":
        return None
    try:
        values = orjson.loads(text)
    except orjson.JSONDecodeError:
        inner = text.removeprefix("[").removesuffix("]")  # the recorder does not escape quotes in its arrays
        values = [part.strip().strip('"') for part in inner.split(",")]
    values = values if isinstance(values, list) else [values]
    return tuple(str(v).strip() for v in values if isinstance(v, str | int | float) and str(v).strip())


def reference_problem(row: sqlite3.Row) -> str | None:
    """Why a row's description is not usable as a reference; None: it is."""
    if row["vlm_description"] is None:
        return NOT_DESCRIBED.get(row["analyzed"], "no description stored")
    text = _text(row["vlm_description"]).strip().lower()
    if not text:
        return "empty or unreadable description stored"
    if found := PLACEHOLDERS.match(text):
        return f"placeholder '{found[0]}…'"
    is_unparsed = str(row["activity_type"]).strip().lower() == "unknown"
    return "activity 'unknown': an unparsed reply" if is_unparsed else None


def _frame(row: sqlite3.Row, folder: Path) -> Frame:
    path, at_s = _path(row["image_path"], folder), row["timestamp"]
    problem = None if path and os.path.isfile(path) else MISSING
    if path is None:
        problem = "its image path is not readable text" if row["image_path"] else "no image path stored"
    if not (_text(row["id"]) and isinstance(at_s, int | float) and 0 <= at_s <= LATEST_S):
        problem, at_s = "its id or its timestamp cannot be read", 0.0
    why, reference = reference_problem(row), None
    if why is None:
        activity = _text(row["activity_type"]).strip().lower() or None
        names = parse_names(row["apps"]), parse_names(row["topics"])
        reference = Reference(row["vlm_description"].strip(), activity, *names, _model(row["run"]))
    path = path or Path(one_line(row["image_path"] or ""))
    frame = Frame(str(row["id"]), float(at_s), path, _text(row["recording_id"]) or None)
    return replace(frame, image_problem=problem, reference=reference, reference_problem=why)


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


def read_database(database: Path, read: Callable[[sqlite3.Connection], Any], timeout_s: float = 5) -> Any:
    """What ``read`` returns for a read-only connection (rows by name) to one state of the database.

    The connection is closed on return: ``read`` fetches rows, slow work comes afterwards. Bytes that are not
    UTF-8 become lone surrogates. ``timeout_s``: how long another program's lock is waited for. Raises
    SetupProblem for whatever is wrong with the file.
    """
    shown, usual = one_line(database), "give the app's own file, usually ~/.escribano/escribano.db"
    path = Path(os.path.expanduser(database))  # an unknown ~user stays as it is
    try:
        if not path.is_file():
            raise SetupProblem(f"{shown} {'is a folder' if path.is_dir() else 'does not exist'}: {usual}")
        path = path.resolve()
        with path.open("rb") as file:
            header = file.read(20)
        if not header.startswith(b"SQLite format 3\0"):
            raise SetupProblem(f"{shown} is empty, encrypted or not an SQLite database: {usual}")
        # A reader takes part in the app's locking. With a write-ahead log (2 in the header) it does so by two
        # files, and would leave them where they are not: https://sqlite.org/wal.html#read_only_databases
        if 2 not in header[18:] or all(Path(f"{path}{suffix}").exists() for suffix in ("-wal", "-shm")):
            try:
                return _read(path, "ro", read, timeout_s)
            except sqlite3.OperationalError as error:
                # The folder, or a log left behind, does not let a reader take part.
                if not error.sqlite_errorname.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                    raise
        with tempfile.TemporaryDirectory(prefix="escribano-copy-") as scratch:
            paths = (path, Path(f"{path}-wal"), Path(f"{path}-journal"))
            files = [file for file in paths if file.exists()]
            before = [file.stat().st_mtime_ns for file in files]
            for file in files:
                shutil.copyfile(file, Path(scratch, file.name))
            if before != [file.stat().st_mtime_ns for file in files]:
                raise OSError("it changed meanwhile")
            return _read(Path(scratch, path.name), "rw", read, timeout_s)
    except (sqlite3.DatabaseError, OSError, UnicodeDecodeError) as error:  # the last: of SQLite's message
        if str(error).startswith("no such"):  # table or column
            raise SetupProblem(f"{shown} is not Escribano's ({one_line(error)}): {usual}") from None
        raise SetupProblem(
            f"{shown} cannot be read ({one_line(error)}): close what holds it, check its permissions and the "
            "disk, or copy it again together with its -wal file"
        ) from None


def _read(path: Path, mode: str, read: Callable[[sqlite3.Connection], Any], timeout_s: float) -> Any:
    """What ``read`` returns where every table has the columns of the newest schema, for all its queries."""
    uri = f"{path.as_uri()}?mode={mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        connection.execute("BEGIN")
        present = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        for table in LATER_TABLES.keys() - present:
            connection.execute(f"CREATE TEMP TABLE {table} ({LATER_TABLES[table]})")
        columns = {row[1] for row in connection.execute("PRAGMA table_info(observations)")}
        lacking = "".join(f", NULL AS {column}" for column in LATER_COLUMNS if column not in columns)
        if columns and lacking:
            connection.execute(f"CREATE TEMP VIEW observations AS SELECT *{lacking} FROM main.observations")
        return read(connection)

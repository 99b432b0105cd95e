"""The run folder: the only writer and reader of its files, which docs/run-folder.md describes.

Folders of the first edition are read, and not continued. A line is one JSON object; a kill, a full disk or a
power cut can leave half a line or NUL bytes at the end of a file: the next writer ends that line before its
own, and reading steps over it. What writes raises SetupProblem where the disk is full or fails.
"""

import errno
import fcntl
import hashlib
import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime
from itertools import chain, pairwise
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO

import orjson
import pandas as pd
from pydantic import TypeAdapter

from poc_lib.params import PROJECT_ROOT, Params, new_run_id
from poc_lib.records import Frame, Identity, Reply, SetupProblem
from poc_lib.text import one_line

EDITION = 2
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DTYPES = {bool: "bool", int: "int64", float: "float64", int | None: "float64", float | None: "float64"}
LEFT_OUT = ("arrivals_s", "sent_at")  # of what read_requests reads
COLUMNS = {f.name: DTYPES.get(f.type, "str") for f in fields(Reply) if f.name not in LEFT_OUT}
COLUMNS |= dict.fromkeys(("tpot_s", "itl_p50_s", "itl_max_s"), "float64")  # see summarize_gaps


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder and what its run.json says."""

    folder: Path
    facts: dict[str, Any]

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def simulated(self) -> bool:
        return any(server.get("simulated") for server in self.facts["servers"])

    @property
    def params(self) -> dict[str, Any]:
        return self.facts["params"]


def now_iso() -> str:
    """The wall clock in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_text(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, in one step."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    replace_file(path, orjson.dumps(value, option=option, default=str) + b"\n")


def read_facts(folder: Path) -> dict | None:
    """The content of run.json; None where there is none, or what a crash or another program left of one."""
    try:
        facts = orjson.loads((folder / "run.json").read_bytes())
        types = {"params": dict, "frames": list, "servers": list}
        return facts if all(isinstance(facts[key], kind) for key, kind in types.items()) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_run(which: Path | str, outputs: Path | None = None) -> Run:
    """The run in a folder, or of a run_id below the outputs folder; raises SetupProblem without one."""
    folder = (outputs or PROJECT_ROOT / "outputs") / which  # an absolute folder wins
    facts = read_facts(folder)
    if facts is None:
        raise SetupProblem(f"no run in {folder}, no run.json: `python -m poc_lib runs` lists what there is")
    return Run(folder, facts)


def list_runs(outputs: Path) -> list[Run]:
    """Every run below a folder, newest first; foreign or damaged folders are passed over."""
    folders = []
    with suppress(OSError):  # no such folder can be
        folders = [path.parent for path in outputs.glob("*/run.json")]
    runs = [Run(folder, facts) for folder in folders if (facts := read_facts(folder))]
    return sorted(runs, key=lambda run: str(run.facts.get("created_at")), reverse=True)


def name_run(params: Params) -> tuple[Params, str]:
    """The parameters with a run_id, and a line where it is that of the newest run of them, not finished."""
    if params.run_id:
        return params, ""
    for run in list_runs(params.outputs_path):
        with suppress(SetupProblem):  # another experiment
            check_folder(run.folder, params)
            if any(event["event"] == "finished" for event in read_events(run)):
                break
            line = f"continuing run {run.run_id}, which was not finished; for a new one, give another run_id"
            return params.model_copy(update={"run_id": run.run_id}), line
    return params.model_copy(update={"run_id": new_run_id(params)}), ""


def check_folder(folder: Path, params: Params) -> None:
    """Raise SetupProblem for what cannot be a run's folder, or holds another experiment; writes nothing."""
    text, longest = str(folder), max(len(os.fsencode(part)) for part in folder.parts)
    if len(text) > 1000 or longest > 255 or not text.isprintable() or "\\" in text:
        raise SetupProblem(f"the output {text[:60]!r} is no folder name: use a short and plain one")
    first = next(path for path in (folder, *folder.parents) if path.exists())
    if not first.is_dir():
        raise SetupProblem(f"{first} is a file: choose a folder for the output")
    if not os.access(first, os.W_OK | os.X_OK):
        raise SetupProblem(f"nothing can be written into {first}: choose another folder for the output")
    facts = read_facts(folder)
    if facts is None:
        if n_replies := sum(1 for _ in iterate_rows(folder / "requests.jsonl")):
            raise SetupProblem(
                f"{folder} holds {n_replies} replies and no readable run.json that says what they were "
                "measured with: choose another run_id, or move requests.jsonl away"
            )
        return
    if facts.get("edition") != EDITION:
        raise SetupProblem(
            f"run '{folder.name}' was measured by the first edition: `report` reads it, but it cannot be "
            "continued; choose another run_id"
        )
    asked, kept = params.model_dump(), facts["params"]
    changed = [
        f"{name} is {one_line(repr(asked[name]), 40)}, on file {one_line(repr(kept.get(name)), 40)}"
        for name, field in Params.model_fields.items()
        if field.json_schema_extra["use"] == "measures" and asked[name] != kept.get(name)
    ]
    if changed:
        raise SetupProblem(
            f"run '{folder.name}' exists and is another experiment: {'; '.join(changed[:3])}. Choose another "
            "run_id, or the same parameters to continue it"
        )


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it: a second command for the same run is refused at once, by SetupProblem."""
    with explained(folder / "run.json"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder)
        yield
    finally:
        os.close(handle)


def open_run(folder: Path, facts: Mapping[str, Any], frames: Iterable[Frame]) -> Run:
    """Start a run in the folder, or continue the one that lies there, which may grow to more blocks.

    A start that broke off is started again, and lost frames are written again. Raises SetupProblem where the
    frames or the prompt are others than on file; then nothing is changed.
    """
    frames, path, kept = list(frames), folder / "frames.jsonl", read_facts(folder)
    now = kept or {"run_id": folder.name, "created_at": now_iso(), "edition": EDITION, "servers": [], **facts}
    for key, name in (("frames", "frames"), ("prompt_sha256", "prompt text")):
        if now[key] != facts[key]:
            raise SetupProblem(
                f"run '{folder.name}' was begun with other {name}: choose another run_id, or bring them back"
            )
    if kept is None or sum(1 for _ in iterate_rows(path)) < len(frames):
        lines = (orjson.dumps(frame, default=str, option=orjson.OPT_APPEND_NEWLINE) for frame in frames)
        replace_file(path, b"".join(lines))
    most_blocks = max(now["params"]["max_blocks"], facts["params"]["max_blocks"])
    if kept is None or most_blocks > kept["params"]["max_blocks"]:
        now = now | {"params": now["params"] | {"max_blocks": most_blocks}}
        write_json(folder / "run.json", now)  # last: a folder with run.json is a complete start
    return Run(folder, now)


def record_servers(run: Run, identities: Iterable[Identity]) -> Run:
    """Write who the servers are, once; raises SetupProblem where the run was begun with another version."""
    before, rows = {server["name"]: server for server in run.facts["servers"]}, list(map(asdict, identities))
    for row in rows:
        stored = before.get(row["name"], row)
        for key in ("software", "version", "model", "simulated"):
            if stored[key] != row[key]:
                raise SetupProblem(
                    f"{row['name']} has {key} {row[key]}, but this run was begun with {stored[key]}: choose "
                    "another run_id, and compare the two runs with compare_with"
                )
    if before:
        return run
    facts = {**run.facts, "servers": rows}
    write_json(run.folder / "run.json", facts)
    return Run(run.folder, facts)


def read_frames(run: Run) -> list[Frame]:
    """The frames of a run, as it started; raises SetupProblem where a power cut lost some of them."""
    noted = {frame["frame_id"]: frame for frame in run.facts["frames"]}
    rows = []
    for number, row in enumerate(iterate_rows(run.folder / "frames.jsonl"), 1):
        facts = noted.get(row["frame_id"], {})  # the first edition kept hashes in run.json
        older = {"look": facts.get("phash"), "sha256": facts.get("sha256"), "label": f"frame {number}"}
        rows.append(older | row)
    if len(rows) < len(noted):
        raise SetupProblem(
            f"frames.jsonl in {run.folder} holds {len(rows)} of {len(noted)} frames: open the run once with "
            "the benchmark notebook, which writes them again"
        )
    return TypeAdapter(list[Frame]).validate_python(rows)


def summarize_gaps(arrivals_s: list[float], output_tokens: int | None) -> dict[str, float | None]:
    """TPOT and the inter-token latencies of one answer, in seconds.

    TPOT is (last chunk − first chunk) ÷ (output tokens − 1), so it does not hold what a server does between
    its last text and the end of the stream; ITL is the gap between two chunks, of which the median and the
    longest are kept.
    """
    itls = [later - earlier for earlier, later in pairwise(arrivals_s)]
    spread = arrivals_s[-1] - arrivals_s[0] if itls and output_tokens and output_tokens > 1 else None
    return {
        "tpot_s": None if spread is None else round(spread / (output_tokens - 1), 9),
        "itl_p50_s": round(median(itls), 6) if itls else None,
        "itl_max_s": round(max(itls), 6) if itls else None,
    }


@contextmanager
def reply_writer(run: Run) -> Iterator[Callable[[Reply], None]]:
    """A function that appends one reply, and none by halves; a second process is refused meanwhile.

    After a kill every reply is on file; the end of this and sync_run put them past a power cut, too.
    """
    path, names = run.folder / "requests.jsonl", [field.name for field in fields(Reply)]
    with open_to_append(path, alone=True) as file:

        def write(reply: Reply) -> None:
            row = {name: getattr(reply, name) for name in names}
            write_row(file, path, row | summarize_gaps(reply.arrivals_s, reply.output_tokens))

        try:
            yield write
        finally:
            sync_run(run)


def sync_run(run: Run) -> None:
    """Put what was appended to the run on the disk itself: some milliseconds, so between cells only."""
    for path in run.folder.glob("*.jsonl"):
        with explained(path):
            sync_file(path)


def read_requests(run: Run) -> pd.DataFrame:
    """One row a request that was answered or failed; of one written twice the first.

    Columns: those of records.Reply without arrivals_s and sent_at, and tpot_s, itl_p50_s, itl_max_s. Folders
    of the first edition are read too. A million rows take about 10 s and 1 GB.
    """
    missing = dict.fromkeys(COLUMNS) | {f.name: f.default for f in fields(Reply) if f.default is not MISSING}
    columns, texts = {name: [] for name in COLUMNS}, {}
    for row in iterate_rows(run.folder / "requests.jsonl"):
        if "tpot_s" not in row:
            row |= summarize_gaps(row.get("arrivals_s", []), row.get("output_tokens"))
        row = missing | row
        for name in ("server", "role", "phase", "frame_id", "finish_reason", "error_class", "arrivals"):
            row[name] = texts.setdefault(row[name], row[name])  # one in memory, however many rows hold it
        for name, values in columns.items():
            values.append(row[name])
    table = pd.DataFrame({name: pd.Series(columns.pop(name), dtype=dtype) for name, dtype in COLUMNS.items()})
    again = table["request_id"].duplicated() & (table["phase"] != "warmup")
    return table[~again].reset_index(drop=True) if again.any() else table


Damage = namedtuple("Damage", "n_broken n_doubled")  # half-written lines; replies to a request that has one


def read_damage(run: Run) -> Damage:
    """Count what reading the requests leaves out: what crashes, a second writer or a merged copy left."""
    n_broken, n_doubled, seen = 0, 0, set()
    for row in read_lines(run.folder / "requests.jsonl"):
        if row is None:
            n_broken += 1
        elif row["phase"] != "warmup":
            n_doubled += row["request_id"] in seen
            seen.add(row["request_id"])
    return Damage(n_broken, n_doubled)


def append_event(run: Run, event: str, **facts: Any) -> None:
    """Note that a sitting, a cell or a decision began or ended."""
    path = run.folder / "events.jsonl"
    with open_to_append(path) as file:
        write_row(file, path, {"event": event, "at": now_iso(), **facts})


def read_events(run: Run) -> list[dict]:
    """The run's events, oldest first."""
    return list(iterate_rows(run.folder / "events.jsonl"))


def next_sitting(run: Run) -> int:
    """The number of the sitting that starts now, also where a crash lost the event of an earlier start."""
    rows = chain(read_events(run), iterate_rows(run.folder / "requests.jsonl"))
    return max((row["sitting"] for row in rows if "sitting" in row), default=-1) + 1


def telemetry_writer(run: Run) -> AbstractContextManager[BinaryIO]:
    """The open telemetry.jsonl, unbuffered: one write is one sample, a line of JSON."""
    return open_to_append(run.folder / "telemetry.jsonl")


def read_telemetry(run: Run) -> list[dict]:
    """Every sample on file; [] where nothing was sampled."""
    return list(iterate_rows(run.folder / "telemetry.jsonl"))


def read_lines(path: Path) -> Iterator[dict | None]:
    """A file's lines as objects, oldest first, None for a broken one; nothing where there is no file.

    All lines begin with the same field: where it comes again (in a text its quotes would be escaped), a whole
    line is glued to half a one.
    """
    if not path.is_file():
        return
    opening = b""
    with path.open("rb") as file:
        for line in file:
            line = line.strip(b"\0\n")
            opening = opening or line[: line.find(b":") + 1]
            head, *rest = line.split(opening) if opening else (line,)
            for piece in [head] * bool(head) + [opening + part for part in rest] or [b""]:
                try:
                    row = orjson.loads(piece.strip(b"\0"))
                except orjson.JSONDecodeError:
                    row = None
                yield row if isinstance(row, dict) else None


def iterate_rows(path: Path) -> Iterator[dict]:
    """The whole lines of a file as objects, oldest first."""
    return (row for row in read_lines(path) if row is not None)


@contextmanager
def open_to_append(path: Path, alone: bool = False) -> Iterator[BinaryIO]:
    """The file, unbuffered: what write_row wrote is with the system. ``alone``: refuse a second process."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    with file:
        if alone:
            lock(file.fileno(), path.parent)  # before anything is changed: another process may be writing
        with explained(path):
            if file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                file.write(b"\n")
        yield file


def write_row(file: BinaryIO, path: Path, row: Any) -> None:
    """Append one row as a line, or nothing of it; raises SetupProblem where the disk is full or fails."""
    left = memoryview(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str))
    with explained(path):
        size = os.fstat(file.fileno()).st_size
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step: after a crash it is the old one or the new one, never a part."""
    partial = path.with_name(f"{path.name}.partial")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            sync_file(partial)
            partial.replace(path)
            with suppress(OSError):  # not every file system can put the new name past a power cut
                sync_file(path.parent)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


def sync_file(path: Path) -> None:
    """Have the system put a file or a folder's list on the disk, past the drive's cache where macOS can."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(AttributeError, OSError):  # only macOS has it, and not for every file system
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(handle: int, folder: Path) -> None:
    """Hold an open file or folder while this process lives; raises SetupProblem where another one does."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SetupProblem(
            f"another process is measuring into {folder}: wait for it, or choose another run_id"
        ) from None
    except OSError:  # a network drive without locks: requests written twice are told by their ids
        return


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a disk's refusal to write into a SetupProblem: what, where, how much is free, what to do."""
    try:
        yield
    except OSError as error:
        free = "unknown"
        with suppress(OSError):
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB"
        to_do = "free some space" if error.errno in FULL else "choose another folder, or see to that disk"
        raise SetupProblem(
            f"cannot write {path.name} in {path.parent}: {error.strerror or error}, {free} free there; "
            f"{to_do}, then the same command continues the run with all that was answered"
        ) from error

"""The run folder: the only writer and reader of its files.

outputs/<run_id>/
    run.json          parameters, hashes, host, versions, who the servers said they are
    frames.jsonl      the frames of the run with their stored references
    requests.jsonl    one line a reply, appended and flushed as it comes
    events.jsonl      sittings and cells: when they started, ended or broke off
    telemetry.jsonl   what servers and machine said about themselves meanwhile, one line a sample
    tables/ figures/  derived; deleting them loses nothing
"""

import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pandas as pd

from poc_lib.errors import SetupProblem
from poc_lib.records import Frame, Reference, Reply

# These say how a run is shown or how long it waits, not what is measured: they may differ on continuation.
FREE_PARAMETERS = {
    "run_id",
    "outputs_dir",
    "note",
    "screenshots",
    "match_threshold",
    "target_tok_per_s",
    "target_match_rate",
    "stop_after_failures",
    "timeout_s",
    "connect_timeout_s",
    "api_key_env",
    "telemetry_every_s",
}


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
        """True if any server of the run is the embedded simulator."""
        return any(server["simulated"] for server in self.facts["servers"])


def now_iso() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_text(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def open_run(folder: Path, facts: Mapping[str, Any], frames: Iterable[Frame]) -> Run:
    """Start a run in the folder, or continue the one that lies there.

    Raises:
        SetupProblem: the folder holds a run with other parameters, frames or prompt; the first differences
            are named and nothing is changed.
    """
    if (folder / "run.json").is_file():
        run = read_run(folder)
        _refuse_other_run(run, facts)
        return run
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"run_id": folder.name, "created_at": now_iso(), **facts}
    _write_lines(folder / "frames.jsonl", (_frame_row(frame) for frame in frames))
    write_json(folder / "run.json", facts)  # last: a folder with run.json is a complete start
    return Run(folder, dict(facts))


def read_run(folder: Path) -> Run:
    """Read a run's facts.

    Raises:
        SetupProblem: no run lies there.
    """
    path = folder / "run.json"
    if not path.is_file():
        raise SetupProblem(
            f"no run in {folder}: expected a run.json; measure one with the benchmark notebook"
        )
    return Run(folder, json.loads(path.read_text(encoding="utf-8")))


def newest_run(outputs: Path, database: str) -> Path | None:
    """The folder of the newest run on this database (or on 'demo'); None where there is none."""
    found = []
    for path in outputs.glob("*/run.json"):
        facts = json.loads(path.read_text(encoding="utf-8"))
        if facts["params"]["database"] == database:
            found.append((facts["created_at"], path.parent))
    return max(found)[1] if found else None


def read_frames_of(run: Run) -> list[Frame]:
    """The frames of a run, as they were when it started."""
    frames = []
    for row in _read_lines(run.folder / "frames.jsonl"):
        reference = row.pop("reference")
        row["image_path"] = Path(row["image_path"])
        frames.append(Frame(**row, reference=_read_reference(reference)))
    return frames


def read_replies(run: Run) -> list[Reply]:
    """Every reply on file. A last line broken by a crash is left out (repair_replies sets it aside)."""
    path = run.folder / "requests.jsonl"
    known = {field.name for field in fields(Reply)}
    return [Reply(**{k: v for k, v in row.items() if k in known}) for row in _read_lines(path)]


def requests_table(run: Run) -> pd.DataFrame:
    """One row a reply, with the columns of records.Reply; times in seconds."""
    rows = [asdict(reply) for reply in read_replies(run)]
    return pd.DataFrame(rows, columns=[field.name for field in fields(Reply)])


def repair_replies(run: Run) -> int:
    """Move a half-written last line to requests.broken.jsonl; returns how many bytes moved."""
    return _set_aside_broken_end(run.folder / "requests.jsonl")


def _set_aside_broken_end(path: Path) -> int:
    if not path.is_file():
        return 0
    data = path.read_bytes()
    keep = data.rfind(b"\n") + 1
    broken = data[keep:]
    if broken:
        with path.with_suffix(".broken.jsonl").open("ab") as file:
            file.write(broken + b"\n")
        with path.open("r+b") as file:
            file.truncate(keep)
    return len(broken)


@contextmanager
def reply_writer(run: Run) -> Iterator[Any]:
    """A function that appends one reply and flushes it; the folder is locked meanwhile.

    Raises:
        SetupProblem: another process is measuring into this run.
    """
    with (run.folder / "requests.jsonl").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupProblem(
                f"another process is measuring into {run.folder}: wait for it, or choose another run_id"
            ) from None

        repair_replies(run)

        def write(reply: Reply) -> None:
            file.write(orjson.dumps(reply, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()

        yield write


def append_event(run: Run, event: str, **facts: Any) -> None:
    """Note that a sitting or a cell started, ended or broke off."""
    _set_aside_broken_end(run.folder / "events.jsonl")
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(orjson.dumps({"event": event, "at": now_iso(), **facts}, option=orjson.OPT_APPEND_NEWLINE))


def read_events(run: Run) -> list[dict]:
    """The run's events, oldest first."""
    return list(_read_lines(run.folder / "events.jsonl"))


@contextmanager
def telemetry_writer(run: Run) -> Iterator[BinaryIO]:
    """The open telemetry.jsonl, unbuffered: one write is one sample, a line of JSON."""
    path = run.folder / "telemetry.jsonl"
    _set_aside_broken_end(path)
    with path.open("ab", buffering=0) as file:
        yield file


def read_telemetry(run: Run) -> list[dict]:
    """Every sample on file (telemetry.parsing names the fields); [] where nothing was sampled."""
    return list(_read_lines(run.folder / "telemetry.jsonl"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, in one step: the file is whole or absent."""
    partial = path.with_suffix(path.suffix + ".partial")
    partial.write_bytes(
        orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str) + b"\n"
    )
    partial.replace(path)


def write_text(path: Path, text: str) -> Path:
    """Write a text file of the run, its folder made where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_table(run: Run, name: str, table: pd.DataFrame) -> Path:
    """Write tables/<name>.csv; text that a spreadsheet would take for a formula gets an apostrophe."""
    path = run.folder / "tables" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    safe = table.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            safe[column] = safe[column].map(neutralise_formula)
    safe.to_csv(path, index=False)
    return path


def neutralise_formula(value: Any) -> Any:
    """Text that begins with = + - @, tab or return gets a leading apostrophe (OWASP, CSV injection)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def fingerprint(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for two sittings to be one run, as a flat mapping."""
    params = {k: v for k, v in facts["params"].items() if k not in FREE_PARAMETERS}
    frames = [frame["sha256"] for frame in facts["frames"]]
    return {**params, "prompt text": facts["prompt_sha256"], "frame images": frames}


def _refuse_other_run(run: Run, facts: Mapping[str, Any]) -> None:
    stored, asked = fingerprint(run.facts), fingerprint(facts)
    differences = [
        _difference_line(key, asked[key], stored.get(key)) for key in asked if asked[key] != stored.get(key)
    ]
    if differences:
        raise SetupProblem(
            f"run '{run.run_id}' exists and is another experiment: {'; '.join(differences[:3])}. "
            "Choose another run_id, or the same parameters to continue it"
        )


def _difference_line(key: str, asked: Any, stored: Any) -> str:
    if key in ("prompt text", "frame images"):  # hashes tell a reader nothing
        return f"other {key} than on file"
    return f"{key} is {_short(asked)}, on file {_short(stored)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _frame_row(frame: Frame) -> dict:
    return {**asdict(frame), "image_path": str(frame.image_path)}


def _read_reference(row: dict | None) -> Reference | None:
    if row is None:
        return None
    lists = {key: None if row[key] is None else tuple(row[key]) for key in ("apps", "topics")}
    return Reference(**{**row, **lists})


def _write_lines(path: Path, rows: Iterable[dict]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _read_lines(path: Path) -> Iterator[dict]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):  # the rest of a write that a crash cut off has none
                yield orjson.loads(line)

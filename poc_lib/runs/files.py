"""Files that survive a crash: lines are read around what it broke, and written whole or not at all.

A line of a run is one JSON object. A kill, a full disk or a power cut can leave half a line, at the end or,
when more was appended later, in the middle; a power cut can also leave NUL bytes. What is no whole line is
skipped in reading and set aside before the next writing; a whole line that was glued to half a one is kept.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from poc_lib.errors import SetupProblem

# Every line of a file begins with the same field: this is how a line that is glued to another is found.
FIRST_FIELDS = {
    "frames.jsonl": "frame_id",
    "requests.jsonl": "request_id",
    "requests.failed.jsonl": "request_id",
    "events.jsonl": "event",
    "telemetry.jsonl": "sitting",
}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read_lines(path: Path) -> list[dict]:
    """The whole lines of a file, oldest first; [] where there is no file."""
    return [row for _, row in _split(path)[0]]


def count_broken(path: Path) -> int:
    """How many broken lines of a file are on disk: in the file itself, and set aside."""
    aside = broken_path(path)
    before = aside.read_bytes().count(b"\n") if aside.is_file() else 0
    return before + len(_split(path)[1])


def broken_path(path: Path) -> Path:
    """Where the broken lines of a file are set aside."""
    return path.with_suffix(".broken.jsonl")


def set_aside_broken(path: Path) -> int:
    """Move what is no whole line to the .broken.jsonl beside it; returns how many bytes moved.

    At any moment of this, a crash included, every whole line is on disk.
    """
    if not path.is_file():
        return 0
    whole, broken = _split(path)
    data, clean = path.read_bytes(), b"".join(line + b"\n" for line, _ in whole)
    if data == clean:
        return 0
    with explained(path):
        if broken:
            with broken_path(path).open("ab") as file:
                file.write(b"".join(line + b"\n" for line in broken))
                sync_file(file)
        if data.startswith(clean):
            os.truncate(path, len(clean))
        else:
            replace_file(path, clean)
    return sum(map(len, broken))


def _split(path: Path) -> tuple[list[tuple[bytes, dict]], list[bytes]]:
    """The whole lines with their rows, and what is no whole line."""
    whole: list[tuple[bytes, dict]] = []
    broken: list[bytes] = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        for piece in _pieces(line, FIRST_FIELDS[path.name]):
            row = _read_row(piece, FIRST_FIELDS[path.name])
            if row is None:
                broken.append(piece)
            else:
                whole.append((piece, row))
    return whole, broken


def _pieces(line: bytes, first_field: str) -> list[bytes]:
    """The line; where it is no row, its parts as broken writes glued them together."""
    if not line or _read_row(line, first_field):
        return [line] if line else []
    opening = b'{"%s":' % first_field.encode()  # inside a text its quotes would be escaped
    head, *rest = line.split(opening)
    parts = [part.strip(b"\0") for part in (head, *(opening + part for part in rest))]
    return list(filter(None, parts)) or [line]


def _read_row(piece: bytes, first_field: str) -> dict | None:
    try:
        row = orjson.loads(piece)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and first_field in row else None


def open_to_append(path: Path) -> BinaryIO:
    """The file, its broken lines set aside, unbuffered: what write_row wrote is with the system."""
    set_aside_broken(path)
    with explained(path):
        return path.open("ab", buffering=0)


def append_row(path: Path, row: Any) -> None:
    """Open, write one row and close; the file is repaired when its last write broke off."""
    if not _ends_well(path):
        set_aside_broken(path)
    with explained(path), path.open("ab", buffering=0) as file:
        write_row(file, path, row)


def _ends_well(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def write_row(file: BinaryIO, path: Path, row: Any) -> None:
    """Append one row as a line; where the disk takes only a part of it, that part is removed again.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    left = memoryview(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    with explained(path):
        size = os.fstat(file.fileno()).st_size
        try:
            while left:
                left = left[file.write(left) :]
        except OSError:
            with suppress(OSError):  # then the next writer sets the half line aside
                os.ftruncate(file.fileno(), size)
            raise


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step: after a crash or a power cut it is the old one or the new one, never a part.

    Raises:
        SetupProblem: the disk is full or fails; the old file is as it was.
    """
    partial = path.with_name(f"{path.name}.partial")
    with explained(path):
        try:
            with partial.open("wb") as file:
                file.write(data)
                sync_file(file)
            partial.replace(path)
            sync_folder(path.parent)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


def sync_file(file: BinaryIO) -> None:
    """Have the system put a file on the disk, past the drive's own cache where macOS offers that."""
    file.flush()
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):  # not on every file system
            fcntl.fcntl(file.fileno(), fcntl.F_FULLFSYNC)
            return
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put a folder's list of files on the disk: without it, a new file can be gone after a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_paths(*paths: Path) -> None:
    """Put files on the disk that were appended to.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    for path in paths:
        if path.is_file():
            with explained(path), path.open("ab") as file:
                sync_file(file)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder; the lock ends with the process, however that ends.

    Raises:
        SetupProblem: another process is measuring into it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
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
    """Turn a disk's refusal to write into one line.

    Raises:
        SetupProblem: the block raised OSError: what, where, how much is free, what to do.
    """
    try:
        yield
    except OSError as error:
        raise SetupProblem(_disk_line(path, error)) from error


def _disk_line(path: Path, error: OSError) -> str:
    free = "unknown"
    with suppress(OSError):
        free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB"
    to_do = "free some space" if error.errno in FULL else "see to that disk"
    return (
        f"cannot write {path.name} in {path.parent}: {error.strerror or error}, {free} free there; {to_do}, "
        "then the same command continues the run with all that was answered"
    )


def rewrite_rows(path: Path, rows: list[Mapping[str, Any]]) -> None:
    """Write a file of lines in one step.

    Raises:
        SetupProblem: the disk is full or fails; the old file is as it was.
    """
    replace_file(path, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, in one step: the file is whole or absent."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    replace_file(path, orjson.dumps(value, option=option, default=str) + b"\n")

"""Files that survive a crash: lines are read around what it broke, and written whole or not at all.

A line of a run is one JSON object. A kill, a full disk or a power cut can leave half a line, at the end or,
when more was appended later, in the middle; a power cut can also leave NUL bytes. What is no whole line is
skipped in reading and set aside before the next writing; a whole line that was glued to half a one is kept.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from poc_lib.records import SetupProblem

# Every line of a file begins with the same field: this is how a line that is glued to another is found.
FIRST_FIELDS = {
    "frames.jsonl": "frame_id",
    "requests.jsonl": "request_id",
    "events.jsonl": "event",
    "telemetry.jsonl": "sitting",
}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def iterate_rows(path: Path) -> Iterator[dict]:
    """The whole lines of a file as objects, oldest first; nothing where there is no file."""
    for piece in _pieces(path):
        if (row := _read_row(piece, FIRST_FIELDS[path.name])) is not None:
            yield row


def count_broken(path: Path) -> int:
    """How many broken lines of a file are on disk: in the file itself, and set aside."""
    aside = broken_path(path)
    before = aside.read_bytes().count(b"\n") if aside.is_file() else 0
    return before + sum(_read_row(piece, FIRST_FIELDS[path.name]) is None for piece in _pieces(path))


def broken_path(path: Path) -> Path:
    """Where the broken lines of a file are set aside."""
    return path.with_suffix(".broken.jsonl")


def set_aside_broken(path: Path) -> bool:
    """Move what is no whole line to the .broken.jsonl beside it; True where the file is another one now.

    At any moment of this, a crash included, every whole line is on disk.
    """
    if not path.is_file():
        return False
    whole, broken = [], []
    for piece in _pieces(path):
        (broken if _read_row(piece, FIRST_FIELDS[path.name]) is None else whole).append(piece + b"\n")
    data, clean = path.read_bytes(), b"".join(whole)
    if data == clean:
        return False
    with explained(path):
        if broken:
            with broken_path(path).open("ab") as file:
                file.write(b"".join(broken))
                sync_file(file)
        if data.startswith(clean):
            os.truncate(path, len(clean))
            return False
    replace_file(path, clean)
    return True


def _pieces(path: Path) -> Iterator[bytes]:
    """The lines; where one is no row, its parts as broken writes glued them together."""
    if not path.is_file():
        return
    opening = b'{"%s":' % FIRST_FIELDS[path.name].encode()  # inside a text its quotes would be escaped
    with path.open("rb") as file:
        for raw in file:
            line = raw.rstrip(b"\n")
            if not line or (line.count(opening) == 1 and line.startswith(opening) and line.endswith(b"}")):
                yield from [line] if line else []
                continue
            head, *rest = line.split(opening)
            parts = [part.strip(b"\0") for part in (head, *(opening + part for part in rest))]
            yield from list(filter(None, parts)) or [line]


def _read_row(piece: bytes, first_field: str) -> dict | None:
    try:
        row = orjson.loads(piece)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and first_field in row else None


def open_to_append(path: Path) -> BinaryIO:
    """The file, unbuffered, its broken lines set aside: what write_row wrote is with the system."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            ends_well = file.read() == b"\n"
        if not ends_well:
            set_aside_broken(path)
    with explained(path):
        return path.open("ab", buffering=0)


def write_row(file: BinaryIO, path: Path, row: Any) -> None:
    """Append one row as a line; where the disk takes only a part of it, that part is removed again.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    left = memoryview(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str))
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
            path.parent.mkdir(parents=True, exist_ok=True)
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


def lock(handle: int, folder: Path) -> None:
    """Hold an open file or folder; the lock ends with the process, however that ends.

    Raises:
        SetupProblem: another process holds it.
    """
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
        free = "unknown"
        with suppress(OSError):
            free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB"
        to_do = "free some space" if error.errno in FULL else "choose another folder, or see to that disk"
        raise SetupProblem(
            f"cannot write {path.name} in {path.parent}: {error.strerror or error}, {free} free there; "
            f"{to_do}, then the same command continues the run with all that was answered"
        ) from error

"""What is appended while a run is measured: replies, events, samples. Written for kills and full disks."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, BinaryIO

import pandas as pd

from poc_lib.records import Reply
from poc_lib.runs.files import (
    append_row,
    count_broken,
    locked,
    open_to_append,
    read_lines,
    rewrite_rows,
    set_aside_broken,
    sync_paths,
    write_row,
)
from poc_lib.runs.folder import Run, now_iso


def read_replies(run: Run) -> list[Reply]:
    """Every reply on file; of a request that was written twice the first, and no half-written line."""
    known = {field.name for field in fields(Reply)}
    first: dict[str, dict] = {}
    rows = read_lines(run.folder / "requests.jsonl")
    for row in rows:
        first.setdefault(row["request_id"], row)
    kept = [row for row in rows if row["phase"] == "warmup" or first[row["request_id"]] is row]
    return [Reply(**{k: v for k, v in row.items() if k in known}) for row in kept]


def requests_table(run: Run) -> pd.DataFrame:
    """One row a reply, with the columns of records.Reply; times in seconds."""
    rows = [asdict(reply) for reply in read_replies(run)]
    return pd.DataFrame(rows, columns=[field.name for field in fields(Reply)])


@dataclass(frozen=True, slots=True)
class Damage:
    """What crashes and copies left in a run's requests; reading leaves both out."""

    n_broken: int  # half-written lines, set aside or still in the file
    n_doubled: int  # replies to a request that has one already: two writers, or a folder merged with a copy
    n_sent_again: int  # failures that were taken back and sent again (requests.failed.jsonl)


def read_damage(run: Run) -> Damage:
    """Count what reading the run's requests leaves out."""
    path = run.folder / "requests.jsonl"
    sent = [row["request_id"] for row in read_lines(path) if row["phase"] != "warmup"]
    return Damage(count_broken(path), len(sent) - len(set(sent)), len(read_failed_before(run)))


def repair_replies(run: Run) -> int:
    """Move half-written lines to requests.broken.jsonl; returns how many bytes moved."""
    return set_aside_broken(run.folder / "requests.jsonl")


@contextmanager
def reply_writer(run: Run) -> Iterator[Callable[[Reply], None]]:
    """A function that appends one reply, and none by halves; the folder is locked meanwhile.

    After a kill every reply is on file; sync_run and the end of this put them past a power cut, too.

    Raises:
        SetupProblem: another process is measuring into this run; in writing: the disk is full or fails.
    """
    path = run.folder / "requests.jsonl"
    with locked(run.folder), open_to_append(path) as file:
        try:
            yield lambda reply: write_row(file, path, reply)
        finally:
            sync_run(run)


def sync_run(run: Run) -> None:
    """Put what was appended to the run on the disk itself: some milliseconds, so between cells only.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    sync_paths(run.folder / "requests.jsonl", run.folder / "events.jsonl")


def next_sitting(run: Run) -> int:
    """The number of the sitting that starts now, also where a crash lost the event of an earlier start."""
    started = [event["sitting"] for event in read_events(run) if event["event"] == "sitting_started"]
    replied = [reply.sitting for reply in read_replies(run) if reply.phase != "warmup"]
    return max([-1, *started, *replied]) + 1


def take_back_failures(run: Run, error_classes: Collection[str]) -> int:
    """Move failures of these classes to requests.failed.jsonl, so that they are sent again; returns how many.

    Raises:
        SetupProblem: another process is measuring into this run, or the disk is full or fails.
    """
    path, before = run.folder / "requests.jsonl", run.folder / "requests.failed.jsonl"
    with locked(run.folder):
        rows = read_lines(path)
        failed = [row for row in rows if row.get("error_class") in error_classes]
        if failed:
            moved = [*read_lines(before), *failed]
            rewrite_rows(before, list({(row["request_id"], row["sitting"]): row for row in moved}.values()))
            set_aside_broken(path)
            rewrite_rows(path, [row for row in rows if row.get("error_class") not in error_classes])
    return len(failed)


def read_failed_before(run: Run) -> list[Reply]:
    """The failures that were sent again, oldest first."""
    known = {field.name for field in fields(Reply)}
    rows = read_lines(run.folder / "requests.failed.jsonl")
    return [Reply(**{k: v for k, v in row.items() if k in known}) for row in rows]


def append_event(run: Run, event: str, **facts: Any) -> None:
    """Note that a sitting or a cell started, ended or broke off.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    append_row(run.folder / "events.jsonl", {"event": event, "at": now_iso(), **facts})


def read_events(run: Run) -> list[dict]:
    """The run's events, oldest first."""
    return read_lines(run.folder / "events.jsonl")


@contextmanager
def telemetry_writer(run: Run) -> Iterator[BinaryIO]:
    """The open telemetry.jsonl, unbuffered: one write is one sample, a line of JSON."""
    with open_to_append(run.folder / "telemetry.jsonl") as file:
        yield file


def read_telemetry(run: Run) -> list[dict]:
    """Every sample on file (telemetry.parsing names the fields); [] where nothing was sampled."""
    return read_lines(run.folder / "telemetry.jsonl")

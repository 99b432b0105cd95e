"""What is appended while a run is measured: replies, events, samples; and how it is read back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import median
from typing import Any, BinaryIO

import pandas as pd

from poc_lib.records import Reply
from poc_lib.runs.files import (
    count_broken,
    explained,
    iterate_rows,
    lock,
    open_to_append,
    set_aside_broken,
    sync_file,
    write_row,
)
from poc_lib.runs.folder import Run, now_iso

CHUNK_ROWS = 50_000
GAPS = ("tpot_s", "itl_p50_s", "itl_max_s")  # kept in the row, so that arrivals are not needed again
COLUMNS = [field.name for field in fields(Reply) if field.name not in ("arrivals_s", "sent_at")] + list(GAPS)
REPEATED = ("server", "role", "phase", "frame_id", "finish_reason", "error_class", "arrivals")
NUMBERS = ("ttft_s", "headers_s", "due_s", "rate_per_s", "prompt_tokens", "output_tokens", "lag_s")
NUMBERS += ("http_status", "server_load_s", "server_prefill_s", "server_decode_s", *GAPS)
TEXTS = ("request_id", "text", "error_message", "code", *REPEATED)


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
    """A function that appends one reply, and none by halves; the run is held meanwhile.

    After a kill every reply is on file; the end of this and sync_run put them past a power cut, too.

    Raises:
        SetupProblem: another process is measuring into this run; in writing: the disk is full or fails.
    """
    path, names = run.folder / "requests.jsonl", [field.name for field in fields(Reply)]

    def write(reply: Reply) -> None:
        row = {name: getattr(reply, name) for name in names}
        write_row(file, path, row | summarize_gaps(reply.arrivals_s, reply.output_tokens))

    with explained(path):
        run.folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    with file:
        lock(file.fileno(), run.folder)  # before anything is changed: another process may be writing
        if set_aside_broken(path):
            with reply_writer(run) as write_anew:
                yield write_anew
            return
        try:
            yield write
        finally:
            with explained(path):
                sync_file(file)


def sync_run(run: Run) -> None:
    """Put what was appended to the run on the disk itself: some milliseconds, so between cells only."""
    for name in ("requests.jsonl", "events.jsonl"):
        path = run.folder / name
        if path.is_file():
            with explained(path), path.open("ab") as file:
                sync_file(file)


def read_requests(run: Run) -> pd.DataFrame:
    """One row a request that was answered or failed; of one written twice the first.

    Columns: those of records.Reply without arrivals_s and sent_at, and tpot_s, itl_p50_s, itl_max_s. Folders
    of the first edition are read too. A million rows take about 10 s and 1 GB.
    """
    chunks, rows, seen = [], [], set()
    defaults = {
        field.name: field.default for field in fields(Reply) if isinstance(field.default, str | int | float)
    }
    for row in iterate_rows(run.folder / "requests.jsonl"):
        if row["request_id"] in seen and row["phase"] != "warmup":
            continue
        seen.add(row["request_id"])
        if "tpot_s" not in row:
            row |= summarize_gaps(row.get("arrivals_s", []), row.get("output_tokens"))
        rows.append([row.get(name, defaults.get(name)) for name in COLUMNS])
        if len(rows) == CHUNK_ROWS:
            chunks.append(_typed(rows))
            rows = []
    chunks.append(_typed(rows))
    table = pd.concat(chunks, ignore_index=True) if len(chunks) > 1 else chunks[0]
    return table.astype(dict.fromkeys(REPEATED, "str"))


def _typed(rows: list[list]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype(dict.fromkeys(NUMBERS, float) | dict.fromkeys(TEXTS, "str"))


def read_arrivals(run: Run) -> dict[str, list[float]]:
    """Each request's chunk arrivals in seconds from sending, by request_id."""
    return {row["request_id"]: row["arrivals_s"] for row in iterate_rows(run.folder / "requests.jsonl")}


@dataclass(frozen=True, slots=True)
class Damage:
    """What crashes and copies left in a run's requests; reading leaves both out."""

    n_broken: int  # half-written lines, set aside or still in the file
    n_doubled: int  # replies to a request that has one already: two writers, or a folder merged with a copy


def read_damage(run: Run) -> Damage:
    """Count what reading the run's requests leaves out."""
    path = run.folder / "requests.jsonl"
    sent = [row["request_id"] for row in iterate_rows(path) if row["phase"] != "warmup"]
    return Damage(count_broken(path), len(sent) - len(set(sent)))


def append_event(run: Run, event: str, **facts: Any) -> None:
    """Note that a sitting, a cell or a decision began or ended.

    Raises:
        SetupProblem: the disk is full or fails.
    """
    path = run.folder / "events.jsonl"
    with open_to_append(path) as file:
        write_row(file, path, {"event": event, "at": now_iso(), **facts})


def read_events(run: Run) -> list[dict]:
    """The run's events, oldest first."""
    return list(iterate_rows(run.folder / "events.jsonl"))


def next_sitting(run: Run) -> int:
    """The number of the sitting that starts now, also where a crash lost the event of an earlier start."""
    started = [event["sitting"] for event in read_events(run) if event["event"] == "sitting_started"]
    replied = [row["sitting"] for row in iterate_rows(run.folder / "requests.jsonl")]
    return max([-1, *started, *replied]) + 1


@contextmanager
def telemetry_writer(run: Run) -> Iterator[BinaryIO]:
    """The open telemetry.jsonl, unbuffered: one write is one sample, a line of JSON."""
    with open_to_append(run.folder / "telemetry.jsonl") as file:
        yield file


def read_telemetry(run: Run) -> list[dict]:
    """Every sample on file; [] where nothing was sampled."""
    return list(iterate_rows(run.folder / "telemetry.jsonl"))

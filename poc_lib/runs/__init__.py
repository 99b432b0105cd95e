"""The run folder: the only writer and reader of its files.

outputs/<run_id>/
    run.json          parameters, hashes, host, versions, who the servers said they are
    frames.jsonl      the frames of the run with their stored references
    requests.jsonl    one line a reply, appended as it comes
    events.jsonl      sittings, cells, the chosen levels, the looks: what began, ended or was decided
    telemetry.jsonl   what servers and machine said about themselves meanwhile, one line a sample
    *.broken.jsonl    half-written lines that a crash left in one of these
    verdict.json      the verdicts, for scripts
    tables/ figures/ pages/ report.*    derived; deleting them loses nothing
"""

from poc_lib.runs.files import replace_file
from poc_lib.runs.folder import (
    EDITION,
    Run,
    check_folder,
    hash_text,
    list_runs,
    lock_folder,
    now_iso,
    open_run,
    read_frames,
    read_run,
    record_servers,
    unfinished_run,
    write_json,
)
from poc_lib.runs.rows import (
    Damage,
    append_event,
    next_sitting,
    read_arrivals,
    read_damage,
    read_events,
    read_requests,
    read_telemetry,
    reply_writer,
    summarize_gaps,
    sync_run,
    telemetry_writer,
)

__all__ = [
    "EDITION",
    "Damage",
    "Run",
    "append_event",
    "check_folder",
    "hash_text",
    "list_runs",
    "lock_folder",
    "next_sitting",
    "now_iso",
    "open_run",
    "read_arrivals",
    "read_damage",
    "read_events",
    "read_frames",
    "read_requests",
    "read_run",
    "read_telemetry",
    "record_servers",
    "replace_file",
    "reply_writer",
    "summarize_gaps",
    "sync_run",
    "telemetry_writer",
    "unfinished_run",
    "write_json",
]

"""The run folder: the only writer and reader of its files.

outputs/<run_id>/
    run.json          parameters, hashes, host, versions, who the servers said they are
    frames.jsonl      the frames of the run with their stored references
    requests.jsonl    one line a reply, appended as it comes
    events.jsonl      sittings and cells: when they started, ended or broke off
    telemetry.jsonl   what servers and machine said about themselves meanwhile, one line a sample
    *.broken.jsonl    half-written lines that a crash left in one of these; see files.py
    requests.failed.jsonl   failures that were sent again, as they were
    tables/ figures/  derived; deleting them loses nothing
"""

from poc_lib.runs.derived import (
    neutralise_formula,
    write_table,
    write_text,
)
from poc_lib.runs.files import write_json
from poc_lib.runs.folder import (
    FREE_PARAMETERS,
    Run,
    fingerprint,
    hash_file,
    hash_text,
    newest_run,
    now_iso,
    open_run,
    read_frames_of,
    read_run,
)
from poc_lib.runs.rows import (
    Damage,
    append_event,
    next_sitting,
    read_damage,
    read_events,
    read_failed_before,
    read_replies,
    read_telemetry,
    repair_replies,
    reply_writer,
    requests_table,
    sync_run,
    take_back_failures,
    telemetry_writer,
)

__all__ = [
    "FREE_PARAMETERS",
    "Damage",
    "Run",
    "append_event",
    "fingerprint",
    "hash_file",
    "hash_text",
    "neutralise_formula",
    "newest_run",
    "next_sitting",
    "now_iso",
    "open_run",
    "read_damage",
    "read_events",
    "read_failed_before",
    "read_frames_of",
    "read_replies",
    "read_run",
    "read_telemetry",
    "repair_replies",
    "reply_writer",
    "requests_table",
    "sync_run",
    "take_back_failures",
    "telemetry_writer",
    "write_json",
    "write_table",
    "write_text",
]

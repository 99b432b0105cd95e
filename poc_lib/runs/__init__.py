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

from poc_lib.lazy import lazy_names

__getattr__, __all__ = lazy_names(
    __name__,
    {
        "files": "replace_file",
        "folder": "EDITION Run check_folder hash_text list_runs lock_folder name_run now_iso open_run "
        "read_facts read_frames read_run record_servers unfinished_run write_json",
        "rows": "Damage append_event next_sitting read_arrivals read_damage read_events read_requests "
        "read_telemetry reply_writer summarize_gaps sync_run telemetry_writer",
    },
)

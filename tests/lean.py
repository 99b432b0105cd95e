"""A run of seconds, and where it stands on disk."""

from pathlib import Path

import orjson

MEASURED = ("pilot", "proof", "confirm")
LEAN = {"n_frames": 8, "block_frames": 8, "max_blocks": 2, "proof_frames": 0, "timeout_s": 20}
LEAN |= {"concurrency": [8], "baseline_concurrency": [8]}  # one level, in whole waves


def whole_lines(path: Path) -> list[bytes]:
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [line for line in lines if line.endswith(b"}\n")]


def is_measuring(folder: Path, sitting: int) -> bool:
    replies = map(orjson.loads, whole_lines(folder / "requests.jsonl"))
    return any(reply["sitting"] == sitting and reply["phase"] in MEASURED for reply in replies)

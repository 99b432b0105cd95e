"""Answers of the simulated model to canaries, whose code it reads off the screenshot."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import orjson

from poc_lib.canary.codes import code_of, shown_code
from poc_lib.records import Frame
from poc_lib.simulator.answers import made_up_answer


def canary_answers(frames: Iterable[Frame]) -> dict[str, dict]:
    """Entries for an answers file: what is in each canary, by the SHA-256 of its image file's bytes."""
    entries = {}
    for frame in frames:
        sha256 = hashlib.sha256(frame.image_path.read_bytes()).hexdigest()
        saying = made_up_answer(sha256).sayings[0]
        entries[sha256] = {
            "frame_id": frame.frame_id,
            "description": saying.description,
            "activity": saying.activity,
            "apps": list(saying.apps),
            "topics": list(saying.topics),
            "code": shown_code(code_of(frame.frame_id)),
        }
    return entries


def add_canary_answers(answers: Path, canaries: Iterable[Frame], target: Path) -> Path:
    """A copy of an answers file with the canaries' answers added, written to ``target``; returns it."""
    entries = orjson.loads(answers.read_bytes()) | canary_answers(canaries)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(orjson.dumps(entries))
    return target

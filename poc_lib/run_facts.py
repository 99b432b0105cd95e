"""What run.json says about a run: its parameters, frames, servers, machine and software."""

from collections.abc import Sequence
from dataclasses import asdict

from PIL import Image

from poc_lib.escribano import count_frames
from poc_lib.host import read_git_commit, read_host, read_versions
from poc_lib.looks import visual_hash
from poc_lib.params import PROJECT_ROOT, Params, canary_prompt
from poc_lib.records import Frame, ServerIdentity
from poc_lib.runs import hash_file, hash_text


def read_run_facts(
    params: Params, every: Sequence[Frame], frames: Sequence[Frame], identities: Sequence[ServerIdentity]
) -> dict:
    """The content of run.json, for ``frames`` sampled from ``every`` frame of the recording."""
    return {
        "params": params.model_dump(),
        "prompt": params.prompt_text(),
        "prompt_sha256": hash_text(params.prompt_text()),
        "canary_prompt_sha256": hash_text(canary_prompt()),
        "recording_id": frames[0].recording_id,
        "recording_frames": len(every),
        "frame_counts": count_frames(every),
        "frames": [_frame_facts(frame) for frame in frames],
        "servers": [asdict(identity) for identity in identities],
        "host": read_host(),
        "versions": read_versions(),
        "git_commit": read_git_commit(PROJECT_ROOT),
    }


def _frame_facts(frame: Frame) -> dict:
    with Image.open(frame.image_path) as image:
        phash = visual_hash(image)
    return {
        "frame_id": frame.frame_id,
        "sha256": hash_file(frame.image_path),
        "bytes": frame.image_path.stat().st_size,
        "width": frame.width,
        "height": frame.height,
        "phash": phash,
    }

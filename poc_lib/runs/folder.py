"""Starting a run folder, continuing it, refusing another experiment in it; the run's facts and frames."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from poc_lib.errors import SetupProblem
from poc_lib.records import Frame, Reference
from poc_lib.runs.files import explained, locked, read_lines, rewrite_rows, write_json

# These say how a run is shown or how long it waits, not what is measured: they may differ on continuation.
FREE_PARAMETERS = {
    "run_id",
    "outputs_dir",
    "note",
    "screenshots",
    "match_threshold",
    "target_tok_per_s",
    "target_match_rate",
    "stop_after_failures",
    "retry_failed",
    "blocks",  # more of them may be added, see _with_more_blocks
    "slo_ttft_s",
    "slo_total_s",
    "slo_share",
    "quality_margin",
    "labels",
    "embeddings_url",
    "embeddings_api",
    "embeddings_model",
    "compare_with",
    "compare_anyway",
    "timeout_s",
    "connect_timeout_s",
    "api_key_env",
    "telemetry_every_s",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder and what its run.json says."""

    folder: Path
    facts: dict[str, Any]

    @property
    def run_id(self) -> str:
        return self.folder.name

    @property
    def simulated(self) -> bool:
        """True if any server of the run is the embedded simulator."""
        return any(server["simulated"] for server in self.facts["servers"])


def now_iso() -> str:
    """The wall clock in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_text(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def open_run(folder: Path, facts: Mapping[str, Any], frames: Iterable[Frame]) -> Run:
    """Start a run in the folder, or continue the one that lies there.

    A start that broke off before any reply is started again; frames that were lost are written again.

    Raises:
        SetupProblem: the folder holds a run with other parameters, frames or prompt (the first differences
            are named), or replies of an unknown one, or another process is in it; nothing is changed.
    """
    with explained(folder / "run.json"):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        stored = _read_facts(folder)
        if stored is None:
            return _start_run(folder, facts, frames)
        run = Run(folder, stored)
        _refuse_other_run(run, facts)
        run = _with_more_blocks(run, facts["params"])
        if len(read_lines(folder / "frames.jsonl")) < len(stored["frames"]):
            rewrite_rows(folder / "frames.jsonl", [_frame_row(frame) for frame in frames])
        return run


def _with_more_blocks(run: Run, asked: Mapping[str, Any]) -> Run:
    """A run may grow by whole blocks: its cells so far stay as they are, and the new ones follow."""
    if asked.get("blocks", 0) <= run.facts["params"].get("blocks", 0):
        return run
    facts = {**run.facts, "params": {**run.facts["params"], "blocks": asked["blocks"]}}
    write_json(run.folder / "run.json", facts)
    return Run(run.folder, facts)


def _start_run(folder: Path, facts: Mapping[str, Any], frames: Iterable[Frame]) -> Run:
    n_replies = len(read_lines(folder / "requests.jsonl"))
    if n_replies:
        raise SetupProblem(
            f"{folder} holds {n_replies} replies and no readable run.json that says what they were measured "
            "with: choose another run_id, or move requests.jsonl away"
        )
    facts = {"run_id": folder.name, "created_at": now_iso(), **facts}
    rewrite_rows(folder / "frames.jsonl", [_frame_row(frame) for frame in frames])
    write_json(folder / "run.json", facts)  # last: a folder with run.json is a complete start
    return Run(folder, dict(facts))


def read_run(folder: Path) -> Run:
    """Read a run's facts.

    Raises:
        SetupProblem: no run lies there.
    """
    facts = _read_facts(folder)
    if facts is None:
        raise SetupProblem(
            f"no run in {folder}: expected a run.json; measure one with the benchmark notebook"
        )
    return Run(folder, facts)


def _read_facts(folder: Path) -> dict | None:
    """The content of run.json; None where there is none, or what a crash left of one."""
    path = folder / "run.json"
    try:
        facts = orjson.loads(path.read_bytes()) if path.is_file() else None
    except orjson.JSONDecodeError:
        return None
    return facts if isinstance(facts, dict) else None


def newest_run(outputs: Path, database: str) -> Path | None:
    """The folder of the newest run on this database (or on 'demo'); None where there is none."""
    found = []
    for path in outputs.glob("*/run.json"):
        facts = _read_facts(path.parent)
        if facts and facts["params"]["database"] == database:
            found.append((facts["created_at"], path.parent))
    return max(found)[1] if found else None


def read_frames_of(run: Run) -> list[Frame]:
    """The frames of a run, as they were when it started.

    Raises:
        SetupProblem: a crash of the machine lost some of them.
    """
    frames = []
    for row in read_lines(run.folder / "frames.jsonl"):
        reference = row.pop("reference")
        row["image_path"] = Path(row["image_path"])
        frames.append(Frame(**row, reference=_read_reference(reference)))
    if len(frames) < len(run.facts["frames"]):
        raise SetupProblem(
            f"frames.jsonl in {run.folder} holds {len(frames)} of {len(run.facts['frames'])} frames: open "
            "the run once with the benchmark notebook, which writes them again"
        )
    return frames


def fingerprint(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for two sittings to be one run, as a flat mapping."""
    params = {k: v for k, v in facts["params"].items() if k not in FREE_PARAMETERS}
    frames = [frame["sha256"] for frame in facts["frames"]]
    return {
        **params,
        "prompt text": facts["prompt_sha256"],
        "canary prompt": facts.get("canary_prompt_sha256"),
        "frame images": frames,
    }


def _refuse_other_run(run: Run, facts: Mapping[str, Any]) -> None:
    stored, asked = fingerprint(run.facts), fingerprint(facts)
    differences = [
        _difference_line(key, asked[key], stored.get(key)) for key in asked if asked[key] != stored.get(key)
    ]
    if differences:
        raise SetupProblem(
            f"run '{run.run_id}' exists and is another experiment: {'; '.join(differences[:3])}. "
            "Choose another run_id, or the same parameters to continue it"
        )


def _difference_line(key: str, asked: Any, stored: Any) -> str:
    if key in ("prompt text", "canary prompt", "frame images"):  # hashes tell a reader nothing
        return f"other {key} than on file"
    return f"{key} is {_short(asked)}, on file {_short(stored)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _frame_row(frame: Frame) -> dict:
    return {**asdict(frame), "image_path": str(frame.image_path)}


def _read_reference(row: dict | None) -> Reference | None:
    if row is None:
        return None
    lists = {key: None if row[key] is None else tuple(row[key]) for key in ("apps", "topics")}
    return Reference(**{**row, **lists})

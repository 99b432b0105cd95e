"""Starting a run folder, continuing it, refusing another experiment in it; finding and listing runs."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from poc_lib.params import PROJECT_ROOT, Params
from poc_lib.reading import new_run_id
from poc_lib.records import Frame, Identity, Reference, SetupProblem
from poc_lib.runs.files import explained, iterate_rows, lock, replace_file

EDITION = 2
SAME_SERVER = ("software", "version", "model", "simulated")  # what must not change within a run


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
        return any(server.get("simulated") for server in self.facts["servers"])

    @property
    def params(self) -> dict[str, Any]:
        return self.facts["params"]


def now_iso() -> str:
    """The wall clock in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def hash_text(text: str) -> str:
    """SHA-256 of a text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_folder(folder: Path, params: Params) -> None:
    """Refuse what cannot be a run's folder, or holds another experiment; writes nothing.

    Raises:
        SetupProblem: what was found there, and what to do.
    """
    text = str(folder)
    longest = max(len(os.fsencode(part)) for part in folder.parts)
    if len(text) > 1000 or longest > 255 or not text.isprintable() or "\\" in text:
        raise SetupProblem(
            f"the output {text[:60]!r} is no folder name: use a short one without odd characters"
        )
    first = next(path for path in (folder, *folder.parents) if path.exists())
    if not first.is_dir():
        raise SetupProblem(f"{first} is a file: choose a folder for the output")
    if (
        folder == Path(folder.anchor)
        or not os.access(first, os.W_OK | os.X_OK)
        or first.parts[:2] == ("/", "proc")
    ):
        raise SetupProblem(f"nothing can be written into {first}: choose another folder for the output")
    facts = read_facts(folder)
    if facts is None:
        n_replies = sum(1 for _ in iterate_rows(folder / "requests.jsonl"))
        if n_replies:
            raise SetupProblem(
                f"{folder} holds {n_replies} replies and no readable run.json that says what they were "
                "measured with: choose another run_id, or move requests.jsonl away"
            )
        return
    if facts.get("edition") != EDITION:
        raise SetupProblem(
            f"run '{folder.name}' was measured by the first edition: `report` reads it, but it cannot be "
            "continued; choose another run_id"
        )
    asked, stored = _experiment(params.model_dump()), _experiment(facts["params"])
    changed = [key for key in asked if asked[key] != stored.get(key)]
    if changed:
        lines = [f"{key} is {_short(asked[key])}, on file {_short(stored.get(key))}" for key in changed[:3]]
        raise SetupProblem(
            f"run '{folder.name}' exists and is another experiment: {'; '.join(lines)}. Choose another "
            "run_id, or the same parameters to continue it"
        )


def _experiment(params: Mapping[str, Any]) -> dict[str, Any]:
    uses = {name: field.json_schema_extra["use"] for name, field in Params.model_fields.items()}
    return {name: value for name, value in params.items() if uses.get(name) == "measures"}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold it: a second command for the same run is refused at once.

    Raises:
        SetupProblem: another process holds it, or it cannot be made.
    """
    with explained(folder / "run.json"):
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder)
        yield
    finally:
        os.close(handle)


def open_run(folder: Path, facts: Mapping[str, Any], frames: Iterable[Frame]) -> Run:
    """Start a run in the folder, or continue the one that lies there; hold its requests meanwhile.

    A start that broke off before run.json was written is started again; lost frames are written again.

    Raises:
        SetupProblem: the frames or the prompt are others than on file; nothing is changed.
    """
    frames = list(frames)
    stored = read_facts(folder)
    if stored is None:
        rows = {"run_id": folder.name, "created_at": now_iso(), "edition": EDITION, "servers": [], **facts}
        write_frames(folder, frames)
        write_json(folder / "run.json", rows)  # last: a folder with run.json is a complete start
        return Run(folder, rows)
    for key, name in (("frames", "frames"), ("prompt_sha256", "prompt text")):
        if stored[key] != facts[key]:
            raise SetupProblem(
                f"run '{folder.name}' was begun with other {name}: choose another run_id, or bring them back"
            )
    if sum(1 for _ in iterate_rows(folder / "frames.jsonl")) < len(frames):
        write_frames(folder, frames)
    asked, before = facts["params"]["max_blocks"], stored["params"]["max_blocks"]
    if asked > before:  # a run may grow: its blocks so far stay as they are, and new ones follow
        stored["params"]["max_blocks"] = asked
        write_json(folder / "run.json", stored)
    return Run(folder, stored)


def record_servers(run: Run, identities: Iterable[Identity]) -> Run:
    """Write who the servers are, once; a run is of one version of each server.

    Raises:
        SetupProblem: a server that the run was begun with is another one now.
    """
    before = {server["name"]: server for server in run.facts["servers"]}
    for identity in identities:
        stored = before.get(identity.name, {})
        for key in SAME_SERVER:
            if key in stored and stored[key] != getattr(identity, key):
                raise SetupProblem(
                    f"{identity.name} has {key} {getattr(identity, key)}, but this run was begun with "
                    f"{stored[key]}: choose another run_id, and compare the two runs with compare_with"
                )
    if before:
        return run
    facts = {**run.facts, "servers": [asdict(identity) for identity in identities]}
    write_json(run.folder / "run.json", facts)
    return Run(run.folder, facts)


def read_run(which: Path | str, outputs: Path | None = None) -> Run:
    """Read a run's facts, by its folder or by its run_id below the outputs folder.

    Raises:
        SetupProblem: no run lies there.
    """
    folder = (outputs or PROJECT_ROOT / "outputs") / which  # an absolute folder wins
    facts = read_facts(folder)
    if facts is None:
        raise SetupProblem(
            f"no run in {folder}: expected a run.json; `python -m poc_lib runs` lists what there is"
        )
    return Run(folder, facts)


def read_facts(folder: Path) -> dict | None:
    """The content of run.json; None where there is none, or what a crash or another program left of one."""
    try:
        facts = orjson.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        return None
    whole = (
        isinstance(facts, dict)
        and isinstance(facts.get("params"), dict)
        and isinstance(facts.get("frames"), list)
    )
    return facts if whole and isinstance(facts.get("servers"), list) else None


def list_runs(outputs: Path) -> list[Run]:
    """Every run below a folder, newest first; foreign or damaged folders are passed over."""
    folders = [path.parent for path in outputs.glob("*/run.json")]
    runs = [Run(folder, facts) for folder in folders if (facts := read_facts(folder))]
    return sorted(runs, key=lambda run: str(run.facts.get("created_at")), reverse=True)


def unfinished_run(params: Params) -> Run | None:
    """The newest run of the same parameters, where it was begun and not finished."""
    asked = _experiment(params.model_dump())
    for run in list_runs(params.outputs_path):
        if run.facts.get("edition") == EDITION and _experiment(run.params) == asked:
            events = [row["event"] for row in iterate_rows(run.folder / "events.jsonl")]
            return None if "finished" in events else run
    return None


def name_run(params: Params) -> tuple[Params, str]:
    """The parameters with a run_id, and a line for people where it is an unfinished run's that goes on."""
    if params.run_id:
        return params, ""
    cut = unfinished_run(params)
    run_id = cut.run_id if cut else new_run_id(params)
    line = f"continuing run {run_id}, which was not finished; for a new one, set run_id to a new name"
    return params.model_copy(update={"run_id": run_id}), line if cut else ""


def read_frames(run: Run) -> list[Frame]:
    """The frames of a run, as they were when it started.

    Raises:
        SetupProblem: a crash of the machine lost some of them.
    """
    known = set(Frame.__dataclass_fields__)
    labels = {frame["frame_id"]: frame for frame in run.facts["frames"]}
    frames = []
    for number, row in enumerate(iterate_rows(run.folder / "frames.jsonl"), 1):
        reference = row["reference"]
        if reference is not None:
            lists = {k: None if reference[k] is None else tuple(reference[k]) for k in ("apps", "topics")}
            row["reference"] = Reference(**{**reference, **lists})
        row["image_path"] = Path(row["image_path"])
        facts = labels.get(row["frame_id"], {})  # the first edition kept hashes in run.json
        row = {"look": facts.get("phash"), "sha256": facts.get("sha256"), "label": f"frame {number}"} | row
        frames.append(Frame(**{key: value for key, value in row.items() if key in known}))
    if len(frames) < len(run.facts["frames"]):
        raise SetupProblem(
            f"frames.jsonl in {run.folder} holds {len(frames)} of {len(run.facts['frames'])} frames: open "
            "the run once with the benchmark notebook, which writes them again"
        )
    return frames


def write_frames(folder: Path, frames: Iterable[Frame]) -> None:
    """Write frames.jsonl in one step."""
    rows = ({**asdict(frame), "image_path": str(frame.image_path)} for frame in frames)
    replace_file(
        folder / "frames.jsonl", b"".join(orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in rows)
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people and programs, in one step: the file is whole or absent."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
    replace_file(path, orjson.dumps(value, option=option, default=str) + b"\n")

"""The last sections: findings, next steps, limits, how to reproduce, glossary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from poc_lib.analysis import Analysis
from poc_lib.params import Params
from poc_lib.report.blocks import Bullets, Code, Section, Table, Terms, Text
from poc_lib.report.findings import key_findings
from poc_lib.report.next_steps import next_steps
from poc_lib.report.wording import NOT_KNOWN, cells, columns, count

MAX_DETAILS = 160
GLOSSARY = (
    ("TTFT", "Time to first token: from sending to the first piece of the answer, thinking included."),
    ("TPOT", "Time per output token after the first: (last piece - first piece) ÷ (output tokens - 1)."),
    ("ITL", "Inter-token latency: the gap between two pieces of one answer as they arrive."),
    (
        "Concurrency, in flight",
        "How many requests are open at the same time; a new one starts when one ends.",
    ),
    ("Prefill", "Reading the prompt and the image, before the first token; it makes up most of TTFT."),
    ("Decode", "Writing the answer token by token; the part that batching makes cheaper."),
    ("Frames/s", "Answered requests ÷ wall clock of the level. Independent of how long answers are."),
    ("Output tok/s", "Tokens of the answers ÷ wall clock. Tokens of the images are not counted."),
    ("Complete level", "A level at which every frame was answered. Only such a level can carry the verdict."),
    ("p50, p95, p99", "Percentiles: half, 95 % or 99 % of the values are at most this."),
    (
        "Stored reference",
        "What an earlier model said of the frame and Escribano stored: a comparison, not the truth.",
    ),
    (
        "Match",
        "The difflib ratio (2 × matching ÷ all characters) of two descriptions is above the threshold.",
    ),
    (
        "TF-IDF cosine",
        "Similarity of two texts by their words, rare ones counting more: 0 nothing shared, 1 equal.",
    ),
    ("Jaccard overlap", "Shared names ÷ all names of two lists."),
    (
        "Block",
        "A repeat of the whole comparison: every server and level once, in an order drawn from the seed.",
    ),
    (
        "95 % interval",
        "A range that holds the true value in 95 of 100 runs. It honours that blocks differ, that requests "
        "of one wave share their fate and that neighbouring frames are alike.",
    ),
    (
        "All levels at once",
        "Bounds wide enough (Bonferroni) that the best level may be chosen without picking the luckiest.",
    ),
    (
        "Amdahl's ceiling",
        "What perfect sharing of the decode among the slots would reach while prefill stays serial.",
    ),
    (
        "Open loop",
        "Requests arrive at a rate, whatever the server does; latency counts from the moment each was due.",
    ),
    ("Floor, ceiling", "Agreement with other frames' references, and of the baseline with itself."),
    ("AUC", "How often an answer is more like its own frame's reference than another's is; 0.5 is chance."),
    (
        "Not worse (non-inferiority)",
        "The whole interval of a difference lies above minus the margin that was allowed.",
    ),
    ("Misplaced", "An answer like what is said of another image, by more than this server's answers stray."),
    ("Holm", "The adjustment of p-values that bounds the false alarms of all tests of a run together."),
    ("Goodput", "Answers per second that kept the service level."),
    (
        "Canary",
        "A generated screenshot with a code. An answer that holds another frame's code is a proven mix-up.",
    ),
    ("Wrong neighbour", "An answer that fits another frame's reference clearly better than its own."),
)


def findings_section(analysis: Analysis) -> Section:
    """What the numbers say."""
    return Section("findings", "Key findings", (Bullets(key_findings(analysis)),))


def next_section(analysis: Analysis, params: Params) -> Section:
    """What follows from the result."""
    steps = next_steps(analysis, params) or ("Nothing more needs to be done.",)
    return Section("next", "Next steps", (Bullets(steps, numbered=True),))


def limits_section(analysis: Analysis) -> Section:
    """What this report does not show."""
    blocks, frames = int(analysis.speed["blocks"].min()), len(analysis.frames)
    limits = [
        f"One recording, {count(frames, 'frame')} of it, one machine, one day: others may differ.",
        "Intervals see what varies between this run's blocks and frames, not what another day would change. "
        "Neighbouring frames that are alike in ways no image hash shows make them too narrow.",
        "The stored reference is what an earlier model wrote. Agreement with it is not correctness.",
        "A match by difflib is strict about wording: a correct paraphrase often fails it.",
        "Signs of confusion in texts cannot show a mix-up between two screens that look alike.",
    ]
    if not len(analysis.canaries):
        limits.append("No canaries were sent, so a mix-up of images could be suspected but not proven.")
    if analysis.open_loop.empty:
        limits.append("Load was a closed loop: a fixed number of requests in flight, not arrivals at a rate.")
    if blocks < 2:
        limits.append(
            "Each level was measured in one block, so nothing here says how much a second one would differ."
        )
    if not analysis.baseline.measured:
        limits.append(
            f"The speed-up compares with figures recorded for {analysis.baseline.name} on another occasion."
        )
    if analysis.run.simulated:
        limits.insert(0, "The servers were simulated: no number here says anything about a real server.")
    return Section("limits", "Limits", (Bullets(tuple(limits)),))


def reproduce_section(analysis: Analysis) -> Section:
    """Everything needed to measure this again."""
    facts = analysis.run.facts
    again = {
        key: _without_folders(key, value)
        for key, value in facts["params"].items()
        if key not in ("run_id", "outputs_dir", "note") and _is_set(key, value)
    }
    return Section(
        "reproduce",
        "How to reproduce",
        (
            Text(f"Save the parameters as `params/again.yaml`, start the servers, then `{COMMAND}`."),
            Code("params/again.yaml", yaml.safe_dump(again, sort_keys=False, allow_unicode=True).strip()),
            _facts_table("The run", _run_facts(facts)),
            _servers_table(facts["servers"]),
            Code("Prompt", str(facts.get("prompt", NOT_KNOWN))),
            _facts_table("Machine", facts.get("host", {})),
            _facts_table("Software", {**facts.get("versions", {}), "git commit": facts.get("git_commit")}),
            _parameters_table(facts["params"]),
        ),
    )


COMMAND = "python -m poc_lib run --params params/again.yaml"


def _without_folders(key: str, value: Any) -> Any:
    """A page that is shared names files, not the folders of its author."""
    return Path(value).name if key in ("database", "outputs_dir", "prompt") else value


def _is_set(key: str, value: Any) -> bool:
    field = Params.model_fields.get(key)
    return field is None or value != field.default


def _run_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    sizes = {f"{frame['width']} × {frame['height']}" for frame in facts["frames"]}
    return {
        "run": facts["run_id"],
        "started": facts["created_at"],
        "recording": facts.get("recording_id"),
        "frames sent per level": len(facts["frames"]),
        "frames of the recording": facts["recording_frames"],
        "frame sizes [pixels]": ", ".join(sorted(sizes)),
        "prompt SHA-256": facts["prompt_sha256"],
        **{f"frames: {what}": n for what, n in facts.get("frame_counts", {}).items()},
    }


def _facts_table(caption: str, facts: Mapping[str, Any]) -> Table:
    rows = tuple(cells(str(name).replace("_", " "), _shown(value)) for name, value in facts.items())
    return Table(caption, columns("what", "value", text=("what", "value")), rows)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return NOT_KNOWN if value is None else str(value) or "(empty)"


def _servers_table(servers: list[Mapping[str, Any]]) -> Table:
    names = ("name", "role", "software", "version", "model", "url")
    rows = [
        cells(
            *(_shown(server.get(name)) for name in names),
            "yes" if server["simulated"] else "no",
            _short_details(server.get("details") or {}),
        )
        for server in servers
    ]
    titles = ("server", "role", "software", "version", "model", "address", "simulated", "said about itself")
    return Table(
        "The servers, as they answered before the run.",
        columns(*titles, text=titles),
        tuple(rows),
        as_cards=True,
    )


def _short_details(details: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key}: {value}" for key, value in details.items()) or NOT_KNOWN
    return text if len(text) <= MAX_DETAILS else f"{text[: MAX_DETAILS - 1]}…"


def _parameters_table(values: Mapping[str, Any]) -> Table:
    rows = tuple(
        cells(key, _shown(_without_folders(key, value)), _meaning(key)) for key, value in values.items()
    )
    titles = ("parameter", "value", "meaning")
    return Table("Every parameter of the run.", columns(*titles, text=titles), rows, as_cards=True)


def _meaning(key: str) -> str:
    return Params.model_fields[key].description if key in Params.model_fields else ""


def glossary_section() -> Section:
    """The terms of the report."""
    return Section("glossary", "Glossary", (Terms(GLOSSARY),))

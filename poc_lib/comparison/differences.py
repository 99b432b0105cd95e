"""What differs between two runs: what forbids a comparison, and what the comparison is about. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from poc_lib.comparison.facts import (
    NOT_TOLD,
    Facts,
    digest,
    flags_of,
    levels_of,
    machine_behind,
    memory_text,
    model_base,
    model_name,
    os_family,
    pair_candidates,
    power_text,
    quantisation,
    servers_of,
    software_text,
    widths_text,
)
from poc_lib.errors import SetupProblem
from poc_lib.looks import LOOKS_DIFFERENT_BITS, hash_distance
from poc_lib.runs import FREE_PARAMETERS, Run

Kind = Literal["must be equal", "may differ"]
MUST, MAY = "must be equal", "may differ"
UNTELLING = {"prompt text", "frames", "frame images"}  # their values tell a reader of one line nothing
CLIENT_PACKAGES = ("poc-lib", "httpx", "aiohttp", "orjson")
# They are named, but cannot be why a level came out faster or slower.
NO_CAUSES = {"date", "note", "blocks", "levels", "other packages"}
# Parameters that have a row of their own, or that only choose, show or judge what was measured.
NOT_MEASURING = FREE_PARAMETERS | {
    "database", "recording", "n_frames", "sample", "seed", "image_width", "recover_missing", "recovery_width",
    "prompt", "max_tokens", "temperature", "servers", "concurrency", "baseline_concurrency", "blocks",
    "recorded_tok_per_s", "recorded_s_per_frame", "recorded_frames", "quality_margin", "labels",
    "slo_ttft_s", "slo_total_s", "slo_share", "embeddings_url", "embeddings_api", "embeddings_model",
    "compare_with", "compare_anyway",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same in two runs, with what it is in each."""

    what: str
    first: str
    other: str
    kind: Kind

    @property
    def may_be_the_cause(self) -> bool:
        """False for what is named but cannot make a level faster or slower (the date, more levels)."""
        return self.what.rpartition(": ")[2] not in NO_CAUSES


def check_alike(first: Run, other: Run) -> list[Difference]:
    """Everything on record that differs, what forbids a comparison first; [] for twins.

    Must be equal: frames and their images (images may differ in width alone, where the widths asked for
    do), prompt text, machine, baseline, max_tokens, temperature, simulated or not. May differ: the
    candidate's software, model, quantisation and settings, levels, blocks, how it was measured, dates,
    versions. What one run does not tell is not compared: a server that names no version hides an upgrade.
    """
    pair = first.facts, other.facts
    found = [
        *_frames(*pair),
        *_conditions(*pair),
        *_machine(*pair),
        *_baselines(*pair),
        *_candidates(*pair),
        *_measuring(*pair),
        *_software(*pair),
    ]
    return sorted(found, key=lambda difference: difference.kind != MUST)


def refuse_unlike(runs: Sequence[Run], anyway: bool) -> dict[str, list[Difference]]:
    """Each later run's differences from the first, by run id, for the page to name.

    Raises:
        SetupProblem: something differs that must be equal, and ``anyway`` is False; or a run is named twice.
    """
    first, *others = runs
    ids = [run.run_id for run in runs]
    if len(set(ids)) < len(ids):
        raise SetupProblem(
            f"runs {', '.join(ids)}: expected each once, for a run is not compared with itself"
        )
    differences = {run.run_id: check_alike(first, run) for run in others}
    for run_id, found in differences.items():
        unlike = [difference for difference in found if difference.kind == MUST]
        if unlike and not anyway:
            lines = "; ".join(_line(difference, first.run_id) for difference in unlike)
            raise SetupProblem(
                f"run '{run_id}' cannot be compared with '{first.run_id}': {lines}. "
                "Choose alike runs, or use compare_anyway to go on"
            )
    return differences


def _line(difference: Difference, first_id: str) -> str:
    if difference.what in UNTELLING:
        return f"other {difference.what}"
    return f"{difference.what} is {difference.other}, in '{first_id}' {difference.first}"


def _if_other(what: str, first: Any, other: Any, kind: Kind) -> list[Difference]:
    return [] if first == other else [Difference(what, str(first), str(other), kind)]


def _if_both_told(what: str, first: str, other: str, kind: Kind) -> list[Difference]:
    return [] if NOT_TOLD in (first, other) else _if_other(what, first, other, kind)


def _frames(first: Facts, other: Facts) -> Iterator[Difference]:
    mine, theirs = ({frame["frame_id"]: frame for frame in facts["frames"]} for facts in (first, other))
    if mine.keys() != theirs.keys():
        shared = len(mine.keys() & theirs.keys())
        yield Difference("frames", f"{len(mine)} frames", f"{len(theirs)} frames, {shared} in both", MUST)
        return
    changed = [i for i in mine if mine[i]["sha256"] != theirs[i]["sha256"]]
    if not changed:
        return
    widths = [facts["params"].get("image_width", 0) for facts in (first, other)]
    look_other = [i for i in changed if _looks_other(mine[i]["phash"], theirs[i]["phash"])]
    if widths[0] == widths[1] or look_other:
        unlike = len(look_other or changed)
        yield Difference("frame images", f"{len(mine)} images", f"{unlike} of these are others", MUST)
    if widths[0] != widths[1]:
        yield Difference("image width", widths_text(first), widths_text(other), MAY)


def _looks_other(mine: str | None, theirs: str | None) -> bool:
    return bool(mine and theirs) and hash_distance(mine, theirs) >= LOOKS_DIFFERENT_BITS


def _conditions(first: Facts, other: Facts) -> Iterator[Difference]:
    prompts = [
        f"{len(facts.get('prompt', ''))} characters, SHA-256 {facts['prompt_sha256'][:12]}"
        for facts in (first, other)
    ]
    if first["prompt_sha256"] != other["prompt_sha256"]:
        yield Difference("prompt text", *prompts, MUST)
    for name in ("max_tokens", "temperature"):
        yield from _if_other(name, first["params"].get(name), other["params"].get(name), MUST)
    kinds = ["simulated" if _is_simulated(facts) else "real" for facts in (first, other)]
    yield from _if_other("kind of servers", *kinds, MUST)


def _is_simulated(facts: Facts) -> bool:
    return any(server["simulated"] for server in facts["servers"])


def _machine(first: Facts, other: Facts) -> Iterator[Difference]:
    hosts = first.get("host", {}), other.get("host", {})
    for name in ("chip", "gpu"):
        yield from _if_other(f"host {name}", *(host.get(name) or NOT_TOLD for host in hosts), MUST)
    yield from _if_other("host memory", memory_text(first), memory_text(other), MUST)
    families = os_family(first), os_family(other)
    yield from _if_other("host system", *families, MUST)
    if families[0] == families[1]:
        yield from _if_both_told(
            "version of the system", *(str(host.get("os") or NOT_TOLD) for host in hosts), MAY
        )
    yield from _if_both_told("power", power_text(first), power_text(other), MAY)


def _baselines(first: Facts, other: Facts) -> Iterator[Difference]:
    mine, theirs = servers_of(first, "baseline"), servers_of(other, "baseline")
    names = [", ".join(sorted(servers)) or "none measured" for servers in (mine, theirs)]
    yield from _if_other("baseline", *names, MUST)
    for name in mine.keys() & theirs.keys():
        label = f"baseline {name}"
        yield from _server(label, mine[name], theirs[name], MUST)
        yield from _levels(label, levels_of(first, name), levels_of(other, name), MUST)


def same_baseline(first: Facts, other: Facts) -> bool:
    """True if both runs measured the same baselines: software, version, model, settings and levels."""
    return bool(servers_of(first, "baseline")) and not any(_baselines(first, other))


def _candidates(first: Facts, other: Facts) -> Iterator[Difference]:
    mine, theirs = servers_of(first, "candidate"), servers_of(other, "candidate")
    for left, right in pair_candidates(first, other):
        if left is None or right is None:
            yield Difference(
                "candidates", left or "none to hold against", right or "none to hold against", MAY
            )
            continue
        yield from _server(right, mine[left], theirs[right], MAY)
        yield from _levels(right, levels_of(first, left), levels_of(other, right), MAY)


def _levels(label: str, first: tuple[int, ...], other: tuple[int, ...], kind: Kind) -> list[Difference]:
    texts = [", ".join(map(str, levels)) for levels in (first, other)]
    return _if_other(f"{label}: levels", *texts, kind)


def _server(label: str, first: Facts, other: Facts, kind: Kind) -> Iterator[Difference]:
    yield from _if_other(f"{label}: software", software_text(first), software_text(other), kind)
    yield from _model(label, first, other, kind)
    mine, theirs = flags_of(first), flags_of(other)
    for flag in [flag for flag in mine if flag in theirs]:
        yield from _if_other(f"{label}: {flag}", mine[flag], theirs[flag], kind)
    yield from _if_both_told(f"{label}: machine", machine_behind(first), machine_behind(other), kind)


def _model(label: str, first: Facts, other: Facts, kind: Kind) -> list[Difference]:
    """One row: another quantisation of the same model, another model, or other weights of the same name."""
    other_quantisation = _if_both_told(
        f"{label}: quantisation", quantisation(first), quantisation(other), kind
    )
    if other_quantisation and model_base(first) == model_base(other):
        return other_quantisation
    other_name = _if_other(f"{label}: model", model_name(first), model_name(other), kind)
    return other_name or _if_both_told(f"{label}: model digest", digest(first), digest(other), kind)


def _measuring(first: Facts, other: Facts) -> Iterator[Difference]:
    mine, theirs = first["params"], other["params"]
    yield from _if_other("blocks", mine.get("blocks"), theirs.get("blocks"), MAY)
    for name in [name for name in mine if name in theirs and name not in NOT_MEASURING]:
        if not name.startswith(("candidate_", "baseline_")):
            yield from _if_other(name, mine[name], theirs[name], MAY)
    yield from _if_other("note", mine.get("note") or "none", theirs.get("note") or "none", MAY)
    yield from _if_other(
        "date", *(facts.get("created_at", NOT_TOLD)[:16].replace("T", " ") for facts in (first, other)), MAY
    )


def _software(first: Facts, other: Facts) -> Iterator[Difference]:
    mine, theirs = _versions(first), _versions(other)
    changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
    client = [name for name in changed if name in (*CLIENT_PACKAGES, "python", "commit")]
    for what, names in (
        ("measuring tool", client),
        ("other packages", [n for n in changed if n not in client]),
    ):
        if names:
            texts = [", ".join(f"{name} {versions[name]}" for name in names) for versions in (mine, theirs)]
            yield Difference(what, *texts, MAY)


def _versions(facts: Facts) -> dict[str, str]:
    more = {"python": facts.get("host", {}).get("python"), "commit": facts.get("git_commit")}
    return {**facts.get("versions", {}), **{name: value for name, value in more.items() if value}}

"""Fairness of what is compared: model files and their quantisation, and how the baseline was tried."""

import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from poc_lib.fairness.line import FairnessLine, candidates_of
from poc_lib.metrics import Baseline, summarize_cells

_QUANTISATION = re.compile(
    r"(?<![a-z0-9])"
    r"(\d{1,2}[ _-]?bits?|i?q\d(?:_[a-z0-9]+)*|(?:mx|nv)?fp\d{1,2}|bf16|f16|f32|int\d|dwq|awq)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)\s?b(?![a-z0-9])", re.IGNORECASE)
_KIND = re.compile(r"(?<![a-z])(instruct|thinking)(?![a-z])", re.IGNORECASE)


def quantisation_of(identity: Mapping) -> str | None:
    """The quantisation that the server told (Ollama), or that the model's name tells; None: not known."""
    told = ((identity.get("details") or {}).get("details") or {}).get("quantization_level")
    if isinstance(told, str) and told and told.lower() != "unknown":
        return told
    found = _QUANTISATION.findall(identity.get("model") or "")
    return " ".join(found) or None


def bits_of(quantisation: str | None) -> int | None:
    """The bits of a weight by its quantisation's name: 4 for "4bit", "Q4_K_M", "mxfp4"; None: not known."""
    found = re.search(r"\d+", quantisation or "")
    return int(found[0]) if found else None


def size_of(identity: Mapping) -> float | None:
    """Billions of parameters, as the model's name says, or Ollama; None: not known."""
    told = ((identity.get("details") or {}).get("details") or {}).get("parameter_size")
    for words in (identity.get("model") or "", told if isinstance(told, str) else ""):
        if found := _SIZE.search(words):
            return float(found[1])
    return None


def model_lines(
    requests: pd.DataFrame, identities: Sequence[Mapping], baseline: Baseline
) -> Iterator[FairnessLine]:
    """Other models, sizes or quantisations than the baseline's."""
    by_name = {(identity["name"], identity["role"]): identity for identity in identities}
    theirs = by_name.get((baseline.name, "baseline"))
    if not baseline.measured or theirs is None:
        return
    for name in candidates_of(requests):
        ours = by_name.get((name, "candidate"))
        if ours is None or (ours.get("model") == theirs.get("model") and _same_bits(ours, theirs)):
            continue
        differences = _differences(ours, theirs)
        yield FairnessLine(
            "model",
            f"{name} served {_described(ours)}, {baseline.name} {_described(theirs)}.",
            "warning" if differences else "note",
            f"They differ in {' and '.join(differences)}: the speed-up is not the server's alone."
            if differences
            else "The names differ; that both hold the same weights is not checked.",
        )


def _same_bits(ours: Mapping, theirs: Mapping) -> bool:
    return bits_of(quantisation_of(ours)) == bits_of(quantisation_of(theirs))


def _differences(ours: Mapping, theirs: Mapping) -> list[str]:
    found = []
    sizes = [size_of(identity) for identity in (ours, theirs)]
    if None not in sizes and max(sizes) > 1.25 * min(sizes):
        found.append(f"size ({sizes[0]:g} and {sizes[1]:g} billion parameters)")
    bits = [bits_of(quantisation_of(identity)) for identity in (ours, theirs)]
    if None not in bits and bits[0] != bits[1]:
        found.append(f"quantisation ({bits[0]} and {bits[1]} bits)")
    kinds = [_KIND.findall(identity.get("model") or "") for identity in (ours, theirs)]
    if all(kinds) and kinds[0][-1].lower() != kinds[1][-1].lower():
        found.append(f"kind ({kinds[0][-1].lower()} and {kinds[1][-1].lower()})")
    return found


def _described(identity: Mapping) -> str:
    digest = (identity.get("details") or {}).get("digest")
    facts = [quantisation_of(identity) or "quantisation not known"]
    facts += [f"digest {digest.removeprefix('sha256:')[:12]}"] if isinstance(digest, str) and digest else []
    return f"'{identity.get('model')}' ({', '.join(facts)})"


def baseline_lines(
    requests: pd.DataFrame, identities: Sequence[Mapping], baseline: Baseline
) -> Iterator[FairnessLine]:
    """Whether the baseline was measured at all, and whether it was allowed to run in parallel."""
    if not baseline.measured:
        yield FairnessLine(
            "baseline",
            f"{baseline.name} was not measured in this run: {baseline.frames_per_s:.3g} frames/s and "
            f"{baseline.output_tok_per_s:.3g} output tok/s are recorded figures.",
            "warning",
            "Another machine, day, model version and sample; measure the baseline beside the candidate.",
        )
        return
    theirs = requests[(requests["server"] == baseline.name) & (requests["role"] == "baseline")]
    measured = theirs[theirs["phase"] == "measure"]
    if measured.empty:
        return
    identity = next((i for i in identities if (i["name"], i["role"]) == (baseline.name, "baseline")), {})
    yield _parallel_line(measured, identity, baseline)


def _parallel_line(measured: pd.DataFrame, identity: Mapping, baseline: Baseline) -> FairnessLine:
    serial = _why_serial(identity)
    levels = sorted(int(level) for level in measured["concurrency"].unique())
    if levels == [1]:
        return FairnessLine(
            "baseline's parallel requests",
            f"{baseline.name} was only tried with one request at a time (n = {len(measured)} requests).",
            "note" if serial else "warning",
            serial
            or "It may be faster with more: measure it at the candidate's levels (baseline_concurrency).",
        )
    cells = summarize_cells(measured, measured["frame_id"].nunique()).groupby("concurrency")
    sums = cells[["n_ok", "wall_s"]].sum()
    rates = "; ".join(
        f"{row.n_ok / row.wall_s:.2f} at {level}" for level, row in sums.iterrows() if row.wall_s
    )
    return FairnessLine(
        "baseline's parallel requests",
        f"{baseline.name} was tried at {', '.join(map(str, levels))} in flight and was best at "
        f"{baseline.concurrency}, which the speed-up is taken against (frames/s: {rates}).",
        "note",
        serial,
    )


def _why_serial(identity: Mapping) -> str:
    """Why this server takes one request at a time whatever is sent; empty: nothing known speaks for that."""
    details = identity.get("details") or {}
    if (details.get("health") or {}).get("engine_type") == "simple":
        return (
            "It runs without continuous batching (engine_type simple) and refuses a second request in flight."
        )
    is_ollama = identity.get("software") == "ollama" or identity.get("api") == "ollama"
    if is_ollama and re.search(r"qwen3[-_.]?vl", identity.get("model") or "", re.IGNORECASE):
        return (
            "Ollama runs the Qwen3-VL family with parallel = 1 whatever OLLAMA_NUM_PARALLEL says; further "
            "requests queue."
        )
    return ""

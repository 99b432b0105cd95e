"""What a run's facts say about its servers, machine and software, as short texts to be held together."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from poc_lib.params import Params

Facts = Mapping[str, Any]

NOT_TOLD = "not told"
LOCAL = {"localhost", "127.0.0.1", "::1"}
QUANTISATION = re.compile(
    r"(?i)(?<![a-z0-9])(\d{1,2}[-_ ]?bits?|i?q\d\w*|bf16|fp?16|fp?32|fp8|mxfp4|nvfp4)(?![a-z0-9])"
)
# Of what a server says about itself: state that moves by itself, and what has a row of its own.
NOT_FLAGS = {
    "status", "model_loaded", "loaded", "modified_at", "expires_at", "timestamp", "simulated", "version",
    "digest", "model_name", "model", "available_models", "quantization_level", "format", "family", "families",
    "parameter_size", "parent_model", "loaded_model", "loaded_models",
}  # fmt: skip


def levels_of(facts: Facts, server: str) -> tuple[int, ...]:
    """The concurrency levels that the run's parameters plan for a server; () for one they do not name."""
    known = {key: value for key, value in facts["params"].items() if key in Params.model_fields}
    specs = Params.model_construct(**known).server_specs()
    return next((spec.concurrency for spec in specs if spec.name == server), ())


def servers_of(facts: Facts, role: str) -> dict[str, Facts]:
    """The run's servers of a role, by name, as they answered before it."""
    return {server["name"]: server for server in facts["servers"] if server["role"] == role}


def pair_candidates(first: Facts, other: Facts) -> list[tuple[str | None, str | None]]:
    """Which candidate of one run stands against which of the other: by name, or the only two that are left.

    None stands where a candidate has no counterpart.
    """
    mine, theirs = servers_of(first, "candidate"), servers_of(other, "candidate")
    pairs: list[tuple[str | None, str | None]] = [(name, name) for name in mine if name in theirs]
    left = [name for name in mine if name not in theirs]
    right = [name for name in theirs if name not in mine]
    if len(left) == len(right) == 1:
        return [*pairs, (left[0], right[0])]
    return [*pairs, *((name, None) for name in left), *((None, name) for name in right)]


def software_text(server: Facts) -> str:
    """Software and version as far as the server told them."""
    return (
        f"{server.get('software') or 'unknown software'} {server.get('version') or f'(version {NOT_TOLD})'}"
    )


def model_name(server: Facts) -> str:
    """The model as the run asks for it."""
    return server.get("model") or NOT_TOLD


def model_base(server: Facts) -> str:
    """The model's name without the part that names its quantisation."""
    return re.sub(r"[-_:. ]+", "-", QUANTISATION.sub("", model_name(server))).strip("-").lower()


def quantisation(server: Facts) -> str:
    """What the server said (Ollama), else what the model's name says, such as "4bit"."""
    details = (server.get("details") or {}).get("details") or {}
    named = QUANTISATION.search(model_name(server))
    return details.get("quantization_level") or (named[0] if named else NOT_TOLD)


def digest(server: Facts) -> str:
    """The start of the model's digest (Ollama); equal digests are equal files."""
    return ((server.get("details") or {}).get("digest") or NOT_TOLD)[:19]


def flags_of(server: Facts) -> dict[str, str]:
    """Settings that the server told: words, switches and lists of words; its counters are left out."""
    return dict(_leaves(server.get("details") or {}))


def _leaves(details: Mapping[str, Any]):
    for key, value in details.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        elif key not in NOT_FLAGS and isinstance(value, str | bool):
            yield key, str(value)
        elif (
            key not in NOT_FLAGS
            and isinstance(value, list | tuple)
            and all(isinstance(v, str) for v in value)
        ):
            yield key, ", ".join(value) or "none"


def machine_behind(server: Facts) -> str:
    """The machine of the server's address; its port, which a simulator draws anew, is left out."""
    host = urlsplit(server.get("url") or "").hostname or NOT_TOLD
    return "this machine" if host in LOCAL else host


def os_family(facts: Facts) -> str:
    """ "macOS" of "macOS-26.1"."""
    return str(facts.get("host", {}).get("os") or NOT_TOLD).split("-")[0]


def memory_text(facts: Facts) -> str:
    """The machine's memory in whole GB: a tenth more or less is the same machine."""
    memory_gb = facts.get("host", {}).get("memory_gb")
    return NOT_TOLD if memory_gb is None else f"{memory_gb:.0f} GB"


def power_text(facts: Facts) -> str:
    """Whether the machine ran on its battery."""
    return {True: "battery", False: "mains"}.get(facts.get("host", {}).get("on_battery"), NOT_TOLD)


def widths_text(facts: Facts) -> str:
    """The real widths of the images that were sent, in pixels."""
    widths = sorted({frame["width"] for frame in facts["frames"] if frame.get("width")})
    return ", ".join(f"{width} px" for width in widths) or NOT_TOLD

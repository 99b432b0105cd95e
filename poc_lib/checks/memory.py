"""Both models in memory at once, and what that leaves."""

from collections.abc import Sequence

from poc_lib.checks.check import Check, ok, warning
from poc_lib.checks.facts import ServerFacts, in_gb, is_same_model

LOW_MEMORY = 0.1  # share of memory below which the system starts to swap


def check_memory(facts: Sequence[ServerFacts], total_gb: float, left_gb: float) -> list[Check]:
    """Each server's share, and what all of them leave of this machine's memory, in GB (2**30 bytes)."""
    answered = [server for server in facts if server.reply and not server.reply.error_class]
    lines = [_check_loaded(server) for server in answered if server.loaded is not None]
    return [*lines, *_check_others(answered), _check_left(answered, total_gb, left_gb)]


def _check_loaded(server: ServerFacts) -> Check:
    """Ollama: is the model still loaded, whole and on the GPU, with room for prompt and answer?"""
    about, model = f"{server.spec.name}: memory", server.spec.model
    mine = next((entry for entry in server.loaded if is_same_model(entry, model)), None)
    if mine is None:
        found = f"{model} was unloaded again: each request would load it anew"
        return warning(about, found, "quit other apps, or set OLLAMA_MAX_LOADED_MODELS=2 where Ollama starts")
    size_gb, on_gpu_gb = in_gb(mine.get("size")), in_gb(mine.get("size_vram")) or 0.0
    if size_gb is None:
        return ok(about, f"{model} is loaded; its size is not told")
    if on_gpu_gb < 0.99 * size_gb:
        found = f"{on_gpu_gb / size_gb:.0%} of {size_gb:.1f} GB are on the GPU, the rest runs on the CPU"
        return warning(about, found, "free memory (quit apps, `ollama stop` other models) and check again")
    return ok(about, f"{size_gb:.1f} GB, all on the GPU")


def _check_others(answered: Sequence[ServerFacts]) -> list[Check]:
    """Models that Ollama keeps loaded beside the one that is measured."""
    lines = []
    for server in answered:
        others = [e for e in server.loaded or [] if e.get("name") and not is_same_model(e, server.spec.model)]
        for entry in others:
            found = f"also holds {entry['name']} ({in_gb(entry.get('size')) or 0:.1f} GB)"
            lines.append(
                warning(f"{server.spec.name}: other models", found, f"run `ollama stop {entry['name']}`")
            )
    return lines


def _check_left(answered: Sequence[ServerFacts], total_gb: float, left_gb: float) -> Check:
    local = [server for server in answered if server.is_local]
    found = f"{left_gb:.1f} of {total_gb:.1f} GB left"
    if local:
        found += f" with {' and '.join(_share(server) for server in local)} loaded"
    if left_gb < LOW_MEMORY * total_gb:
        to_do = "quit other apps, or measure one server at a time: a machine that swaps measures its disk"
        return warning("memory", found, to_do)
    return ok("memory", found)


def _share(server: ServerFacts) -> str:
    if server.identity.simulated:
        return f"{server.spec.name} (simulated)"
    if server.held_gb is None:
        return f"{server.spec.name} (size not told)"
    return f"{server.spec.name} ({server.held_gb:.1f} GB, says {server.held_by})"

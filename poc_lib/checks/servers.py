"""What a server and its process say about themselves, and which of it will spoil a measurement."""

from collections.abc import Sequence

import httpx

from poc_lib.checks.check import Check, ok, problem, warning
from poc_lib.checks.facts import ServerFacts, is_silent
from poc_lib.checks.probe import judge_probe, replays_nothing
from poc_lib.checks.process import ServerProcess, flag_value
from poc_lib.records import ServerIdentity, ServerSpec
from poc_lib.telemetry.machine import local_port

# Ollama's scheduler runs these families with one request at a time (server/sched.go, September 2026).
ALWAYS_SEQUENTIAL = {"mllama", "qwen3vl", "qwen3vlmoe", "qwen35", "qwen35moe", "qwen3next", "lfm2", "lfm2moe"}
ALWAYS_SEQUENTIAL |= {"nemotron_h", "nemotron_h_moe", "nemotron_h_omni"}
LEVELS = {"candidate": "concurrency", "baseline": "baseline_concurrency"}


def check_server_facts(facts: ServerFacts) -> list[Check]:
    """Everything about one server, but its reply, its memory and how it compares to the other."""
    spec, identity, process = facts.spec, facts.identity, facts.process
    checks = [check_identity(spec, identity)]
    if not identity.reachable:
        return checks
    if identity.software == "ollama" and identity.problem is None:
        checks += check_ollama(spec, identity, process)
    if identity.software == "vllm-mlx":
        checks += check_vllm_mlx(spec, identity, process)
    if identity.software == "mlx-vlm":
        checks += [_check_mlx_vlm(spec, identity)]
    if facts.metrics is not None:
        checks.append(check_metrics(spec.name, facts.metrics))
    if facts.n_foreign:
        found = f"{facts.n_foreign:.0f} requests of somebody else's are running or waiting"
        to_do = "stop whoever else uses it (the app?), and check again"
        checks.append(warning(f"{spec.name}: other load", found, to_do))
    return checks


def check_probe(facts: ServerFacts) -> list[Check]:
    """The picture probe's line; none where it was not sent."""
    if facts.probe is None:
        return []
    version = facts.process.vllm_mlx_version if facts.process else None
    text_only = facts.identity.details.get("health", {}).get("model_type") == "llm"
    return [judge_probe(facts.spec.name, facts.probe, facts.identity.software, version, text_only)]


def check_identity(spec: ServerSpec, identity: ServerIdentity) -> Check:
    """Reachable, and serving the wanted model?"""
    about = f"{identity.name}: server and model"
    if identity.problem is None:
        known = f"{identity.software or 'unknown software'} {identity.version or ''}".strip()
        return ok(about, f"{'SIMULATED ' if identity.simulated else ''}{known} serves {identity.model}")
    found, _, to_do = identity.problem.partition(": ")
    if is_silent(identity):
        found = f"{spec.url} takes connections but does not answer"
        to_do = "wait until it has loaded its model, or stop whoever else uses it, and check again"
    elif identity.models and spec.api == "openai":
        to_do = f"set {spec.role}_model to {' or '.join(identity.models[:3])}"
    elif to_do.startswith("start it"):
        to_do = _how_to_start(spec)
    return problem(about, found, to_do)


def _how_to_start(spec: ServerSpec) -> str:
    url, is_local = httpx.URL(spec.url), local_port(spec.url) is not None
    where = "" if is_local else f" on {url.host}"
    wrong = f"or set {spec.role}_url to where it runs"
    if spec.api == "ollama":
        return f"start it{where} with `ollama serve` (or open the Ollama app), {wrong}"
    flags = f"--mllm --continuous-batching --enable-metrics{' --host 127.0.0.1' if is_local else ''}"
    return f"start it{where}, e.g. `vllm-mlx serve {spec.model} {flags} --port {url.port or 80}`, {wrong}"


def check_vllm_mlx(spec: ServerSpec, identity: ServerIdentity, process: ServerProcess | None) -> list[Check]:
    """Model type, continuous batching, and the version whose cache confused images."""
    health = identity.details.get("health", {})
    return [
        _check_model(identity.name, health),
        _check_batching(identity.name, _batches(health, process), max(spec.concurrency)),
        _check_version(identity, process),
    ]


def _check_model(name: str, health: dict) -> Check:
    about = f"{name}: model"
    if health.get("status") == "unhealthy" or health.get("residency_state") == "failed":
        return problem(about, "the model failed to load", "read why in the server's log, and start it again")
    if health.get("model_type") == "llm":
        found = "loaded as a text-only model: it drops every image and answers all the same"
        return problem(about, found, "start it with --mllm and a vision-language model")
    if not health.get("model_loaded", True):
        return problem(about, "the model is not loaded yet", "wait until it is, and check again")
    return ok(about, "calls itself a vision-language model; the pictures below test it")


def _batches(health: dict, process: ServerProcess | None) -> bool | None:
    """None: not known, e.g. while a model that is loaded on demand is not loaded."""
    known = {"batched": True, "simple": False}.get(health.get("engine_type"))
    if known is None and process and process.arguments:
        return "--continuous-batching" in process.arguments
    return known


def _check_batching(name: str, batching: bool | None, highest: int) -> Check:
    about = f"{name}: continuous batching"
    if batching:
        return ok(about, "on")
    if highest == 1:
        return ok(about, "off, as fits one request at a time" if batching is False else "not told")
    if batching is None:
        return warning(about, "not told", "make sure that it was started with --continuous-batching")
    found = f"off, but up to {highest} requests in flight are planned: all but one are refused at once"
    return problem(about, found, "start it with --continuous-batching")


def _check_version(identity: ServerIdentity, process: ServerProcess | None) -> Check:
    about = f"{identity.name}: version"
    version = identity.version or (process.vllm_mlx_version if process else None)
    if identity.simulated or version is None:
        return ok(
            about, "not told, nor found; the pictures below look for the fault of versions before 0.6.0"
        )
    if replays_nothing(version):
        return ok(about, f"vllm-mlx {version}")
    if "--disable-prefix-cache" in process.arguments:
        return ok(about, f"vllm-mlx {version}, its prefix cache off")
    found = f"vllm-mlx {version} with its prefix cache on: it may answer from another screenshot's state"
    return problem(about, found, "upgrade it to 0.6.0, or start it with --disable-prefix-cache")


def _check_mlx_vlm(spec: ServerSpec, identity: ServerIdentity) -> Check:
    batching = identity.details.get("health", {}).get("continuous_batching_enabled")
    return _check_batching(identity.name, batching, max(spec.concurrency))


def check_metrics(name: str, status: int | str) -> Check:
    """Can the server's own counters be read beside the requests?"""
    about = f"{name}: /metrics"
    if status == 200:
        return ok(about, "on")
    if status == 404:
        return warning(about, "off: fewer of the server's own counters can be read", "add --enable-metrics")
    return warning(about, f"not readable ({status})", "look into the server's log")


def check_ollama(spec: ServerSpec, identity: ServerIdentity, process: ServerProcess | None) -> list[Check]:
    """Vision or not, and how many requests it runs at once."""
    capabilities = identity.details.get("capabilities", [])
    checks = []
    if capabilities and "vision" not in capabilities:
        found = f"{identity.model} has no vision (it has: {', '.join(map(str, capabilities))})"
        to_do = "use a vision model, e.g. qwen3-vl:4b-instruct"
        checks.append(problem(f"{identity.name}: model", found, to_do))
    return [*checks, check_parallel(spec, identity, process)]


def check_parallel(spec: ServerSpec, identity: ServerIdentity, process: ServerProcess | None) -> Check:
    """A baseline that could run several requests at once must be measured so, or beating it means little."""
    about = f"{spec.name}: requests at once"
    family = str(identity.details.get("details", {}).get("family", "")).lower().replace("-", "")
    if family in ALWAYS_SEQUENTIAL:
        return ok(about, f"1: Ollama runs {family} models one by one, whatever OLLAMA_NUM_PARALLEL says")
    parallel, why = _read_parallel(process)
    levels = LEVELS[spec.role]
    if parallel is None:
        to_do = f"set OLLAMA_NUM_PARALLEL=4 where Ollama starts, and {levels} to 1 and 4"
        return warning(about, f"not told for {family or 'this'} models; it may run several", to_do)
    if parallel > max(spec.concurrency):
        to_do = f"add {parallel} to {levels}"
        return warning(about, f"{parallel} ({why}), but measured only up to {max(spec.concurrency)}", to_do)
    if parallel == 1 and spec.role == "baseline":
        to_do = f"set OLLAMA_NUM_PARALLEL=4 where Ollama starts, and {levels} to 1 and 4, for a fair baseline"
        return warning(about, f"{parallel} ({why}), though {family or 'these'} models can run several", to_do)
    return ok(about, f"{parallel} ({why})")


def _read_parallel(process: ServerProcess | None) -> tuple[int | None, str]:
    """From the model's own process, else from OLLAMA_NUM_PARALLEL, which means 1 where it is not set."""
    if process is None:
        return None, ""
    runners = {flag_value(arguments, "-np", "--parallel") for arguments in process.children} - {None}
    told = [int(value) for value in runners if value.isdigit()]
    if len(told) == 1:  # several models with different settings: whose is whose is not told
        return told[0], "the loaded model's process"
    if process.settings is None:
        return None, ""
    value = process.settings.get("OLLAMA_NUM_PARALLEL", "")
    if value.isdigit() and int(value) > 0:
        return int(value), "OLLAMA_NUM_PARALLEL"
    return (None, "") if value else (1, "OLLAMA_NUM_PARALLEL is not set, which means 1")


def check_baseline(specs: Sequence[ServerSpec]) -> list[Check]:
    """Without a baseline server, speed-ups rest on recorded figures."""
    if any(spec.role == "baseline" for spec in specs):
        return []
    to_do = "set baseline_url to measure one; until then speed-ups rest on recorded figures"
    return [warning("baseline", "no baseline server given", to_do)]

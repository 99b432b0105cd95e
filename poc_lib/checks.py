"""Can we measure here? Every line says what was found, what was expected, and what to do about it."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import psutil

from poc_lib import client
from poc_lib.client.stamp import LENGTH, draw_codes, judge_code, unit_of
from poc_lib.database import Selection, parse_window, read_database, read_past_speed, read_rows, select_frames
from poc_lib.host import read_host, read_versions
from poc_lib.images import LOOKS_DIFFERENT_BITS, look_distance
from poc_lib.measure.session import chat_settings, check_faults, database_of, demo_servers
from poc_lib.metrics.fairness import CURES, is_serial
from poc_lib.params import DEMO, Params
from poc_lib.records import Cell, Finding, Identity, Reply, Server, SetupProblem, State
from poc_lib.telemetry import snapshot_counters
from poc_lib.text import split_credentials

LOW_MEMORY, BUSY_SHARE = 0.1, 0.5  # of the memory left: a system swaps; load a core: something else runs
WITHIN_S = 1.5  # for all servers together, so that a wrong address is answered in under 3 s
MIN_IMAGE_TOKENS = 16  # an image's markers alone are a few
NARROWEST = LENGTH * unit_of(0)  # px, for a code
NO_REPLAY = "Use vllm-mlx 0.6.0, else `--disable-prefix-cache`; serve a model that sees images (--mllm)."


@dataclass(slots=True)
class Setup:
    """What was found here before a run."""

    params: Params
    host: dict
    versions: dict[str, str]
    findings: list[Finding] = field(default_factory=list)
    identities: list[Identity] = field(default_factory=list)
    selection: Selection | None = None  # None: no frame can be sent
    counts: dict[str, int] = field(default_factory=dict)
    past_speed: list[dict] = field(default_factory=list)  # newest first
    replies: list[Reply] = field(default_factory=list)  # to one frame of the recording, one a server


def read_state(setup: Setup) -> str:
    """READY, READY, with warnings, or NOT READY."""
    states = {finding.state for finding in setup.findings}
    return "NOT READY" if "problem" in states else f"READY{', with warnings' * ('warning' in states)}"


async def refuse_at_once(params: Params, found: Iterable[str] = ()) -> None:
    """Raise SetupProblem, within 3 s, with everything that would keep this run from measuring; no image is
    opened, the demo's servers are not asked, ``found`` is known already."""
    problems = list(found)

    def attempt(read: Callable, *arguments: object) -> Any:
        try:
            return read(*arguments)
        except SetupProblem as problem:
            problems.append(str(problem))

    def find_frames() -> None:
        read = partial(read_rows, folder=Path(), selection=params.recording)
        *_, named, to_do, rows = read_database(Path(params.database), read, WITHIN_S)
        if not rows:
            raise SetupProblem(f"{named} holds no frame: {to_do}")

    async def ask(server: Server) -> str | None:
        try:
            async with asyncio.timeout(WITHIN_S):
                return (await client.check_server(server, key)).problem
        except TimeoutError:
            where, to_do = split_credentials(server.url)[0], f"start it, or set {server.role}_url"
            return f"{server.name} did not answer at {where} within {WITHIN_S:g} s: {to_do}"

    attempt(check_faults, params)
    attempt(params.prompt_text)
    key = attempt(params.api_key)
    if params.proof_frames and 0 < params.image_width < NARROWEST:
        problems.append(f"image_width is {params.image_width}: set {NARROWEST} or more, or proof_frames to 0")
    if params.database == DEMO:
        attempt(parse_window, params.recording)
    asked = [ask(server) for server in params.server_list() if server.url != DEMO]
    asked += [asyncio.to_thread(attempt, find_frames)] if params.database != DEMO else []
    problems += filter(None, await asyncio.gather(*asked))
    if problems:
        raise SetupProblem("; ".join(problems))


async def check_setup(params: Params) -> Setup:
    """Look at machine, database and servers, and send each server that is fit four requests; whatever is
    wrong becomes a finding about "host", "database", "servers", "requests" or "proof"."""
    setup = Setup(params, read_host(), read_versions())
    try:
        path, images = database_of(params), params.outputs_path / "check-images"
        shutil.rmtree(images, ignore_errors=True)  # what an earlier check cut from a video
        setup.selection = select_frames(path, params.recording, params.n_frames, images)
        setup.counts, setup.past_speed = setup.selection.counts, read_past_speed(path)
    except SetupProblem as problem:
        setup.findings.append(tell("database", str(problem)))
    try:
        api_key = chat_settings(params).api_key
        with demo_servers(params) as servers:
            for server in servers:
                identity = await client.check_server(server, api_key)
                setup.identities.append(identity)
                counters = await snapshot_counters(server, api_key) if identity.reachable else {}
                setup.findings += judge_server(server, identity, counters)
                if setup.selection and not identity.problem:
                    setup.findings += await ask_server(setup, server, identity)
    except SetupProblem as problem:
        setup.findings.append(tell("servers", str(problem)))
    setup.findings += judge_setup(setup)
    return setup


def say(
    about: str, found: str, expected: str, to_do: str = "", state: State = "warning", server: str = ""
) -> Finding:
    """A finding in the words "found …, expected …"; where nothing is to be done about it, it is ok."""
    text = f"{f'{server}: f' if server else 'F'}ound {found}, expected {expected}"
    return Finding(about, state if to_do else "ok", text, to_do, server)


def tell(about: str, line: str, server: str = "") -> Finding:
    """The problem that a line "what was found: what to do" tells."""
    found, _, to_do = line.rpartition(": ")
    return Finding(about, "problem", found or to_do, to_do if found else "", server)


def server_problems(identities: Iterable[Identity]) -> list[Finding]:
    """What a server's own words and process tell against it; its problems belong into the verdict."""
    findings = []
    for identity in identities:
        lines = [identity.problem, client.replay_risk(identity)]
        is_text_only = (identity.details.get("health") or {}).get("model_type") == "llm"
        if is_text_only or "vision" not in (identity.details.get("capabilities") or ["vision"]):
            lines.append(f"{identity.model} is without vision: serve a vision-language model (--mllm)")
        findings += [tell("servers", line, identity.name) for line in lines if line]
    return findings


def judge_server(server: Server, identity: Identity, counters: dict) -> Iterator[Finding]:
    """Who answers, whether its model is there, whether it takes several requests, who else uses it."""
    yield from server_problems([identity])
    if identity.problem:
        return
    judge, highest = partial(say, "servers", server=server.name), max(server.concurrency)
    health = identity.details.get("health") or {}
    flags = identity.details.get("process", {}).get("flags", {})
    found = f"{identity.software or 'a server'} {identity.version or '(version not told)'}"
    yield judge("SIMULATED " * identity.simulated + found, f"one that serves {identity.model}")
    if health.get("status") == "unhealthy" or health.get("model_loaded") is False:
        yield judge("its model not loaded", "it loaded", "Wait, or read why in the server's log.", "problem")
    batches = {"batched": True, "simple": False}.get(health.get("engine_type"))
    batches = flags.get("continuous-batching", health.get("continuous_batching_enabled", batches))
    if server.api == "openai" and highest > 1 and not batches and (identity.software or batches is False):
        found, state = ("off", "problem") if batches is False else ("not told", "warning")
        yield judge(f"continuous batching {found}", "it on", "Start it with --continuous-batching.", state)
    limits = [highest, flags.get("max-num-seqs"), flags.get("completion-batch-size")]
    if (most := min(limit for limit in limits if type(limit) is int)) < highest:
        to_do = "Raise --max-num-seqs and --completion-batch-size: what is more only queues."
        yield judge(f"{most} requests at most in its batch", f"{highest} or more", to_do)
    if server.role == "baseline" and highest == 1 and not is_serial(asdict(identity)):
        to_do = "Set baseline_concurrency to [1, 4], for Ollama with OLLAMA_NUM_PARALLEL=4."
        yield judge("one request at a time planned", "as many as it takes", to_do)
    if n := int(counters.get("num_running", 0) + counters.get("num_waiting", 0)):
        yield judge(f"{n} requests of others", "none", "Stop whoever else uses it.")


async def ask_server(setup: Setup, server: Server, identity: Identity) -> list[Finding]:
    """What is to be said of a request, whose reply joins the set-up's, of the same one without its image, and
    of two unlike frames under one prompt, the cache emptied before."""
    params, settings, frames = setup.params, chat_settings(setup.params), setup.selection.frames
    first, second = frames[0], max(frames, key=lambda frame: look_distance(frame.look, frames[0].look))
    is_stamped = params.proof_frames and min(first.width, second.width) >= NARROWEST
    codes = draw_codes(2, str(time.time_ns())) if is_stamped else [None, None]
    calm = replace(settings, temperature=0.0)
    prepare = partial(client.prepare_request, server, request_id="", image_width=params.image_width)
    bare = prepare(first, replace(settings, max_tokens=8))
    body = orjson.loads(bare.body) | {"messages": [{"role": "user", "content": settings.prompt}]}
    requests = [prepare(first, settings), replace(bare, body=orjson.dumps(body))]
    requests += [prepare(first, calm, code=codes[0]), prepare(second, calm, code=codes[1])]
    cell, replies = Cell(server.name, server.role, 1, 0, "warmup"), []
    async with client.open_client(settings) as connection:
        for position, request in enumerate(requests):
            if position == 2:
                await client.clear_cache(server, settings.api_key)
            sending = client.Sending(cell, 0, 0, position, identity.simulated, time.perf_counter_ns(), 1)
            replies.append(await client.send_request(connection, request, sending))
            if replies[0].error_class:
                break
    setup.replies.append(replies[0])
    if replies[0].error_class:
        return list(judge_request(replies[0], settings.max_tokens))
    context = (await snapshot_counters(server, settings.api_key)).get("context_length", 0)
    unlike = look_distance(first.look, second.look) >= LOOKS_DIFFERENT_BITS
    reply, bare, *pair = replies
    return [*judge_request(reply, settings.max_tokens, bare, context), judge_pair(pair, unlike)]


def judge_request(reply: Reply, most: int, bare: Reply | None = None, context: int = 0) -> Iterator[Finding]:
    """Whether a request was answered whole, its image counted; ``bare``: without it; ``most``: max_tokens."""
    judge = partial(say, "requests", server=reply.server)
    if kind := reply.error_class:
        to_do = CURES.get(kind, "Read the server's log.")
        yield judge(f"{kind} ({reply.error_message})", "an answer", to_do, "problem")
        return
    n_prompt, n_output = reply.prompt_tokens or 0, reply.output_tokens or 0
    yield judge(f"a first token in {reply.ttft_s:.2f} s, all in {reply.total_s:.2f} s", "an answer")
    n_image = n_prompt - bare.prompt_tokens if bare and bare.prompt_tokens and n_prompt else None
    is_counted = n_output and n_prompt and (n_image is None or n_image >= MIN_IMAGE_TOKENS)
    of_image = "" if n_image is None else f" ({n_image} of the image)"
    found = f"{n_prompt} prompt tokens{of_image}, {n_output} output tokens"
    to_do = "Rest on frames/s: rates of tokens leave out what this server does not count."
    yield judge(found, "both counted", "" if is_counted else to_do)
    if reply.reasoning_chars or "</think>" in reply.text:
        to_do = "Use an instruct model, or compare frames/s: thinking takes time and tokens."
        yield judge("thinking before the answer", "none", to_do)
    if reply.finish_reason == "length" or n_output >= most:
        yield judge(f"an answer cut at {most} tokens", "a whole one", "Raise max_tokens.")
    if 0 < context < n_prompt + most:
        to_do = "Set max_tokens lower, or OLLAMA_CONTEXT_LENGTH higher."
        yield judge(f"a context of {context} tokens", f"{n_prompt + most}", to_do)


def judge_pair(pair: Sequence[Reply], unlike: bool) -> Finding:
    """Whether two answers under one prompt are about their own images; ``unlike``: they look different."""
    judge, codes = partial(say, "proof", server=pair[0].server), [reply.code for reply in pair]
    read = [judge_code(reply.text, reply.code, codes).whose for reply in pair] if codes[0] else []
    if failed := [f"{reply.error_class} ({reply.error_message})" for reply in pair if reply.error_class]:
        return judge(failed[0], "two answers", "Read the server's log.")
    if "other" in read:
        return judge("an answer with the other image's code", "each with its own", NO_REPLAY, "problem")
    if unlike and len({reply.text.strip() for reply in pair}) == 1:
        return judge("one answer to two images", "each about its own", NO_REPLAY, "problem")
    if (n := read.count("own")) == len(read):
        return judge("both codes read" if read else "two answers", "each image in its own answer")
    to_do = "Use a model that reads them: else no answer can be proven to be about its own image."
    return judge(f"{n} of 2 codes read", "both", to_do)


def judge_setup(setup: Setup) -> Iterator[Finding]:
    """The frames: enough, described, wide enough for a code; power, load and memory; a baseline."""
    params, host, chosen = setup.params, setup.host, setup.selection
    if chosen:
        n, least = len(chosen.frames), params.frames_per_block
        found = f"{n} of {chosen.counts['frames']} frames usable in {chosen.recording}"
        to_do = "Choose a longer recording: frames that come again make the interval too narrow."
        yield say("database", found, f"at least the {least} of a block", to_do if n < least else "")
        if not any(frame.reference for frame in chosen.frames):
            to_do = "Let Escribano process a recording; until then answers are held against the baseline's."
            yield say("database", "no stored description", "one a frame", to_do)
        narrowest = min([params.image_width or NARROWEST, *(frame.width for frame in chosen.frames)])
        if params.proof_frames and narrowest < NARROWEST:
            found, to_do = f"frames {narrowest} px wide", "Set image_width higher, or proof_frames to 0."
            yield say("proof", found, f"{NARROWEST} px for a code", to_do, "problem")
    power = {True: "on battery", False: "on mains", None: "no battery"}[host["on_battery"]]
    load, most = host["load_1min"], BUSY_SHARE * host["cores"]
    left_gb, least_gb = psutil.virtual_memory().available / 2**30, LOW_MEMORY * host["memory_gb"]
    left = f"{left_gb:.1f} GB of memory left beside the models"
    for is_bad, found, expected, to_do in (
        (host["on_battery"], power, "mains", "Plug the machine in: on battery a chip may be slower."),
        (load > most, f"a load of {load}", f"{most:g} at most", "Quit what else is running, and wait."),
        (left_gb < least_gb, left, f"at least {least_gb:.1f} GB", "Quit programs, or take smaller models."),
    ):
        yield say("host", found, expected, to_do if is_bad else "")
    if all(server.role == "candidate" for server in params.server_list()):
        found = f"no baseline server ({params.recorded_s_per_frame:g} s a frame is recorded)"
        to_do = "Set baseline_url; until then set recorded_s_per_frame to what the app noted."
        yield say("servers", found, "one beside the candidate", to_do)

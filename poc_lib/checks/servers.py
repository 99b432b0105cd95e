"""What a server says of itself, and how it answers a few requests: which of it would spoil a measurement."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial

import orjson

from poc_lib.client import ChatSettings, Sending, open_client, prepare_request, send_request
from poc_lib.client.identity import clear_cache, replay_risk
from poc_lib.client.stamp import LENGTH, draw_codes, judge_code, unit_of
from poc_lib.images import LOOKS_DIFFERENT_BITS, look_distance
from poc_lib.metrics.fairness import CURES, serial_because
from poc_lib.params import Params
from poc_lib.records import Cell, Finding, Frame, Identity, Reply, Server, State
from poc_lib.telemetry import snapshot_counters

HIGH_MAX_TOKENS = 4096  # one runaway answer holds vllm-mlx's whole wave
MIN_IMAGE_TOKENS = 16  # an image's markers alone are a few
NARROWEST = LENGTH * unit_of(0)  # px, for a code
NO_REPLAY = "Use vllm-mlx 0.6.0, else `--disable-prefix-cache`; serve a model that sees images (--mllm)."


def expect(about: str, state: State, found: str, expected: str, to_do: str = "", server: str = "") -> Finding:
    """A finding in the words "found …, expected …"; what to do only where something is wrong."""
    text = f"{f'{server}: f' if server else 'F'}ound {found}, expected {expected}"
    return Finding(about, state, text, "" if state == "ok" else to_do, server)


def told(about: str, line: str, server: str = "") -> Finding:
    """The problem that a line "what was found: what to do" tells."""
    found, _, to_do = line.rpartition(": ")
    return Finding(about, "problem", found or to_do, to_do if found else "", server)


def server_problems(identities: Iterable[Identity]) -> list[Finding]:
    """What a server's own words and process tell against it; its problems belong into the verdict."""
    findings = []
    for identity in identities:
        lines = identity.problem, replay_risk(identity)
        findings += [told("servers", line, identity.name) for line in lines if line]
        is_text_only = (identity.details.get("health") or {}).get("model_type") == "llm"
        if is_text_only or "vision" not in (identity.details.get("capabilities") or ["vision"]):
            found, to_do = f"{identity.model} without vision", "Serve a vision-language model (--mllm)."
            findings.append(expect("servers", "problem", found, "a model that sees", to_do, identity.name))
    return findings


def judge_server(server: Server, identity: Identity, counters: dict) -> Iterator[Finding]:
    """Who answers, whether its model is there, whether it takes several requests, who else uses it."""
    yield from server_problems([identity])
    if identity.problem:
        return
    say, highest = partial(expect, "servers", server=server.name), max(server.concurrency)
    health = identity.details.get("health") or {}
    flags = identity.details.get("process", {}).get("flags", {})
    found = f"{identity.software or 'a server'} {identity.version or '(version not told)'}"
    yield say("ok", "SIMULATED " * identity.simulated + found, f"one that serves {identity.model}")
    if health.get("status") == "unhealthy" or health.get("model_loaded") is False:
        to_do = "Wait until it is loaded; if it failed, the server's log says why."
        yield say("problem", "its model not loaded", "it loaded", to_do)
    batches = {"batched": True, "simple": False}.get(health.get("engine_type"))
    batches = flags.get("continuous-batching", health.get("continuous_batching_enabled", batches))
    if server.api == "openai" and highest > 1 and not batches and (identity.software or batches is False):
        state, found = ("problem", "off") if batches is False else ("warning", "not told")
        to_do = "Start it with --continuous-batching: else all but one request are refused at once."
        yield say(state, f"continuous batching {found}", "it on", to_do)
    sizes = [flags.get(name) for name in ("max-num-seqs", "completion-batch-size")]
    if any(type(size) is int and size < highest for size in sizes):
        to_do = f"Set --max-num-seqs and --completion-batch-size to {highest}: what is more only queues."
        yield say("warning", f"batch sizes {sizes}", f"{highest} or more", to_do)
    if server.role == "baseline" and highest == 1 and not serial_because(asdict(identity)):
        to_do = "Set baseline_concurrency to [1, 4], for Ollama with OLLAMA_NUM_PARALLEL=4."
        yield say("warning", "one request at a time planned", "as many as it takes", to_do)
    if n := int(counters.get("num_running", 0) + counters.get("num_waiting", 0)):
        yield say("warning", f"{n} requests of others", "none", "Stop whoever else uses it, and check again.")


async def ask_server(
    server: Server, identity: Identity, frames: Sequence[Frame], params: Params, settings: ChatSettings
) -> tuple[Reply, list[Finding]]:
    """Send a timed request, the same without image and, its cache emptied, two unlike frames with one prompt.

    Returns the timed reply and what is to be said of all. Raises SetupProblem where an image cannot be read.
    """
    first = frames[0]
    second = max(frames, key=lambda frame: look_distance(frame.look, first.look))
    is_stamped = params.proof_frames and min(first.width, second.width) >= NARROWEST
    codes = draw_codes(2, str(time.time_ns())) if is_stamped else [None, None]
    brief, calm = replace(settings, max_tokens=8), replace(settings, temperature=0.0)
    todo = [(first, settings, None), (first, brief, None), (first, calm, codes[0]), (second, calm, codes[1])]
    prepare = partial(prepare_request, server, request_id="", image_width=params.image_width)
    prepared = [await asyncio.to_thread(prepare, frame, how, code=code) for frame, how, code in todo]
    (message,) = (body := orjson.loads(prepared[1].body))["messages"]
    message.pop("images", None)  # Ollama's; the others' content is a list: text, image
    message["content"] = message["content"] if server.api == "ollama" else message["content"][:1]
    prepared[1] = replace(prepared[1], body=orjson.dumps(body))
    cell, replies = Cell(server.name, server.role, 1, 0, "warmup"), []
    async with open_client(settings) as client:
        for position, request in enumerate(prepared):
            if position == 2:
                await clear_cache(server, settings.api_key)
            sending = Sending(cell, 0, 0, position, identity.simulated, time.perf_counter_ns(), 1)
            replies.append(await send_request(client, request, sending))
            if replies[0].error_class:
                return replies[0], list(judge_request(replies[0], None, params.max_tokens, None))
    context = (await snapshot_counters(server, settings.api_key)).get("context_length")
    unlike = look_distance(first.look, second.look) >= LOOKS_DIFFERENT_BITS
    found = [*judge_request(*replies[:2], params.max_tokens, context), *judge_pair(replies[2:], unlike)]
    return replies[0], found


def judge_request(reply: Reply, bare: Reply | None, most: int, context: float | None) -> Iterator[Finding]:
    """Whether a request was answered whole, its image counted; ``bare``: without it; ``most``: max_tokens."""
    say = partial(expect, "requests", server=reply.server)
    n_prompt, n_output = reply.prompt_tokens or 0, reply.output_tokens or 0
    if kind := reply.error_class:
        to_do = CURES.get(kind, "Read the server's log.")
        yield say("problem", f"{kind} ({reply.error_message})", "an answer", to_do)
        return
    yield say(
        "ok", f"an answer in {reply.total_s:.2f} s, a first token in {reply.ttft_s:.2f} s", "a whole one"
    )
    n_image = n_prompt - bare.prompt_tokens if bare and bare.prompt_tokens and n_prompt else None
    is_counted = n_output and n_prompt and (n_image is None or n_image >= MIN_IMAGE_TOKENS)
    found = f"{n_prompt} prompt tokens" + ("" if n_image is None else f" ({n_image} of the image)")
    to_do = "Rest on frames/s: rates of tokens leave out what this server does not count."
    yield say("ok" if is_counted else "warning", f"{found}, {n_output} output tokens", "both counted", to_do)
    if reply.finish_reason == "length" or n_output >= most:
        to_do = "Raise max_tokens, unless that answer repeats itself."
        yield say("warning", f"an answer cut at {most} tokens", "a whole one", to_do)
    if context and n_prompt + most > context:
        to_do = "Set max_tokens lower, or OLLAMA_CONTEXT_LENGTH higher."
        yield say("warning", f"a context of {context:.0f} tokens", f"{n_prompt + most}", to_do)
    if most > HIGH_MAX_TOKENS:
        to_do = "Set it to 1024 or 2048: one runaway answer holds up all others in flight."
        yield say("warning", f"max_tokens {most}", f"{HIGH_MAX_TOKENS} at most", to_do)


def judge_pair(pair: Sequence[Reply], unlike: bool) -> Iterator[Finding]:
    """Whether two answers under one prompt are about their own images; ``unlike``: they look different."""
    say, codes = partial(expect, "proof", server=pair[0].server), [reply.code for reply in pair]
    read = [judge_code(reply.text, reply.code, codes).whose for reply in pair] if codes[0] else []
    if failed := [f"{reply.error_class} ({reply.error_message})" for reply in pair if reply.error_class]:
        yield say("warning", failed[0], "two answers", "Read the server's log.")
    elif "other" in read:
        yield say("problem", "an answer with the other image's code", "each with its own", NO_REPLAY)
    elif unlike and len({reply.text.strip() for reply in pair}) == 1:
        yield say("problem", "one answer to two images", "each about its own", NO_REPLAY)
    elif read.count("own") == len(read):
        yield say("ok", "both codes read" if read else "two answers", "each image in its own answer")
    else:
        to_do = "Use a model that reads them: else no answer can be proven to be about its own image."
        yield say("warning", f"{read.count('own')} of 2 codes read", "both", to_do)

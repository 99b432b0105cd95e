"""Ask a server who it is before it is measured, and look at its process where it runs on this machine."""

import asyncio
import re
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import psutil

from poc_lib.client.chat import expect
from poc_lib.client.transport import ExactTransport, Exchange, fetch
from poc_lib.records import Identity, Server
from poc_lib.text import authorize, mask, one_line, secrets_of, split_credentials

ASK_S = 30.0  # for all questions together; vllm-mlx answers nothing while it reads images
CONNECT_S = 2.5
FLAG = re.compile(r"--(?![a-z-]*(?:key|token|secret|pass))([a-z][a-z-]+)(?:=(.*))?")
QUANTISATION = re.compile(
    r"(?<![a-z0-9])(?:\d\d?(?:\.\d)?[ _-]?bits?|[it]?q\d(?:_[a-z0-9]+)*|(?:mx|nv)?fp\d\d?|nf4|bf(?:loat)?16"
    r"|f(?:loat)?(?:16|32)|u?int\d|w\d+a\d+|[ad]wq|[dg]ptq|hqq|bnb)(?![a-z0-9])",
    re.IGNORECASE,
)


async def check_server(server: Server, api_key: str | None = None) -> Identity:
    """Ask for models, health and version, within 30 s in all; never raises for a server that is down or odd.

    The problem then says in one line what was found and, after a colon, what to do.
    """
    url, told = split_credentials(server.url)[0], {"reachable": False}
    root = url.rstrip("/").removesuffix("/v1")
    questions = [("GET", f"{url.rstrip('/')}/models", None), ("GET", f"{root}/health", None)]
    if server.api == "ollama":
        questions = [("GET", f"{root}/api/{name}", None) for name in ("tags", "version")]
        questions.append(("POST", f"{root}/api/show", {"model": server.model}))
    try:
        is_address = httpx.URL(url).scheme in ("http", "https") and httpx.URL(url).host
    except httpx.InvalidURL:
        is_address = False
    if is_address:
        exchange, answers = await _ask(server, api_key, questions)
        told["reachable"] = exchange.status is not None
        told |= read_identity(server, exchange, answers)
    else:
        url = one_line(url.rpartition("@")[2])
        told["problem"] = f"{server.name} has the URL '{url}': set {server.role}_url, e.g. http://host:port"
    if told["reachable"] and (process := await asyncio.to_thread(find_listener, url)):
        flags, version = await asyncio.to_thread(look_at, process, told.get("software"))
        told["details"] = told.get("details", {}) | {"process": {"flags": flags}}
        told["version"] = told.get("version") or version
    return Identity(server.name, server.role, url, server.api, model=server.model, **told)


async def clear_cache(server: Server, api_key: str | None = None) -> bool:
    """Ask the server to drop its caches (vllm-mlx: DELETE /v1/cache); False where it cannot."""
    url = f"{split_credentials(server.url)[0].rstrip('/')}/cache"
    return server.api == "openai" and (await _ask(server, api_key, [("DELETE", url, None)]))[0].status == 200


async def _ask(server: Server, api_key: str | None, questions: list[tuple]) -> tuple[Exchange, list[dict]]:
    """Send (method, URL, JSON) one by one: the first exchange, and the JSON objects told, {} for another."""
    first, answers, (_, headers) = None, [{} for _ in questions], authorize(server.url, api_key)
    until_s = time.monotonic() + ASK_S
    async with httpx.AsyncClient(transport=ExactTransport(), trust_env=False, headers=headers) as client:
        for place, (method, url, json) in enumerate(questions):
            limits = {"deadline_s": max(0.1, until_s - time.monotonic()), "timeout": {"connect": CONNECT_S}}
            exchange = await fetch(client, client.build_request(method, url, json=json, extensions=limits))
            first = first or exchange
            if exchange.status == 200:
                text = mask(exchange.body.decode("utf-8", "replace"), secrets_of(headers))
                with suppress(ValueError):
                    answers[place] = expect(dict, orjson.loads(text))
            elif exchange.status is None:
                break
    return first, answers


def read_identity(server: Server, exchange: Exchange, answers: list[dict]) -> dict:
    """What an API's answers tell, as fields of Identity; the first is the list of models."""
    is_ollama, (listing, told, *show) = server.api == "ollama", answers
    key, name = ("models", "name") if is_ollama else ("data", "id")
    try:
        served = {expect(str, expect(dict, entry).get(name)): entry for entry in expect(list, listing[key])}
    except (KeyError, ValueError):
        return {"problem": unfit_line(server, exchange)}
    entry = served.get(server.model) or served.get(f"{server.model}:latest")  # Ollama's word for no tag
    mlx_vlm = re.match(r"mlx_vlm/(.+)", exchange.headers.get("server", ""))
    version, details = mlx_vlm[1] if mlx_vlm else told.get("version"), {"health": told}
    software = "mlx-vlm" if mlx_vlm else "vllm-mlx" if "engine_type" in told else None
    if is_ollama:
        software, details = "ollama", {name: (entry or {}).get(name) for name in ("digest", "details")}
        details["capabilities"] = show[0].get("capabilities")
    found = {"software": software, "models": tuple(served), "details": details}
    if isinstance(version, str):
        found["version"] = one_line(version, 60)
    if entry is None:
        to_do = f"run `ollama pull {server.model}`" if is_ollama else f"correct {server.role}_model"
        shown = one_line(", ".join(served)) or "none"
        found["problem"] = f"{server.name} serves no model '{server.model}', but {shown}: {to_do}"
    return found | {"simulated": told.get("simulated") is True or "simulated" in str(version)}


def unfit_line(server: Server, exchange: Exchange) -> str:
    """What a server did that gave no list of models, and what to do."""
    status, why, name = exchange.status or 0, exchange.error_message, f"{server.role}_url"
    url = split_credentials(server.url)[0]
    found = f"answered HTTP {status} at {url}, but with no list of models"
    to_do = f"check {name} (Ollama's is its root, any other's ends in /v1) and {server.role}_api"
    if why:
        found = f"does not answer at {url} ({one_line(why.replace(': ', ', '), 200)})"
        start = f"vllm-mlx serve {server.model} --mllm --continuous-batching --host 127.0.0.1"
        start = "ollama serve" if server.api == "ollama" else start
        to_do = f"start it, e.g. `{start}`, or check {name}"
    if "certificate" in (why or ""):
        to_do = f"name who signed its certificate in SSL_CERT_FILE, or check {name}"
    elif status >= 500 or exchange.error_class == "timeout":
        to_do = "wait until it has loaded its model, or stop whoever else uses it"
    elif status in (401, 403):
        to_do = "put its API key into the environment variable POC_API_KEY"
    elif target := exchange.headers.get("location"):
        to_do = f"set {name} to where it leads, {one_line(split_credentials(target)[0], 200)}"
    return f"{server.name} {found}: {to_do}"


def find_listener(url: str) -> psutil.Process | None:
    """The process that listens at a local URL; None for another machine, or where looking is not allowed."""
    parsed = httpx.URL(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    is_here = parsed.host in ("localhost", "127.0.0.1", "::1", "0.0.0.0")
    for process in psutil.process_iter() if is_here else ():
        with suppress(psutil.Error):  # all sockets at once are shown to root only on macOS
            for socket in process.net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port:
                    return process
    return None


def look_at(process: psutil.Process, software: str | None) -> tuple[dict, str | None]:
    """A process's flags, and the version of the software in its environment, as far as this user may see."""
    seen, flags = {}, {}
    with suppress(psutil.Error):
        seen = process.as_dict(["cmdline", "exe", "cwd", "environ"])
    words = seen.get("cmdline") or []
    # A framework build of Python on macOS shows its own path, not that of its environment.
    launcher = (seen.get("environ") or {}).get("__PYVENV_LAUNCHER__", "")
    for word, after in pairwise([*words, ""]):
        if flag := FLAG.fullmatch(word):
            value = flag[2] or after  # only numbers are kept: others are paths and keys
            flags[flag[1]] = int(value) if value.isdecimal() else True
    named = (*words[:2], seen.get("exe") or "", launcher)
    programs = [Path(seen.get("cwd") or "/", word) for word in named]
    folders = [path.parent.parent for program in programs for path in (program, program.resolve())]
    pattern = f"lib/python3*/site-packages/{str(software).replace('-', '_')}-*.dist-info"
    versions = [found.stem.partition("-")[2] for folder in folders for found in folder.glob(pattern)]
    return flags, versions[0] if versions else None


def quantisation(text: str) -> str | None:
    """The quantisation in a model's name, as it is written there: "4bit", "Q4_K_M", "AWQ"; None: not told."""
    found = QUANTISATION.search(text)
    return found[0] if found else None


def replay_risk(identity: Identity) -> str | None:
    """What is known against this server's version: answers from another image's state; None: nothing."""
    flags, version = identity.details.get("process", {}).get("flags", {}), identity.version or ""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    is_mlx = identity.software == "vllm-mlx" and not identity.simulated
    if not (is_mlx and numbers and numbers < [0, 6]) or "disable-prefix-cache" in flags:
        return None
    found = "with its prefix cache on answers from another image's state where the prompt is the same"
    return f"vllm-mlx {version} {found}: start it with `--disable-prefix-cache`, or upgrade it to 0.6.0"

"""Ask a server who it is before it is measured, and look at its process where it runs on this machine."""

import asyncio
import ipaddress
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import psutil

from poc_lib.client.apis import expect
from poc_lib.client.transport import ExactTransport, Exchange, fetch
from poc_lib.records import Identity, Server
from poc_lib.text import authorize, mask, one_line, secrets_of, split_credentials

ASK_S = 30.0  # for all questions together; vllm-mlx answers nothing while it reads images
CONNECT_S = 2.5
PACKAGES = ("vllm-mlx", "mlx-vlm", "mlx-lm", "vllm", "sglang")
FLAG = re.compile(r"--(?![a-z-]*(?:key|token|secret|pass))([a-z][a-z-]+)(?:=(.*))?")
QUANTISATION = re.compile(
    r"(?<![a-z0-9])(?:\d\d?(?:\.\d)?[ _-]?bits?|[it]?q\d(?:_[a-z0-9]+)*|(?:mx|nv)?fp\d\d?|nf4|bf(?:loat)?16"
    r"|f(?:loat)?(?:16|32)|u?int\d|w\d+a\d+|[ad]wq|[dg]ptq|hqq|bnb)(?![a-z0-9])",
    re.IGNORECASE,
)


async def check_server(server: Server, api_key: str | None = None) -> Identity:
    """Ask for health, models and version, within 30 s in all; never raises for a server that is down or odd.

    The problem then says in one line what was found and expected and, after a colon, what to do. Of a local
    server ``details["process"]`` holds pid, started, flags and Ollama's settings; its package's version
    counts where the server tells none.
    """
    url, is_ollama = split_credentials(server.url)[0], server.api == "ollama"
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 1) not in range(65536):
        url = one_line(url.rpartition("@")[2])
        problem = f"{server.name} has the URL '{url}': expected http://host:port, see {server.role}_url"
        return Identity(server.name, server.role, url, server.api, False, model=server.model, problem=problem)
    base = url.rstrip("/")
    root = base.removesuffix("/v1")
    questions = [("GET", f"{base}/models", None), ("GET", f"{root}/health", None)]
    if is_ollama:
        questions = [("GET", f"{root}/api/{name}", None) for name in ("version", "tags")]
        questions.append(("POST", f"{root}/api/show", {"model": server.model}))
    answers, told = await _ask(server, api_key, *questions), {"reachable": True}
    for (_, asked, _), (exchange, _) in zip(questions[:-1], answers, strict=False):  # the last is optional
        if exchange.status != 200 or exchange.error_class:
            problem = _unfit_line(server, asked, exchange)
            told = {"reachable": exchange.status is not None, "problem": problem}
            break
    else:
        try:
            told |= read_identity(server, answers)
        except ValueError:  # not JSON, or JSON of another shape
            expected = "Ollama's native API" if is_ollama else "the OpenAI-compatible API"
            to_do = f"check {server.role}_url, another program may listen there, and {server.role}_api"
            told["problem"] = f"{server.name} answers at {url}, but not with {expected}: {to_do}"
    if told["reachable"] and (process := await asyncio.to_thread(find_listener, url)):
        facts, package, version = await asyncio.to_thread(look_at, process, told.get("software"))
        told |= {"software": package, "version": told.get("version") or version}
        told["details"] = told.get("details", {}) | {"process": facts}
    return Identity(server.name, server.role, url, server.api, model=server.model, **told)


async def clear_cache(server: Server, api_key: str | None = None) -> bool:
    """Ask the server to drop its caches (vllm-mlx: DELETE /v1/cache); False where it cannot."""
    if server.api != "openai":
        return False
    url = f"{split_credentials(server.url)[0].rstrip('/')}/cache"
    [(exchange, _)] = await _ask(server, api_key, ("DELETE", url, None))
    return exchange.status == 200


async def _ask(server: Server, api_key: str | None, *questions: tuple[str, str, object]) -> list[tuple]:
    """Send (method, URL, JSON) one by one; of each the exchange, and its JSON or None. Silence ends it."""
    until_s, (_, headers), answers = time.monotonic() + ASK_S, authorize(server.url, api_key), []
    async with httpx.AsyncClient(transport=ExactTransport(), trust_env=False, headers=headers) as client:
        for method, url, json in questions:
            left_s, told = max(0.1, until_s - time.monotonic()), None
            timeout = httpx.Timeout(left_s, connect=min(left_s, CONNECT_S))
            limits = {"deadline_s": left_s}
            request = client.build_request(method, url, json=json, timeout=timeout, extensions=limits)
            exchange = await fetch(client, request)
            if exchange.status == 200 and not exchange.error_class:
                with suppress(ValueError):
                    told = orjson.loads(mask(exchange.body.decode("utf-8", "replace"), secrets_of(headers)))
            answers.append((exchange, told))
            if exchange.status is None:
                break
    return answers


def _unfit_line(server: Server, url: str, exchange: Exchange) -> str:
    status, kind, name = exchange.status or 0, exchange.error_class, f"{server.role}_url"
    answered = f"answered HTTP {status} at {url}"
    why = one_line((exchange.error_message or "").replace(": ", ", "), 200)
    target = one_line(split_credentials(exchange.headers.get("location", "nowhere"))[0], 200)
    start = f"vllm-mlx serve {server.model} --mllm --continuous-batching --host 127.0.0.1"
    other = "such a server's URL usually ends in /v1"
    if server.api == "ollama":
        start, other = "ollama serve", "this is not Ollama, check the URL"
    wait = "wait until it has loaded its model, or stop whoever else uses it"
    cases = (
        (status in (401, 403), answered, "put its API key into the environment variable POC_API_KEY"),
        (300 <= status < 400, f"redirects {url} to {target}", f"set {name} to where it leads"),
        (status >= 500, answered, wait),
        (status not in (0, 200), answered, other),
        (status == 200, f"did not end its answer at {url} ({why})", f"check {name}, is it the server?"),
        (kind == "timeout", f"takes connections at {url} but does not answer ({why})", wait),
        ("certificate" in why, f"cannot be trusted ({why})", "name who signed it in SSL_CERT_FILE"),
        ("SSL" in why or kind == "malformed", f"is not understood ({why})", f"check {name}: http or https?"),
        (True, f"does not answer at {url} ({why})", f"start it, e.g. `{start}`"),
    )
    return next(f"{server.name} {found}: {to_do}" for holds, found, to_do in cases if holds)


def read_identity(server: Server, answers: list[tuple]) -> dict:
    """What the answers to an API's questions tell, as fields of Identity; ValueError: it is another API."""
    (exchange, first), (_, second) = answers[:2]
    listing, key, name = (first, "data", "id") if server.api == "openai" else (second, "models", "name")
    if not isinstance(listing, dict) or key not in listing:  # null is Go's empty list, absence is no list
        raise ValueError(f"no list '{key}'")
    entries = [expect(dict, entry) for entry in expect(list, listing[key])]
    models = tuple(entry.get(name) for entry in entries)
    if not all(isinstance(model, str) for model in models):
        raise ValueError(f"an entry without '{name}'")
    served = dict(zip(models, entries, strict=True))
    entry = served.get(server.model) or served.get(f"{server.model}:latest")  # Ollama's word for no tag
    if server.api == "ollama":
        software, version, show = "ollama", expect(dict, first).get("version"), answers[2][1]
        simulated = "simulated" in str(version)
        details = {name: (entry or {}).get(name) for name in ("digest", "details")}
        details["capabilities"] = show.get("capabilities") if isinstance(show, dict) else None
    else:
        header, health = exchange.headers.get("server", ""), second if isinstance(second, dict) else {}
        is_mlx_vlm = header.startswith("mlx_vlm/")
        software = "mlx-vlm" if is_mlx_vlm or "continuous_batching_enabled" in health else None
        software = "vllm-mlx" if "engine_type" in health else software
        version = header.removeprefix("mlx_vlm/") if is_mlx_vlm else health.get("version")
        simulated, details = health.get("simulated") is True, {"health": health}
    problem = None
    if entry is None:
        to_do = f"set {server.role}_model to a served name"
        to_do = f"run `ollama pull {server.model}`" if server.api == "ollama" else to_do
        shown = one_line(", ".join(models)) or "none"
        problem = f"{server.name} serves no model '{server.model}', but {shown}: {to_do}"
    version = one_line(version, 60) if isinstance(version, str) else None
    found = {"software": software, "version": version, "models": models, "details": details}
    return found | {"simulated": simulated, "problem": problem}


def find_listener(url: str) -> psutil.Process | None:
    """The process that listens at a local URL; None for another machine, or where looking is not allowed."""
    parsed = httpx.URL(url)
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    try:
        address = ipaddress.ip_address("::1" if parsed.host == "localhost" else parsed.host)
    except ValueError:  # a name
        return None
    for process in psutil.process_iter() if address.is_loopback or address.is_unspecified else ():
        with suppress(psutil.Error):  # all sockets at once are shown to root only on macOS
            for socket in process.net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port:
                    return process
    return None


def look_at(process: psutil.Process, software: str | None) -> tuple[dict, str | None, str | None]:
    """What this user may see of a process, its software and its version; each fact is denied on its own."""
    told, words_below = {"cmdline": None, "environ": None, "exe": None, "cwd": None, "create_time": None}, []
    with suppress(psutil.Error):
        told = process.as_dict(list(told))
        words_below = [word for child in process.children() for word in child.cmdline()]
    words, environment, started = told["cmdline"] or [], told["environ"] or {}, told["create_time"]
    command = " ".join(words[:4]).replace("_", "-")
    package = software or next((name for name in PACKAGES if name in command), "")
    # A framework build of Python on macOS shows its own path, not the environment's.
    named = [*words[:2], environment.get("__PYVENV_LAUNCHER__", ""), told["exe"] or ""]
    programs = [os.path.join(told["cwd"] or "/", name) for name in named if "/" in name]
    folders = [Path(path).parent.parent for path in (*programs, *map(os.path.realpath, programs))]
    sites = [str(site) for folder in folders for site in folder.glob("lib/python3*/site-packages")]
    packages = metadata.distributions(name=package, path=sites) if package else ()
    flags = {}  # of a value only numbers are kept: others are paths and keys
    for word, after in pairwise([*words, *words_below, ""]):
        if flag := FLAG.fullmatch(word):
            value = flag[2] or after
            flags[flag[1]] = int(value) if value.isdecimal() else True
    facts = {
        "pid": process.pid,
        "started": started and datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "flags": flags,
        # Keys and tokens in its environment are not ours to keep.
        "settings": {name: value for name, value in environment.items() if name.startswith("OLLAMA_")},
    }
    version = next((found.version for found in packages), None)
    return facts, package if version else software, version


def quantisation(text: str) -> str | None:
    """The quantisation in a model's name, as it is written there: "4bit", "Q4_K_M", "AWQ"; None: not told."""
    found = QUANTISATION.search(text)
    return found[0] if found else None


def replay_risk(identity: Identity) -> str | None:
    """What is known against this server's version: answers from another image's state; None: nothing."""
    flags = identity.details.get("process", {}).get("flags", {})
    numbers = [int(number) for number in re.findall(r"\d+", identity.version or "")]
    is_old = identity.software == "vllm-mlx" and not identity.simulated and numbers and numbers < [0, 6]
    if not is_old or "disable-prefix-cache" in flags:
        return None
    return (
        f"vllm-mlx {identity.version} with its prefix cache on answers from another image's state where the "
        "prompt is the same (issues 718, 768): start it with `--disable-prefix-cache`, or upgrade it to 0.6.0"
    )

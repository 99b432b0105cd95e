"""Ask a server who it is before it is measured, and look at its process where it runs on this machine."""

import asyncio
import ipaddress
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext, suppress
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import psutil

from poc_lib.client.answer import expect
from poc_lib.client.transport import ExactTransport, Exchange, fetch
from poc_lib.records import Identity, Server
from poc_lib.text import authorize, mask, one_line, secrets_of, split_credentials

ASK_S = 30.0  # for all questions together; vllm-mlx answers nothing while it reads images
CONNECT_S = 2.5
MAX_BYTES = 4_000_000
SHOWN = 8  # models in a message
PACKAGES = ("vllm-mlx", "mlx-vlm", "mlx-lm", "vllm", "sglang")
FLAG = re.compile(r"--([a-z][a-z-]+)(?:=(.*))?")
SECRET = re.compile(r"key|token|secret|pass")
QUANTISATION = re.compile(
    r"(?<![a-z0-9])(?:\d\d?(?:\.\d)?[ _-]?bits?|[it]?q\d(?:_[a-z0-9]+)*|(?:mx|nv)?fp\d\d?|nf4|bf(?:loat)?16"
    r"|f(?:loat)?(?:16|32)|u?int\d|w\d+a\d+|[ad]wq|[dg]ptq|hqq|bnb)(?![a-z0-9])",
    re.IGNORECASE,
)


class _Unfit(Exception):
    """The server cannot be measured as it is; args: its identity's problem, and whether it answered."""


async def check_server(server: Server, api_key: str | None = None) -> Identity:
    """Ask for health, models and version, within 30 s in all; never raises for a server that is down or odd.

    The problem then says in one line what was found and expected and, after a colon, what to do. Of a local
    server ``details["process"]`` holds pid, started, python, flags and Ollama's settings; its package's
    version counts where the server tells none.
    """
    url, _ = split_credentials(server.url)
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or (parsed.port or 1) not in range(65536):
        url = one_line(url.rpartition("@")[2])
        problem = f"{server.name} has the URL '{url}': expected http://host:port, see {server.role}_url"
        return Identity(server.name, server.role, url, server.api, False, model=server.model, problem=problem)
    told = {"reachable": True}
    try:
        async with _asking(server, api_key) as ask:
            told |= await (_ask_ollama if server.api == "ollama" else _ask_openai)(
                server, url.rstrip("/"), ask
            )
    except _Unfit as unfit:
        told |= {"problem": unfit.args[0], "reachable": unfit.args[1]}
    except ValueError:  # not JSON, or JSON of another shape
        expected = "Ollama's native API" if server.api == "ollama" else "the OpenAI-compatible API"
        to_do = f"check {server.role}_url, another program may listen there, and {server.role}_api"
        told["problem"] = f"{server.name} answers at {url}, but not with {expected}: {to_do}"
    process = await asyncio.to_thread(find_listener, url) if told["reachable"] else None
    if process is not None:
        facts, package, version = await asyncio.to_thread(_look_at, process, told.get("software"))
        told |= {"software": package, "version": told.get("version") or version}
        told["details"] = told.get("details", {}) | {"process": facts}
    return Identity(server.name, server.role, url, server.api, model=server.model, **told)


async def clear_cache(server: Server, api_key: str | None = None) -> bool:
    """Ask the server to drop its caches (vllm-mlx: DELETE /v1/cache); False where it cannot."""
    if server.api != "openai":
        return False
    async with _asking(server, api_key) as ask:
        _, answer = await ask(f"{split_credentials(server.url)[0].rstrip('/')}/cache", method="DELETE")
        return answer.status == 200


@asynccontextmanager
async def _asking(server: Server, api_key: str | None) -> AsyncIterator[Callable]:
    """A function that asks one question for (JSON, exchange); without ``else_do`` JSON may be None."""
    until_s, (_, headers) = time.monotonic() + ASK_S, authorize(server.url, api_key)
    async with httpx.AsyncClient(transport=ExactTransport(), trust_env=False, headers=headers) as client:

        async def ask(
            url: str, else_do: str | None = None, method: str = "GET", json: object = None
        ) -> tuple:
            left_s = max(0.1, until_s - time.monotonic())
            timeout = httpx.Timeout(left_s, connect=min(left_s, CONNECT_S))
            limits = {"deadline_s": left_s, "max_bytes": MAX_BYTES}
            request = client.build_request(method, url, json=json, timeout=timeout, extensions=limits)
            exchange = await fetch(client, request)
            body = b"".join(data for _, data in exchange.chunks).decode("utf-8", "replace")
            with suppress(ValueError) if else_do is None else nullcontext():
                if exchange.status == 200 and exchange.error_class is None:
                    return orjson.loads(mask(body, secrets_of(headers))), exchange
            if else_do is not None:
                raise _Unfit(_unfit_line(server, url, exchange, else_do), exchange.status is not None)
            return None, exchange

        yield ask


def _unfit_line(server: Server, url: str, exchange: Exchange, else_do: str) -> str:
    status, kind, name = exchange.status or 0, exchange.error_class, f"{server.role}_url"
    why = one_line((exchange.error_message or "").replace(": ", ", "), 200)
    target = one_line(split_credentials(exchange.headers.get("location", "nowhere"))[0], 200)
    start = f"vllm-mlx serve {server.model} --mllm --continuous-batching --host 127.0.0.1"
    start = "ollama serve" if server.api == "ollama" else start
    key = "put its API key into the environment variable POC_API_KEY"
    wait = "wait until it has loaded its model, or stop whoever else uses it"
    cases = (
        (status in (401, 403), f"answered HTTP {status} at {url}", key),
        (300 <= status < 400, f"redirects {url} to {target}", f"set {name} to where it leads"),
        (status >= 500, f"answered HTTP {status} at {url}", wait),
        (status not in (0, 200), f"answered HTTP {status} at {url}", else_do),
        (status == 200, f"did not end its answer at {url} ({why})", f"check {name}, is it the server?"),
        (kind == "timeout", f"takes connections at {url} but does not answer ({why})", wait),
        ("certificate" in why, f"cannot be trusted ({why})", "name who signed it in SSL_CERT_FILE"),
        ("SSL" in why or kind == "malformed", f"is not understood ({why})", f"check {name}: http or https?"),
        (True, f"does not answer at {url} ({why})", f"start it, e.g. `{start}`"),
    )
    return next(f"{server.name} {found}: {to_do}" for holds, found, to_do in cases if holds)


async def _ask_openai(server: Server, url: str, ask: Callable) -> dict:
    listing, answer = await ask(f"{url}/models", "such a server's URL usually ends in /v1")
    models, header = _names(listing, "data", "id"), answer.headers.get("server", "")
    health, _ = await ask(f"{url.removesuffix('/v1')}/health")
    health = health if isinstance(health, dict) else {}
    software, version = ("vllm-mlx" if "engine_type" in health else None), health.get("version")
    if software is None and (header.startswith("mlx_vlm/") or "continuous_batching_enabled" in health):
        software, version = "mlx-vlm", header.removeprefix("mlx_vlm/") if "mlx_vlm/" in header else version
    version = one_line(version, 60) if isinstance(version, str) else None
    problem = None if server.model in models else _model_problem(server, models)
    details = {"health": health, "quantisation": quantisation(server.model)}
    found = {"software": software, "version": version, "models": models, "details": details}
    return found | {"simulated": health.get("simulated") is True, "problem": problem}


async def _ask_ollama(server: Server, url: str, ask: Callable) -> dict:
    root, else_do = url.removesuffix("/v1"), "this is not Ollama, check the URL"
    version = expect(dict, (await ask(f"{root}/api/version", else_do))[0]).get("version")
    listing, _ = await ask(f"{root}/api/tags", else_do)
    models = _names(listing, "models", "name")
    show, _ = await ask(f"{root}/api/show", method="POST", json={"model": server.model})
    tags = {tag["name"]: tag for tag in listing["models"] or []}
    served = tags.get(server.model) or tags.get(f"{server.model}:latest") or {}
    about = served.get("details") if isinstance(served.get("details"), dict) else {}
    details = {"digest": served.get("digest"), "details": about}
    details["capabilities"] = (show.get("capabilities") if isinstance(show, dict) else None) or []
    details["quantisation"] = quantisation(f"{about.get('quantization_level')} {server.model}")
    if not isinstance(version, str):
        raise ValueError("no version")
    problem = None if served else _model_problem(server, models)
    found = {"software": "ollama", "version": one_line(version, 60), "models": models, "details": details}
    return found | {"simulated": "simulated" in version, "problem": problem}


def _names(listing: object, entries: str, name: str) -> tuple[str, ...]:
    if not isinstance(listing, dict) or entries not in listing:  # null is Go's empty list, absence is no list
        raise ValueError(f"no list '{entries}'")
    names = tuple(expect(dict, entry).get(name) for entry in expect(list, listing[entries]))
    if not all(isinstance(found, str) for found in names):
        raise ValueError(f"an entry without '{name}'")
    return names


def _model_problem(server: Server, models: tuple[str, ...]) -> str:
    more = [f"{len(models) - SHOWN} more"] if len(models) > SHOWN else []
    shown = ", ".join([one_line(model, 60) for model in models[:SHOWN]] + more) or "none"
    to_do = f"set {server.role}_model to a served name"
    to_do = f"run `ollama pull {server.model}`" if server.api == "ollama" else to_do
    return f"{server.name} serves no model '{server.model}', but {shown}: {to_do}"


def find_listener(url: str) -> psutil.Process | None:
    """The process that listens at a local URL; None for another machine, or where looking is not allowed."""
    parsed, sockets = httpx.URL(url), []
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    try:
        address = ipaddress.ip_address("::1" if parsed.host == "localhost" else parsed.host)
        if address.is_loopback or address.is_unspecified:
            sockets = [(socket, socket.pid) for socket in psutil.net_connections("tcp")]
    except ValueError:  # a name
        return None
    except psutil.AccessDenied:  # macOS shows all sockets to root only, those of their processes to others
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                sockets += [(socket, process.pid) for socket in process.net_connections("tcp")]
    for socket, pid in sockets:
        if socket.status == psutil.CONN_LISTEN and socket.laddr.port == port and pid:
            with suppress(psutil.NoSuchProcess):
                return psutil.Process(pid)
    return None


def _look_at(process: psutil.Process, software: str | None) -> tuple[dict, str | None, str | None]:
    """What this user may see of a process, its software and its version; each fact is denied on its own."""

    def allowed(read: Callable, otherwise: object) -> object:
        try:
            return read()
        except (psutil.Error, OSError, RuntimeError):  # RuntimeError: a link that leads to itself
            return otherwise

    words, environment = allowed(process.cmdline, []), allowed(process.environ, {})
    words_below = [word for child in allowed(process.children, []) for word in allowed(child.cmdline, [])]
    started = allowed(process.create_time, None)
    command = " ".join(words[:4]).replace("_", "-")
    package = software or next((name for name in PACKAGES if name in command), "")
    # A framework build of Python on macOS shows its own path, not the environment's.
    named = [*words[:2], environment.get("__PYVENV_LAUNCHER__", ""), allowed(process.exe, "")]
    programs = [Path(allowed(process.cwd, "/")) / name for name in named if "/" in name]
    programs += [allowed(program.resolve, program) for program in programs]
    sites = [site for path in programs for site in path.parent.parent.glob("lib/python3*/site-packages")]
    packages = metadata.distributions(name=package, path=[str(site) for site in sites]) if package else ()
    flags = {}  # of a value only numbers are kept: others are paths and keys
    for word, after in pairwise([*words, *words_below, ""]):
        if (flag := FLAG.fullmatch(word)) and not SECRET.search(flag[1]):
            value = flag[2] or after
            flags[flag[1]] = int(value) if value.isdecimal() else True
    facts = {
        "pid": process.pid,
        "started": started and datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "python": next((site.parent.name.removeprefix("python") for site in sites), None),
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
    if identity.software != "vllm-mlx" or identity.simulated or not numbers or numbers >= [0, 6]:
        return None
    if "disable-prefix-cache" in flags:
        return None
    return (
        f"vllm-mlx {identity.version} with its prefix cache on answers from another image's state where the "
        "prompt is the same (issues 718, 768): start it with `--disable-prefix-cache`, or upgrade it to 0.6.0"
    )

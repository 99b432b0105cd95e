"""Ask a server who it is before it is measured, and let it forget what it cached."""

import httpx

from poc_lib.records import ServerIdentity, ServerSpec
from poc_lib.servers.exchange import NotTheApi, typed

ASK_TIMEOUT_S = 30.0  # vllm-mlx answers nothing while it reads images; a closed port answers at once


class _Unfit(Exception):
    """The server answered, but not so that it can be measured; the message is the identity's problem."""


async def check_server(spec: ServerSpec, api_key: str | None = None) -> ServerIdentity:
    """Ask for health, models and version; never raises for a server that is down or odd.

    The problem field then says what was found and expected and, after a colon, what to do.
    """
    if problem := _url_problem(spec):
        return _identity(spec, reachable=False, problem=problem)
    async with _asking_client(api_key) as client:
        try:
            return await (_check_ollama if spec.api == "ollama" else _check_openai)(client, spec)
        except _Unfit as unfit:
            return _identity(spec, reachable=True, problem=str(unfit))
        except (ValueError, httpx.DecodingError):  # not JSON, or JSON of another shape
            return _identity(spec, reachable=True, problem=_other_api_line(spec))
        except httpx.RequestError as error:
            return _identity(spec, reachable=False, problem=_unreachable_line(spec, error))


async def clear_cache(spec: ServerSpec, api_key: str | None = None) -> bool:
    """Ask the server to drop its caches (vllm-mlx: DELETE /v1/cache); False where it cannot."""
    if spec.api != "openai":
        return False
    async with _asking_client(api_key) as client:
        try:
            return (await client.delete(f"{spec.url.rstrip('/')}/cache")).status_code == 200
        except httpx.RequestError:
            return False


def _asking_client(api_key: str | None) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.AsyncClient(trust_env=False, timeout=ASK_TIMEOUT_S, headers=headers)


async def _check_openai(client: httpx.AsyncClient, spec: ServerSpec) -> ServerIdentity:
    base = spec.url.rstrip("/")
    answer = await _ask(client, spec, f"{base}/models", "such a server's URL usually ends in /v1")
    models = _names(answer.json(), "data", "id")
    health = await _read_health(client, f"{base.removesuffix('/v1')}/health")
    software, version = _openai_software(health, answer.headers.get("server", ""))
    return _identity(
        spec,
        reachable=True,
        simulated=bool(health.get("simulated")),
        software=software,
        version=version,
        models=models,
        details={"health": health},
        problem=_model_problem(spec, models),
    )


async def _check_ollama(client: httpx.AsyncClient, spec: ServerSpec) -> ServerIdentity:
    root = spec.url.rstrip("/").removesuffix("/v1")
    about = (await _ask(client, spec, f"{root}/api/version", "this is not Ollama, check the URL")).json()
    version = typed(about, "version", str)
    if version is None:
        raise NotTheApi("no version")
    tags = (await _ask(client, spec, f"{root}/api/tags", "this is not Ollama, check the URL")).json()
    models = _names(tags, "models", "name")
    served = next((tag for tag in tags["models"] or [] if _same_tag(spec.model, tag["name"])), {})
    shown = await client.post(f"{root}/api/show", json={"model": spec.model})
    show = shown.json() if shown.status_code == 200 else {}
    return _identity(
        spec,
        reachable=True,
        simulated="simulated" in version,
        software="ollama",
        version=version,
        models=models,
        details={
            "digest": typed(served, "digest", str),
            "details": typed(served, "details", dict) or {},
            "capabilities": typed(show, "capabilities", list) or [],
        },
        problem=None if served else _model_problem(spec, models),
    )


async def _ask(client: httpx.AsyncClient, spec: ServerSpec, url: str, else_do: str) -> httpx.Response:
    answer = await client.get(url)
    if answer.status_code in (401, 403):
        else_do = "put its API key into the environment variable that api_key_env names"
    if answer.status_code != 200:
        raise _Unfit(f"{spec.name} answered HTTP {answer.status_code} at {url}: {else_do}")
    return answer


def _names(listing: object, entries: str, name: str) -> tuple[str, ...]:
    if not isinstance(listing, dict) or entries not in listing:  # null is Go's empty list, absence is no list
        raise NotTheApi(f"no list '{entries}'")
    names = [typed(entry, name, str) for entry in typed(listing, entries, list) or []]
    if None in names:
        raise NotTheApi(f"an entry without '{name}'")
    return tuple(names)


async def _read_health(client: httpx.AsyncClient, url: str) -> dict:
    answer = await client.get(url)
    if answer.status_code != 200:
        return {}
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _openai_software(health: dict, server_header: str) -> tuple[str | None, str | None]:
    """Name and version; vllm-mlx tells no version, mlx-vlm tells it in its Server header."""
    version = health.get("version")
    if "engine_type" in health:
        return "vllm-mlx", version
    if server_header.startswith("mlx_vlm/"):
        return "mlx-vlm", server_header.removeprefix("mlx_vlm/")
    return ("mlx-vlm" if "continuous_batching_enabled" in health else None), version


def _same_tag(asked: str, served: str) -> bool:
    return asked == served or f"{asked}:latest" == served


def _model_problem(spec: ServerSpec, models: tuple[str, ...]) -> str | None:
    if spec.model in models:
        return None
    found = f"{spec.name} serves no model '{spec.model}', but {', '.join(models) or 'none'}"
    if spec.api == "ollama":
        return f"{found}: run `ollama pull {spec.model}`"
    return f"{found}: set {spec.role}_model to a served name"


def _url_problem(spec: ServerSpec) -> str | None:
    try:
        url = httpx.URL(spec.url)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme in ("http", "https") and url.host and (url.port or 1) in range(65536):
        return None
    return (
        f"{spec.name} has the URL '{spec.url}', which is none: expected http://host:port, see {spec.role}_url"
    )


def _other_api_line(spec: ServerSpec) -> str:
    expected = "Ollama's native API" if spec.api == "ollama" else "the OpenAI-compatible API"
    return (
        f"{spec.name} answers at {spec.url}, but not with {expected}: "
        f"check {spec.role}_url, another program may listen there, and {spec.role}_api"
    )


def _unreachable_line(spec: ServerSpec, error: Exception) -> str:
    start = (
        "ollama serve"
        if spec.api == "ollama"
        else f"vllm-mlx serve {spec.model} --mllm --continuous-batching --host 127.0.0.1"
    )
    return f"{spec.name} does not answer at {spec.url} ({type(error).__name__}): start it, e.g. `{start}`"


def _identity(spec: ServerSpec, **found: object) -> ServerIdentity:
    return ServerIdentity(
        name=spec.name, role=spec.role, url=spec.url, api=spec.api, model=spec.model, **found
    )

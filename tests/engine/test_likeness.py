"""The simulator beside the real vllm-mlx: the same request gets a response of the same form."""

from collections.abc import Callable

import pytest

from tests.engine.asking import Heard, Target, ask, chat_body, send, stream_body
from tests.engine.counters import read_samples, wait_until_idle
from tests.engine.test_contract import BAD_IMAGE

pytestmark = pytest.mark.engine

ONLY_SIMULATED_HEADERS = {"x-simulated"}
PAIRS = [("simulator", "vllm-mlx"), ("simulator-simple", "vllm-mlx-simple")]


@pytest.fixture(scope="session", params=PAIRS, ids=lambda pair: pair[1])
def pair(request: pytest.FixtureRequest, start_server: Callable[[str], Target]) -> tuple[Target, Target]:
    """The simulator and the real server in the same mode."""
    return tuple(start_server(name) for name in request.param)


async def hear_both(pair: tuple[Target, Target], method: str, path: str, **options: object) -> list[Heard]:
    heard = []
    for target in pair:
        await send(target, "DELETE", "/v1/cache")
        await wait_until_idle(target)
        heard.append(await send(target, method, path, **options))
    return heard


def form_of(value: object) -> object:
    """A JSON value's keys in their order, its leaves left out; of a list, the distinct forms."""
    if isinstance(value, dict):
        return [(key, form_of(inner)) for key, inner in value.items() if key != "simulated"]
    if isinstance(value, list):
        forms = [form_of(inner) for inner in value]
        return ["each", *[form for n, form in enumerate(forms) if form not in forms[:n]]]
    return "leaf"


def names_of_headers(heard: Heard) -> set[str]:
    return set(heard.headers) - ONLY_SIMULATED_HEADERS


def assert_alike(simulated: Heard, real: Heard) -> None:
    assert simulated.status == real.status
    assert names_of_headers(simulated) == names_of_headers(real)
    assert simulated.headers.get("content-type") == real.headers.get("content-type")
    assert simulated.headers["server"] == real.headers["server"]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/status", "/v1/cache/stats", "/no/such"])
async def test_what_the_server_tells_has_the_real_keys(pair, path):
    simulated, real = await hear_both(pair, "GET", path)
    assert_alike(simulated, real)
    assert form_of(simulated.json) == form_of(real.json)


@pytest.mark.parametrize("path", ["/v1/cache", "/v1/cache/prefix"])
async def test_clearing_a_cache_is_confirmed_in_the_real_words(pair, path):
    simulated, real = await hear_both(pair, "DELETE", path)
    assert_alike(simulated, real)
    assert simulated.json == real.json


async def test_a_plain_answer_has_the_real_keys(pair):
    body = chat_body(pair[0])
    simulated, real = await hear_both(pair, "POST", "/v1/chat/completions", json=body)
    assert_alike(simulated, real)
    assert form_of(simulated.json) == form_of(real.json)


@pytest.mark.parametrize("options", [None, {"include_usage": True}])
async def test_a_stream_has_the_real_events_in_the_real_order(pair, options):
    body = stream_body(pair[0], stream_options=options)
    simulated, real = await hear_both(pair, "POST", "/v1/chat/completions", json=body)
    assert_alike(simulated, real)
    assert event_forms(simulated) == event_forms(real)
    assert (simulated.done, real.done) == (True, True)


def event_forms(heard: Heard) -> list:
    """The forms of the events, repetitions dropped, since the number of pieces is the text's."""
    forms = [(form_of(event), bool(event.get("usage"))) for event in heard.events]
    return [form for n, form in enumerate(forms) if form not in forms[:n]]


WRONG_BODIES = {
    "another model": lambda target: chat_body(target, model="nope"),
    "another model, streamed": lambda target: stream_body(target, model="nope"),
    "no image": lambda target: chat_body(target, BAD_IMAGE),
    "no base64": lambda target: chat_body(target, "data:image/jpeg;base64,%%%"),
    "no data URL": lambda target: chat_body(target, "AAAA"),
    "a local URL": lambda target: chat_body(target, "http://127.0.0.1:1/a.png"),
    "no messages": lambda target: {"model": target.model},
    "empty messages": lambda target: chat_body(target, messages=[]),
    "messages of another type": lambda target: chat_body(target, messages="hello"),
    "no model": lambda target: {"messages": []},
    "max_tokens 0": lambda target: chat_body(target, max_tokens=0),
    "max_tokens 10000000": lambda target: chat_body(target, max_tokens=10_000_000),
    "a list": lambda target: [1],
}


@pytest.mark.parametrize("what", WRONG_BODIES)
async def test_a_wrong_request_is_refused_in_the_real_words(pair, what):
    body = WRONG_BODIES[what](pair[0])
    simulated, real = await hear_both(pair, "POST", "/v1/chat/completions", json=body)
    assert_alike(simulated, real)
    assert simulated.body == real.body


async def test_a_failure_in_a_stream_is_told_in_the_real_words(pair):
    body = stream_body(pair[0], BAD_IMAGE)
    simulated, real = await hear_both(pair, "POST", "/v1/chat/completions", json=body)
    assert_alike(simulated, real)
    mark = 'data: {"error"'
    assert simulated.body.partition(mark)[1:] == real.body.partition(mark)[1:]


async def test_every_sample_of_the_simulated_metrics_exists_in_the_real_ones(pair):
    names = []
    for target in pair:
        await ask(target, stream_body(target))
        await ask(target, chat_body(target, 1))
        samples = await read_samples(target)
        names.append({(sample.name, frozenset(sample.labels) - {"le"}) for sample in samples})
    assert names[0] - names[1] == set()

"""One contract, held against the simulator and against the real servers, each in each of its modes.

`make test` runs it against the simulator alone, `make test-engine` against all of them.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.engine.asking import (
    Heard,
    Target,
    ask,
    ask_at_once,
    ask_until_answered,
    chat_body,
    get_json,
    open_client,
    send,
    stream_body,
)
from tests.engine.counters import (
    Counters,
    read_metrics,
    read_samples,
    read_status,
    total,
    wait_until_idle,
    wait_until_settled,
)
from tests.engine.known import Refusal
from tests.engine.targets import servers

IMAGE_TOKENS_AT_LEAST = 50  # of 320 × 180 pixels; 60 for Qwen3-VL
BAD_IMAGE = "data:image/jpeg;base64,bm90IGFuIGltYWdl"


@pytest.fixture(autouse=True)
async def _forgets_its_caches(target):
    """No test meets an image that another has shown to the server."""
    await send(target, "DELETE", "/v1/cache")


def assert_refused(heard, refusal: Refusal) -> None:
    assert heard.status == refusal.status
    assert refusal.words in heard.body


async def test_health_names_the_state_and_the_engine(target):
    health = await get_json(target, "/health")
    assert target.known.health.items() <= health.items()
    assert ("simulated" in health) is (not target.known.real)


async def test_the_served_model_is_listed(target):
    listed = await get_json(target, "/v1/models")
    assert target.model in [card["id"] for card in listed["data"]]


async def test_a_plain_answer_has_text_and_counted_tokens(target):
    heard = await ask(target, chat_body(target))
    assert heard.status == 200
    assert heard.json["object"] == "chat.completion"
    assert heard.json["choices"][0]["message"]["content"]
    usage = heard.json["usage"]
    assert min(usage["prompt_tokens"], usage["completion_tokens"]) > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


async def test_a_stream_gives_the_plain_answers_text(target):
    streamed = await ask(target, stream_body(target))
    plain = await ask(target, chat_body(target))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.done
    assert streamed.text.strip() == plain.json["choices"][0]["message"]["content"]


async def test_the_role_comes_first_and_alone_where_it_is_sent_before_the_answer(target):
    first = (await ask(target, stream_body(target))).deltas[0]
    assert first["role"] == "assistant"
    assert (set(first) == {"role"}) is target.known.sends_role_first


async def test_usage_is_repeated_and_never_split(target):
    asked = await ask(target, stream_body(target))
    unasked = await ask(target, stream_body(target, stream_options=None))
    in_finish = int(target.known.usage_in_finish)
    assert len(asked.usages) == 1 + in_finish
    assert len(unasked.usages) == in_finish
    assert asked.events[-1]["choices"] == []
    assert all(usage == asked.usages[-1] for usage in asked.usages + unasked.usages)


async def test_an_image_costs_the_prompt_its_tokens(target):
    with_image = await ask(target, chat_body(target))
    without = await ask(target, chat_body(target, None))
    difference = with_image.json["usage"]["prompt_tokens"] - without.json["usage"]["prompt_tokens"]
    assert difference > IMAGE_TOKENS_AT_LEAST


async def test_a_stream_after_a_plain_answer_about_the_same_image_fails_in_simple_mode_only(target):
    assert (await ask(target, chat_body(target))).status == 200
    streamed = await ask(target, stream_body(target))
    assert (streamed.error is not None) is target.known.plain_spoils_stream
    assert (streamed.text == "") is target.known.plain_spoils_stream


@pytest.mark.parametrize("max_tokens", [1, 7])
async def test_max_tokens_cuts_the_answer_and_says_so(target, max_tokens):
    known = target.known
    streamed = await ask(target, stream_body(target, max_tokens=max_tokens))
    plain = (await ask(target, chat_body(target, max_tokens=max_tokens))).json
    assert plain["usage"]["completion_tokens"] == max_tokens
    assert streamed.usages[-1]["completion_tokens"] == max_tokens + known.extra_stream_tokens
    assert plain["choices"][0]["finish_reason"] == known.cut_reason
    assert streamed.finish_reasons == [known.cut_reason]


@pytest.mark.parametrize("make_body", [chat_body, stream_body])
async def test_a_model_that_is_not_served_is_refused(target, make_body):
    assert_refused(await ask(target, make_body(target, model="nope")), target.known.wrong_model)
    assert (await ask(target, chat_body(target))).status == 200


async def test_an_image_that_is_none_is_refused(target):
    assert_refused(await ask(target, chat_body(target, BAD_IMAGE)), target.known.bad_image)


async def test_in_a_stream_an_image_that_is_none_is_an_error_and_no_answer(target):
    heard = await ask(target, stream_body(target, BAD_IMAGE))
    assert_refused(heard, target.known.bad_image_stream)
    assert heard.text == ""
    assert heard.finish_reasons == []
    assert (heard.error is not None) is (heard.status == 200)
    assert heard.done is (heard.status == 200)


async def test_a_request_without_messages_is_refused_with_the_fields_name(target):
    heard = await ask(target, {"model": target.model})
    assert_refused(heard, target.known.no_messages)
    assert heard.json["detail"][0]["loc"] == ["body", "messages"]


async def test_empty_messages_are_an_error_after_which_the_server_still_answers(target):
    body = {"model": target.model, "messages": [], "max_tokens": 4}
    assert_refused(await ask(target, body), target.known.empty_messages)
    assert (await ask(target, chat_body(target))).status == 200


async def test_a_body_that_is_not_json_is_refused(target):
    options = {
        "content": b'{"model": "tiny", "messages": [}',
        "headers": {"content-type": "application/json"},
    }
    heard = await send(target, "POST", "/v1/chat/completions", **options)
    assert heard.status == 422
    assert heard.json["detail"][0]["type"] == "json_invalid"


async def test_too_large_max_tokens_are_refused_where_there_is_a_limit(target):
    body = stream_body(target, max_tokens=10_000_000)
    async with (
        open_client() as client,
        client.stream("POST", f"{target.url}/chat/completions", json=body) as response,
    ):
        refusal = target.known.huge_max_tokens
        assert response.status_code == (refusal.status if refusal else 200)
        assert refusal is None or refusal.words in (await response.aread()).decode()
    await wait_until_idle(target)


@servers(lambda known: known.batches)
async def test_sixteen_in_flight_are_all_answered_about_sixteen_images(target):
    answers = await ask_at_once(target, [stream_body(target, index, max_tokens=24) for index in range(16)])
    assert [heard.status for heard in answers] == [200] * 16
    assert all(heard.done and heard.error is None for heard in answers)
    assert [heard.usages[-1]["completion_tokens"] for heard in answers] == [24] * 16
    assert len({heard.text.strip() for heard in answers}) >= 15  # 15 of 16 when sent one by one, too


@servers(lambda known: known.end_waits)
async def test_what_follows_an_answers_finish_waits_until_the_next_wave_has_been_prefilled(target):
    """The event loop is blocked while images are prefilled: nothing is sent and nothing is answered."""
    clock = asyncio.get_running_loop().time
    second_wave = [stream_body(target, index, max_tokens=120) for index in range(1, 9)]
    async with streamed(target, stream_body(target, max_tokens=60)) as lines:
        await next_line(lines, with_content=True)
        waiting = asyncio.create_task(ask_at_once(target, second_wave))
        arrived = [clock()]
        while '"finish_reason":"length"' not in await next_line(lines, with_content=True):
            arrived.append(clock())
        finished = clock()
        assert await next_line(lines, with_content=False) != "data: [DONE]"  # usage comes before that
        went_on = clock()
        status = await get_json(target, "/v1/status")
        answers = await waiting
    assert all(heard.done for heard in answers)
    assert [entry["phase"] for entry in status["requests"]] == ["generation"] * 8
    assert (status["num_running"], status["num_waiting"]) == (8, 0)
    assert went_on - finished > finished - arrived[-2]  # longer than the two decode steps before it


@asynccontextmanager
async def streamed(target: Target, body: dict) -> AsyncIterator[AsyncIterator[str]]:
    """The lines of a stream as they come; leaving the block closes the connection."""
    url = f"{target.url}/chat/completions"
    async with open_client() as client, client.stream("POST", url, json=body) as response:
        yield response.aiter_lines()


async def next_line(lines: AsyncIterator[str], *, with_content: bool) -> str:
    """The next event of a stream, or the next that carries text."""
    async for line in lines:
        if line and (not with_content or '"content":"' in line):
            return line
    raise AssertionError("the stream ended first")


async def hold_while(target: Target, doing: Awaitable[Heard]) -> Heard:
    """Start an answer, await `doing` while it is running, and read it to its end."""
    async with streamed(target, stream_body(target, max_tokens=150)) as lines:
        await next_line(lines, with_content=False)
        result = await doing
        rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]
    return result


@servers(lambda known: not known.batches)
async def test_without_batching_a_second_request_is_refused_as_busy(target):
    before = await read_samples(target)
    refused = await hold_while(target, ask(target, chat_body(target, 1)))
    after = await read_samples(target)
    assert refused.status == 503
    assert "retry-after" not in refused.headers
    assert refused.json["detail"]["error"] == "text_generation_busy"
    assert refused.json["detail"]["message"].startswith("SimpleEngine serialized route is busy; request_id=")
    name = "vllm_mlx_inference_requests_total"
    assert total(after, name, result="busy") - total(before, name, result="busy") == 1


@servers(lambda known: not known.batches)
async def test_without_batching_a_second_stream_gets_200_and_an_error_that_does_not_say_busy(target):
    refused = await hold_while(target, ask(target, stream_body(target, 1)))
    assert refused.status == 200
    assert refused.deltas == [{"role": "assistant"}]
    assert refused.error["message"] == "Internal server error"
    assert refused.done
    assert "busy" not in refused.body


@servers(lambda known: not known.batches)
async def test_without_batching_one_of_sixteen_is_answered(target):
    answers = await ask_at_once(target, [stream_body(target, index, max_tokens=24) for index in range(16)])
    assert [heard.status for heard in answers] == [200] * 16
    assert sum(heard.error is None for heard in answers) == 1
    assert [heard.text for heard in answers if heard.error] == [""] * 15


async def test_after_an_answer_cancelled_in_mid_stream_the_server_answers_as_before(target):
    expected = await ask(target, chat_body(target, 2))
    async with streamed(target, stream_body(target, max_tokens=400)) as lines:
        await next_line(lines, with_content=True)
    heard = await ask_until_answered(target, chat_body(target, 2))
    assert heard.json["choices"] == expected.json["choices"]
    await wait_until_idle(target)


async def test_a_plain_request_given_up_leaves_the_server_idle(target):
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(120, read=0.1)) as client:
            await client.post(f"{target.url}/chat/completions", json=chat_body(target, max_tokens=400))
    await wait_until_idle(target)
    assert (await ask(target, chat_body(target))).status == 200


async def test_clearing_the_cache_forgets_the_images(target):
    known = target.known
    assert (await send(target, "DELETE", "/v1/cache")).status == (200 if known.clears_cache else 404)
    counts = []
    for _ in range(2):
        await ask(target, chat_body(target, 3, max_tokens=2))
        counts.append(await read_image_hits(target))
    await send(target, "DELETE", "/v1/cache")
    assert [*counts, await read_image_hits(target)] == ([0, 1, 0] if known.image_hits else [None] * 3)


async def read_image_hits(target: Target) -> int | None:
    found = await get_json(target, "/v1/cache/stats")
    if not target.known.image_hits:
        return None
    block, name = target.known.image_hits
    return found["engine_cache"][block][name]


async def ask_some(target: Target) -> tuple[list[dict], list[dict]]:
    """The usages of three streamed and two plain answers."""
    streams = [await ask(target, stream_body(target, index, max_tokens=5 + index)) for index in range(3)]
    plains = [await ask(target, chat_body(target, index, max_tokens=9 + index)) for index in range(2)]
    return [heard.usages[-1] for heard in streams], [heard.json["usage"] for heard in plains]


def summed(usages: list[dict]) -> Counters:
    return Counters(
        len(usages),
        sum(usage["prompt_tokens"] for usage in usages),
        sum(usage["completion_tokens"] for usage in usages),
    )


@servers(lambda known: known.has_status)
async def test_the_status_counters_rise_by_what_the_answers_say(target):
    await wait_until_settled(target)
    before = await read_status(target)
    streamed, plain = await ask_some(target)
    counted = streamed + (plain if target.known.counts_plain else [])
    assert await read_status(target) - before == summed(counted)


async def test_the_metrics_rise_by_what_the_answers_say(target):
    await wait_until_settled(target)
    before = await read_metrics(target)
    streamed, plain = await ask_some(target)
    assert await read_metrics(target) - before == summed(streamed + plain)


@servers(lambda known: known.has_status)
async def test_the_metrics_tell_answers_from_refusals(target):
    await wait_until_settled(target)
    before = await read_samples(target)
    await ask(target, chat_body(target))
    await ask(target, chat_body(target, BAD_IMAGE))
    await ask(target, stream_body(target, BAD_IMAGE))
    await ask(target, chat_body(target, model="nope"))
    after = await read_samples(target)

    def rise(result: str) -> float:
        name = "vllm_mlx_inference_requests_total"
        return total(after, name, result=result) - total(before, name, result=result)

    assert {result: rise(result) for result in ("success", "error", "busy")} == {
        "success": 1,
        "error": 1 + target.known.counts_plain_errors,
        "busy": 0,
    }


async def test_an_unknown_route_is_a_404_in_json(target):
    heard = await send(target, "GET", "/no/such/route")
    assert (heard.status, json.loads(heard.body)) == (404, {"detail": "Not Found"})

"""Preparing and sending: what goes out, and which row every end of an answer becomes, on both transports."""

import asyncio
import base64
import io
from dataclasses import asdict

import httpx
import orjson
import pytest
from PIL import Image

from demo.model import read_strip
from poc_lib.client import Sending, open_client, prepare_request, send_request
from poc_lib.records import Frame, SetupProblem
from tests import wire
from tests.wire import ANSWERS, CELL, DONE, KEEP_OPEN, KEY, OK_HEAD, OPENAI_ANSWER, TEXT, raw_server, response

APIS = ("openai", "ollama")
both = pytest.mark.parametrize("transport", ["exact", "httpx"])
CODE = "X7K9CF"
PLACE = "vllm-mlx/confirm/c4/b1/s2/017"
SENDING = Sending(CELL, 2, 3, 17, True, 0, 4)
AN = wire.sse(wire.delta(content="An"))


@pytest.fixture
def shot(tmp_path):
    path = tmp_path / "shot.png"
    Image.radial_gradient("L").resize((640, 360)).convert("RGB").save(path)
    return Frame("f1", 1.5, path)


async def send(url, shot, api="openai", abort_after_s=None, **changes):
    server = wire.server_at(f"{url}/v1" if api == "openai" else url, api=api)
    prepared = prepare_request(server, shot, wire.settings(**changes), PLACE)
    async with open_client(wire.settings(**changes)) as client:
        sent = send_request(client, prepared, SENDING, abort_after_s=abort_after_s)
        return await asyncio.wait_for(sent, 20)


async def reply_to(pieces, shot, api="openai", **changes):
    async with raw_server(pieces) as (url, _):
        return await send(url, shot, api, **changes)


@both
@pytest.mark.parametrize("api", APIS)
async def test_an_answer_becomes_a_row_that_says_where_it_belongs(api, transport, shot):
    pieces = [OK_HEAD, *(bytes([byte]) for byte in ANSWERS[api])]
    reply = await reply_to(pieces, shot, api, transport=transport)
    assert (reply.error_class, reply.text, reply.prompt_tokens, reply.output_tokens) == (None, TEXT, 812, 7)
    assert 0 <= reply.headers_s <= reply.ttft_s <= reply.arrivals_s[-1] + 1e-5 <= reply.total_s + 2e-5
    assert len(reply.arrivals_s) == 2
    assert reply.arrivals_s == [round(arrival_s, 5) for arrival_s in reply.arrivals_s]
    place = {
        "request_id": PLACE,
        "frame_id": "f1",
        "http_status": 200,
        "sitting": 2,
        "slot": 3,
        "position": 17,
    }
    place |= asdict(CELL) | {"simulated": True, "in_flight": 4}
    assert {name: getattr(reply, name) for name in place} == place
    assert reply.start_s > 0
    assert orjson.dumps(asdict(reply))


ENDS = {
    "refused": ([response(503, b'{"error": "busy"}')], "busy", "HTTP 503: busy"),
    "wrong path": ([response(404, b"no")], "http_status", "HTTP 404: no"),
    "redirected": ([response(307, b"", b"location: http://b/v1")], "http_status", "redirected to http://b/v1"),
    "not the API": ([OK_HEAD, b"<html>"], "malformed", "<html>"),
    "an error in a stream": ([OK_HEAD, wire.sse({"error": "oops"})], "server_error", "oops"),
    "no text": ([OK_HEAD, wire.sse(wire.delta("stop")), DONE], "empty", "without any text"),
    "cut": ([OK_HEAD, AN, wire.ABORT], "truncated", ""),
    "closed": ([OK_HEAD, AN], "truncated", "before the server said"),
    "closed at once": ([], "connect", ""),
    "falls silent": ([OK_HEAD, AN, KEEP_OPEN], "timeout", ""),
    "endless heartbeats": ([OK_HEAD, *[b": ping\n\n", 0.05] * 400], "timeout", "1.5 s"),
    "endless bytes": ([OK_HEAD, *[b": " + b"x" * 10**6] * 18, KEEP_OPEN], "malformed", "more than 16000000"),
}  # fmt: skip


@both
@pytest.mark.parametrize("end", ENDS)
async def test_every_failure_is_a_row_of_its_class_with_what_came_before(end, transport, shot):
    pieces, error_class, message = ENDS[end]
    reply = await reply_to(pieces, shot, transport=transport, timeout_s=0.5, answer_timeout_s=1.5)
    assert reply.error_class == error_class
    assert message in reply.error_message > ""
    assert "\n" not in reply.error_message
    is_begun = any(AN in piece for piece in pieces if isinstance(piece, bytes))
    assert reply.text[:2] == ("An" if is_begun else "")
    assert bool(reply.arrivals_s) == bool(reply.text)


@both
@pytest.mark.parametrize("api", APIS)
async def test_a_connection_held_open_after_the_last_line_costs_nothing(api, transport, shot):
    for rest in ([KEEP_OPEN], [b": ping\n\n", 0.05] * 400):
        reply = await reply_to([OK_HEAD, ANSWERS[api], *rest], shot, api, transport=transport)
        assert (reply.error_class, reply.text) == (None, TEXT)
        assert reply.total_s < 5
    late = [OK_HEAD, ANSWERS[api].removesuffix(DONE), 1.0, b"\n"]  # no part of the answer's time
    assert (await reply_to(late, shot, api, transport=transport)).total_s < 0.9


@both
async def test_a_request_given_up_keeps_what_came_and_one_that_ended_before_is_an_answer(transport, shot):
    reply = await reply_to([OK_HEAD, AN, KEEP_OPEN], shot, abort_after_s=0.3, transport=transport)
    assert (reply.error_class, reply.text, reply.http_status) == ("aborted", "An", 200)
    assert 0.25 < reply.total_s < 10
    reply = await reply_to([KEEP_OPEN], shot, abort_after_s=0.3, transport=transport)
    assert (reply.error_class, reply.http_status) == ("aborted", None)
    reply = await reply_to([OK_HEAD, OPENAI_ANSWER], shot, abort_after_s=5.0, transport=transport)
    assert reply.error_class is None
    reply = await reply_to([KEEP_OPEN], shot, abort_after_s=9.0, timeout_s=0.3, transport=transport)
    assert reply.error_class == "timeout"


async def test_over_a_mock_the_same_row_comes_and_nothing_is_sent_twice(shot):
    asked = []

    def answer(request):
        asked.append(request.content)
        return httpx.Response(200 if len(asked) == 1 else 500, content=OPENAI_ANSWER)

    prepared = prepare_request(wire.server_at("http://nowhere.invalid/v1"), shot, wire.settings(), "r")
    async with open_client(wire.settings(), httpx.MockTransport(answer)) as client:
        replies = [await send_request(client, prepared, SENDING) for _ in range(2)]
    assert [(reply.error_class, reply.text) for reply in replies] == [(None, TEXT), ("http_status", "")]
    assert asked == [prepared.body] * 2


@both
async def test_the_key_travels_in_the_header_and_nowhere_else(transport, shot):
    echo = orjson.dumps({"error": {"message": f"{'x' * 270} wrong key {KEY}"}})
    async with raw_server([response(401, echo)]) as (url, requests):
        reply = await send(url, shot, transport=transport, api_key=KEY)
        assert f"authorization: bearer {KEY}".encode() in requests[0].lower()
        assert requests[0].count(KEY.encode()) == 1
    for header in (b"content-type: application/json", b"accept-encoding: identity"):  # packing delays chunks
        assert header in requests[0].lower()
    assert KEY[:6] not in repr(asdict(reply))


async def test_user_and_password_of_a_url_travel_as_a_header_and_are_masked(shot):
    token = base64.b64encode(b"me:p@ss-word")

    def echo(request):
        return [response(403, request.partition(b"uthorization: ")[2][:60] + b" for me:p@ss-word, p@ss-word")]

    async with raw_server(echo) as (url, requests):
        shown = repr(asdict(await send(url.replace("//", "//me:p%40ss-word@"), shot, api_key=KEY)))
        assert b"uthorization: Basic " + token in requests[0]
    assert not [secret for secret in ("p@ss-word", "p%40ss", token.decode()) if secret in shown]


def image_of(prepared):
    content = orjson.loads(prepared.body)["messages"][0]["content"]
    media_type, _, data = content[1]["image_url"]["url"].partition(";base64,")
    return media_type.removeprefix("data:"), base64.b64decode(data), content[0]["text"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_file_goes_out_byte_for_byte_under_its_true_type_whatever_its_name(kind, tmp_path):
    frame = Frame("f", 0, tmp_path / "shot.txt")
    Image.new("RGB", (64, 32), "navy").save(frame.image_path, kind)
    for width in (0, 64, 9000):
        server = wire.server_at("http://h/v1")
        prepared = prepare_request(server, frame, wire.settings(), "r", image_width=width)
        assert image_of(prepared) == (f"image/{kind.lower()}", frame.image_path.read_bytes(), "Describe.")


def test_a_wider_image_is_scaled_and_a_code_is_stamped_after_that_with_its_own_prompt(shot):
    server = wire.server_at("http://h/v1")
    media_type, data, _ = image_of(prepare_request(server, shot, wire.settings(), "r", image_width=320))
    assert (media_type, Image.open(io.BytesIO(data)).size) == ("image/png", (320, 180))
    prepared = prepare_request(server, shot, wire.settings(), "r", image_width=320, code=CODE)
    media_type, data, prompt = image_of(prepared)
    image = Image.open(io.BytesIO(data))
    assert (media_type, image.width, read_strip(image), prepared.code) == ("image/jpeg", 320, CODE, CODE)
    assert prompt.startswith("Describe.")
    assert "code:" in prompt


def test_each_api_gets_its_own_body_and_nothing_secret_or_large_is_shown(shot):
    prepared = prepare_request(wire.server_at("http://h:1/v1/", api="ollama"), shot, wire.settings(), "r")
    sent = orjson.loads(prepared.body)
    assert prepared.url == "http://h:1/api/chat"
    assert base64.b64decode(sent["messages"][0]["images"][0]) == shot.image_path.read_bytes()
    assert (sent["options"], sent["stream"]) == ({"temperature": 0.3, "num_predict": 64}, True)
    with_key = wire.settings(api_key=KEY)
    prepared = prepare_request(wire.server_at("http://me:pw-word@h/v1/"), shot, with_key, "r")
    sent = orjson.loads(prepared.body)
    assert prepared.url == "http://h/v1/chat/completions"
    assert (sent["model"], sent["max_tokens"]) == ("tiny-vlm", 64)
    assert (sent["stream_options"], sent["stream"]) == ({"include_usage": True}, True)
    assert not [word for word in (KEY, "pw-word", "base64") if word in repr(with_key) + repr(prepared)]


@pytest.mark.parametrize("content", [None, b"", b"not an image", b"\x89PNG\r\n\x1a\n half", "bomb"])
def test_an_image_that_is_gone_or_broken_is_one_line(content, shot):
    shot.image_path.unlink()
    if content == "bomb":
        Image.new("1", (20_000, 10_000)).save(shot.image_path)
    elif content is not None:
        shot.image_path.write_bytes(content)
    with pytest.raises(SetupProblem, match=r"cannot be read .*: was it removed or changed") as problem:
        prepare_request(wire.server_at("http://h/v1"), shot, wire.settings(), "r", image_width=10)
    assert "\n" not in str(problem.value)

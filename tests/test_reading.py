"""Reading the bytes of an answer: pure, from an Exchange, in every cut and in every dialect."""

import time

import httpx
import orjson
import pytest

from poc_lib.client import Exchange, PreparedRequest
from poc_lib.client.apis import LAST_LINE, count_of
from poc_lib.client.chat import read_exchange
from tests.wire import ANSWERS, DONE, KEY, LAST, OLLAMA_ANSWER, OPENAI_ANSWER, TEXT, USAGE, delta, ndjson, sse

APIS = ("openai", "ollama")
A = delta(content="a")
STOP = delta("stop")
SAYS_A = {"message": {"content": "a"}, "done": False}


def read(api, *pieces, **transport):
    """The fields read from the pieces, the first of which arrives after 1 s, the second after 2 s, …"""
    chunks = [(second * 10**9, piece) for second, piece in enumerate(pieces, start=1)]
    exchange = Exchange(**({"start_ns": 0, "end_ns": 10**12, "status": 200, "chunks": chunks} | transport))
    headers = {"authorization": f"Bearer {KEY}"}
    answer = read_exchange(PreparedRequest("r", "f1", api, "http://x", b"", headers), exchange)
    arrivals_s = [at for at, text, reasoning in answer.chunks if text or reasoning]
    return {"error_class": None, "prompt_tokens": None} | answer.fields | {"arrivals_s": arrivals_s}


def assert_read(found, text=TEXT, **fields):
    expected = {"error_class": None, "text": text, "finish_reason": "stop"} | fields
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize("api", APIS)
def test_an_answer_is_the_same_in_one_piece_cut_in_two_anywhere_and_byte_by_byte(api):
    whole = ANSWERS[api]
    cuts = [[whole], [whole[i : i + 1] for i in range(len(whole))]]
    for pieces in cuts + [[whole[:cut], whole[cut:]] for cut in range(1, len(whole))]:
        assert_read(read(api, *pieces), prompt_tokens=812, output_tokens=7)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
def test_lines_may_end_in_cr_lf_or_cr_alone_and_begin_with_a_byte_order_mark(api, line_end):
    body = b"\xef\xbb\xbf" + ANSWERS[api].replace(b"\n", line_end)
    assert_read(read(api, *(body[i : i + 1] for i in range(len(body)))), output_tokens=7)


DIALECTS = {
    "comments and other fields": b": ping\n\nevent: message\nid: 1\nretry: 9\nfoo: b\nbar\n" + OPENAI_ANSWER,
    "no space after the colon": OPENAI_ANSWER.replace(b"data: ", b"data:"),
    "empty data": b"data:\n\ndata\n\ndata: \n\n" + OPENAI_ANSWER,
    "data over several lines": OPENAI_ANSWER.replace(b'"delta":', b'"delta":\ndata: '),
    "no blank lines between events": OPENAI_ANSWER.replace(b"\n\n", b"\n"),
    "no line end at the end": OPENAI_ANSWER.rstrip(),
    "no [DONE]": OPENAI_ANSWER.removesuffix(DONE),
    "heartbeats and rubbish after [DONE]": OPENAI_ANSWER + b": ping\n\n<html>data: {x\n\n",
    "events of somebody else's": b"event: ping\ndata: 2026\n\nevent: ping\ndata: {}\n\n" + OPENAI_ANSWER,
    "one JSON object": orjson.dumps(
        {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}], "usage": USAGE["usage"]}
    ),
    "content as parts": sse(delta(content=[{"text": TEXT}, {"type": "image"}, 3]), STOP, USAGE),
    "counts as floats and texts": OPENAI_ANSWER.replace(b":812", b":812.0").replace(b":7,", b':"7",'),
    "NaN and an odd field": OPENAI_ANSWER.replace(b'"index":0', b'"index":[{}],"logprobs":NaN'),
    "null choices before, null usage": sse({"choices": None, "usage": None, "error": None}) + OPENAI_ANSWER,
    "odd reasoning": sse(delta(reasoning={"a": 1}, tool_calls=3)) + OPENAI_ANSWER,
    "a surrogate pair over two chunks": OPENAI_ANSWER.replace("🖥".encode(), rb"\ud83d").replace(
        rb"\ud83d", rb'\ud83d"}}]}' + b'\n\ndata: {"choices":[{"delta":{"content":"' + rb"\udda5"
    ),
}  # fmt: skip


OLLAMA_DIALECTS = {
    "blank lines": OLLAMA_ANSWER.replace(b"\n", b"\n\n"),
    "printed over many lines": orjson.dumps(
        LAST | {"message": {"content": TEXT}}, option=orjson.OPT_INDENT_2
    ),
    "no line end": OLLAMA_ANSWER.rstrip(),
    "rubbish after done": OLLAMA_ANSWER + b"<html>\n",
    "counts as floats and texts": OLLAMA_ANSWER.replace(b":7,", b':"7",').replace(b":812,", b":812.0,"),
    "odd thinking": ndjson({"message": {"thinking": [1], "content": None}}) + OLLAMA_ANSWER,
    "odd reason": OLLAMA_ANSWER.replace(b'"done_reason":"stop"', b'"done_reason":{"x":1}'),
}
SPOKEN = [("openai", name) for name in DIALECTS] + [("ollama", name) for name in OLLAMA_DIALECTS]


@pytest.mark.parametrize(("api", "dialect"), SPOKEN)
def test_every_dialect_of_a_stream_is_read(api, dialect):
    found = read(api, (DIALECTS if api == "openai" else OLLAMA_DIALECTS)[dialect])
    assert_read(found, prompt_tokens=812, output_tokens=7)
    assert found.get("server_load_s") == (1.5 if api == "ollama" else None)


DEEP = b"[" * 100_000
FAILURES = [
    ("openai", b"<html>not an API</html>", "malformed", "not JSON: <html>"),
    ("openai", b"null", "malformed", "no chat answer: null"),
    ("openai", sse(A) + b"data: {not json}\n", "malformed", "not JSON: {not json}"),
    ("openai", sse(A) + b'data: {"a":' + DEEP + b"\n", "malformed", "not JSON"),
    ("openai", sse(A, [1]), "malformed", "dict expected, found list"),
    ("openai", sse(A, {"choices": 3}), "malformed", "list expected, found int"),
    ("openai", sse(A, {"choices": [{"delta": "a"}]}), "malformed", "dict expected, found str"),
    ("openai", sse(A, delta(content=3)), "malformed", "str expected, found int"),
    ("openai", b'{"hello": 1}', "malformed", "no chat answer"),
    ("openai", b"{not json}", "malformed", "not JSON"),
    ("openai", b'{"error": {"message": "out\\nof memory"}}', "server_error", "out of memory"),
    ("openai", b'{"object": "error", "message": "too long"}', "server_error", "too long"),
    ("openai", sse(A, {"error": {"message": "oops", "code": 500}}) + DONE, "server_error", "oops"),
    ("openai", sse({"error": {"deep": [[["x"]]]}}), "server_error", "deep"),
    ("openai", sse({"error": {"code": "text_generation_busy"}}), "busy", "text_generation_busy"),
    ("openai", b"event: error\ndata: worker died\n\n", "server_error", "worker died"),
    ("openai", b'event: error\ndata: {"message": "worker died"}\n\n', "server_error", "worker died"),
    ("openai", sse(STOP, {"error": "oops"}), "server_error", "oops"),
    ("openai", b'data: {"message": "late"}\nevent: error\n\n', "server_error", "late"),
    ("openai", sse(A), "truncated", "before the server said"),
    ("openai", DONE, "truncated", "before the server said"),
    ("openai", b": ping\n\n" * 9, "truncated", "before the server said"),
    ("openai", sse(A) + b'data: {"choices', "truncated", "before the server said"),
    ("openai", b"da", "truncated", "before the server said"),
    ("openai", sse(delta(reasoning="hmm"), delta("length")), "empty", "(length) without any text, after 3"),
    ("ollama", b"<html>", "malformed", "not JSON: <html>"),
    ("ollama", b"data: {}\n", "malformed", "not JSON"),
    ("ollama", b"[]\n", "malformed", "dict expected, found list"),
    ("ollama", b'{"message": "a"}\n', "malformed", "dict expected, found str"),
    ("ollama", b'{"message": {"content": 3}}\n', "malformed", "str expected, found int"),
    ("ollama", b'{"message": ' + DEEP, "truncated", "before the server said"),
    ("ollama", ndjson(SAYS_A, {"error": "runner\nstopped"}), "server_error", "runner stopped"),
    ("ollama", ndjson(SAYS_A), "truncated", "before the server said"),
    ("ollama", ndjson({"message": {"content": " \n"}, "done": True}), "empty", "(stop) without any text"),
]  # fmt: skip


@pytest.mark.parametrize(("api", "body", "error_class", "message"), FAILURES)
def test_what_is_no_answer_is_named_in_one_line_and_keeps_what_came(api, body, error_class, message):
    found = read(api, body)
    assert found["error_class"] == error_class
    assert message in found["error_message"]
    assert "\n" not in found["error_message"]
    assert found["text"].strip() == ("a" if b'"content":"a"' in body else "")


@pytest.mark.parametrize(("api", "finish"), [("openai", b'"stop"'), ("ollama", b'"done":true')])
def test_a_body_cut_at_any_byte_before_its_end_is_truncated_and_keeps_the_transports_word(api, finish):
    whole = ANSWERS[api]
    for cut in range(1, whole.index(finish)):
        assert read(api, whole[:cut])["error_class"] == "truncated", whole[:cut]
        lost = read(api, whole[:cut], error_class="timeout", error_message="no byte for 9 s")
        assert (lost["error_class"], lost["error_message"]) == ("timeout", "no byte for 9 s"), whole[:cut]
    assert read(api)["error_class"] == "malformed", "a 200 response without a body"
    assert read("openai", b"ddd", error_class="timeout", error_message="x")["error_class"] == "timeout"


def test_an_answer_that_was_finished_before_the_connection_broke_is_an_answer():
    for api in APIS:
        assert_read(read(api, ANSWERS[api], error_class="timeout", error_message="x"))
    assert_read(read("openai", OPENAI_ANSWER[: OPENAI_ANSWER.index(b'"usage"')]), prompt_tokens=None)


def test_done_after_a_text_ends_an_answer_whose_server_gives_no_reason():
    assert_read(read("openai", sse(A) + DONE), "a", finish_reason="unknown", output_tokens=None)
    assert_read(read("openai", sse(A, {"choices": [{"finish_reason": 7}]})), "a", finish_reason="unknown")
    assert_read(read("openai", b'{"choices": [{"message": {"content": "a"}}]}'), "a", finish_reason="unknown")


def test_the_first_token_is_text_or_reasoning_when_the_last_byte_of_its_line_arrives():
    role, hmm = sse(delta(role="assistant", content="")), sse(delta(reasoning="hmm"))
    line = sse(A)
    found = read("openai", role, line[:9], line[9:-2], b"\n\n", sse(STOP))
    assert found["arrivals_s"] == [3.0]
    found = read("openai", role, hmm, hmm.replace(b'"reasoning"', b'"reasoning_content"'), line, sse(STOP))
    assert (found["arrivals_s"], found["reasoning_chars"], found["text"]) == ([2.0, 3.0, 4.0], 6, "a")
    quiet, thought = ndjson({"message": {"content": ""}}), ndjson({"message": {"thinking": "hmm"}})
    found = read("ollama", quiet, thought, OLLAMA_ANSWER)
    assert (found["arrivals_s"][0], found["reasoning_chars"], found["text"]) == (2.0, 3, TEXT)


def test_ollamas_nanoseconds_become_seconds_and_what_it_leaves_out_is_unknown():
    found = read("ollama", OLLAMA_ANSWER)
    assert [found[f"server_{part}_s"] for part in ("load", "prefill", "decode")] == [1.5, 0.25, 0.125]
    found = read("ollama", ndjson({"message": {"content": "a"}, "done": True, "eval_duration": -1}))
    assert (found["prompt_tokens"], found["server_decode_s"]) == (None, None)


def test_lone_surrogates_and_broken_utf8_cost_a_character_and_can_be_stored():
    for raw in (rb'"\ud800"', rb'"\udfff\ud800"', b'"\xff"'):
        found = read("openai", b'data: {"choices":[{"delta":{"content":%s}}]}\n\n' % raw + sse(STOP))
        assert found["error_class"] is None
        assert set(found["text"]) == {"\ufffd"}
        assert orjson.dumps(found["text"])


def test_a_count_is_read_in_any_dress_and_unknown_when_it_cannot_be_one():
    assert [count_of(value) for value in (7, 7.0, "7", " 7.0 ", 0)] == [7, 7, 7, 7, 0]
    for value in (-1, "-1", True, "many", None, [], float("nan"), float("inf"), 10**400, 1e300):
        assert count_of(value) is None, value


LAST_LINES = [
    ("openai", b'data: {"choices": []}\n\ndata: [DONE]', True),
    ("openai", b"data: [DONE]\r\n\r\n: ping\n\n", True),
    ("openai", b"x\rdata:[DONE] \r", True),
    ("openai", b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n', False),
    ("openai", b'data: {"choices":[{"delta":{"content":"data: [DONE]', False),
    ("openai", b"data: [DONE", False),
    ("openai", b"data: [DONE]x", False),
    ("ollama", OLLAMA_ANSWER, True),
    ("ollama", OLLAMA_ANSWER[OLLAMA_ANSWER.index(b'"done":true') - 9 :], True),
    ("ollama", OLLAMA_ANSWER.replace(b'"done":true', b'"done" : true') + b'{"status":"idle"}\n', True),
    ("ollama", OLLAMA_ANSWER.rstrip(), False),
    ("ollama", ndjson({"message": {"content": '"done":true'}, "done": False}), False),
    ("ollama", ndjson({"message": {"content": '\\"done":true'}, "done": False}), False),
]


@pytest.mark.parametrize(("api", "tail", "ended"), LAST_LINES)
def test_the_last_line_is_known_by_its_beginning_and_never_by_a_text_that_looks_like_it(api, tail, ended):
    assert bool(LAST_LINE[api].search(tail)) is ended


REFUSALS = [
    (503, b'{"error": "server busy"}', "", "busy", "HTTP 503: server busy"),
    (429, b"", "", "busy", "HTTP 429: no body"),
    (
        400,
        b'{"detail": {"error": "text_generation_busy", "message": "later"}}',
        "",
        "busy",
        "HTTP 400: later",
    ),
    (500, b'{"error": {"message": "oops"}}', "", "http_status", "HTTP 500: oops"),
    (422, b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', "", "http_status", '"msg": "bad"'),
    (404, b"<html>no such\npage</html>", "", "http_status", "HTTP 404: <html>no such page</html>"),
    (500, b'{"error":' + DEEP, "", "http_status", "HTTP 500: "),
    (307, b"", "http://me:pw@b:1/v1", "http_status", "redirected to http://b:1/v1, which is not"),
    (302, b"", "", "http_status", "redirected to nowhere"),
]


@pytest.mark.parametrize(("status", "body", "location", "error_class", "message"), REFUSALS)
def test_another_status_than_200_is_named(status, body, location, error_class, message):
    headers = httpx.Headers({"location": location} if location else {})
    found = read("openai", body, status=status, headers=headers)
    assert found["error_class"] == error_class
    assert message in found["error_message"]
    assert "\n" not in found["error_message"]


def test_a_key_that_the_server_echoes_is_masked_wherever_a_cut_falls():
    for before in range(230, 300):
        found = read("openai", sse({"error": f"{'x' * before} {KEY}"}))
        assert not any(KEY[:n] in found["error_message"] for n in range(6, len(KEY)))
    assert KEY not in str(read("openai", sse(delta(content=f"I saw {KEY}"), delta(KEY)) + DONE))


def test_sixty_four_thousand_tokens_and_a_full_answer_of_one_byte_lines_are_read_in_linear_time():
    began_s = time.process_time()
    body = sse(*[A] * 64_000, STOP) + DONE
    found = read("openai", *(body[i : i + 1400] for i in range(0, len(body), 1400)))
    assert len(found["text"]) == 64_000
    for rubbish in (b"\n", b"data: [\n", b"data:\n\n"):
        read("openai", rubbish * (8_000_000 // len(rubbish)))
    assert time.process_time() - began_s < 60, "quadratic reading would take hours"

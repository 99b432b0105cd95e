"""Reading the bytes of an answer: pure, from an Exchange, in every cut and in every dialect."""

import time

import orjson
import pytest

from poc_lib.client import Exchange, PreparedRequest
from poc_lib.client.chat import LAST_LINE, read_exchange
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
    arrivals_s = [at for at, _, _ in answer.chunks]
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


DIALECTS = {
    "comments and other fields": b": ping\n\nevent: message\nid: 1\nretry: 9\nfoo: b\nbar\n" + OPENAI_ANSWER,
    "carriage returns": b"\xef\xbb\xbf" + OPENAI_ANSWER.replace(b"\n", b"\r\n"),
    "bare carriage returns": b"\xef\xbb\xbf" + OPENAI_ANSWER.replace(b"\n", b"\r"),
    "data over several lines": OPENAI_ANSWER.replace(b'"delta":', b'"delta":\ndata: '),
    "content as parts": sse(delta(content=[{"text": TEXT}, {"type": "image"}, 3]), STOP, USAGE),
    "counts as floats and texts": OPENAI_ANSWER.replace(b":812", b":812.0").replace(b":7,", b':"7",'),
    "no space after the colon": OPENAI_ANSWER.replace(b"data: ", b"data:"),
    "empty data": b"data:\n\ndata\n\ndata: \n\n" + OPENAI_ANSWER,
    "no blank lines between events": OPENAI_ANSWER.replace(b"\n\n", b"\n"),
    "no line end at the end": OPENAI_ANSWER.rstrip(),
    "no [DONE]": OPENAI_ANSWER.removesuffix(DONE),
    "heartbeats and rubbish after [DONE]": OPENAI_ANSWER + b": ping\n\n<html>data: {x\n\n",
    "one JSON object": b"\n\n  " + orjson.dumps(
        {"choices": [{"message": {"content": TEXT}, "finish_reason": "stop"}], "usage": USAGE["usage"]}
    ),
    "NaN and an odd field": OPENAI_ANSWER.replace(b'"index":0', b'"index":[{}],"logprobs":NaN'),
    "null choices before, null usage": sse({"choices": None, "usage": None, "error": None}) + OPENAI_ANSWER,
    "odd usage": OPENAI_ANSWER.replace(b"\n\n", b"\n\ndata: {\"usage\":\"many\"}\n\n", 1),
    "events of somebody else's": b"event: ping\ndata: 2026\n\nevent: ping\ndata: {}\n\n" + OPENAI_ANSWER,
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
    "rubbish after done": OLLAMA_ANSWER + b"<html>\n{x\n\n",
    "odd thinking": ndjson({"message": {"thinking": [1], "content": None}}) + OLLAMA_ANSWER,
    "no reason": OLLAMA_ANSWER.replace(b'"done_reason":"stop",', b""),
}
SPOKEN = [("openai", name) for name in DIALECTS] + [("ollama", name) for name in OLLAMA_DIALECTS]


@pytest.mark.parametrize(("api", "dialect"), SPOKEN)
def test_every_dialect_of_a_stream_is_read(api, dialect):
    found = read(api, (DIALECTS if api == "openai" else OLLAMA_DIALECTS)[dialect])
    assert_read(found, prompt_tokens=812, output_tokens=7)
    load_s = 1.5 if api == "ollama" else None
    assert (found.get("server_load_s"), found["reasoning_chars"]) == (load_s, 0)


DEEP = b"[" * 100_000
FAILURES = [
    ("openai", b"<html>not an API</html>", "malformed", "no chat answer: <html>"),
    ("openai", sse(A) + b"data: {not json}\n", "malformed", ": {not json}"),
    ("openai", sse(A) + b'data: {"a":' + DEEP + b"\n", "malformed", '{"a":[[['),
    ("openai", sse(A, [1]), "malformed", "dict expected, found list"),
    ("openai", sse(A, {"choices": 3}), "malformed", "list expected, found int"),
    ("openai", sse(A, delta(content=3)), "malformed", "str expected, found int"),
    ("openai", b'{"hello": 1}', "malformed", "no chat answer"),
    ("openai", b'{"error": {"message": "out\\nof memory"}}', "server_error", "out of memory"),
    ("openai", b'{"object": "error", "message": "too long"}', "server_error", "too long"),
    ("openai", sse(A, {"error": {"message": "oops", "code": 500}}) + DONE, "server_error", "oops"),
    ("openai", sse({"error": {"code": "text_generation_busy"}}), "busy", "text_generation_busy"),
    ("openai", sse(STOP, {"error": "oops"}), "server_error", "oops"),
    ("openai", b"event: error\ndata: worker died\n\n", "server_error", "worker died"),
    ("openai", b'data: {"message": "late"}\r\nevent: error\r\n\r\n', "server_error", "late"),
    ("openai", sse(A), "truncated", "before the server said"),
    ("openai", b": ping\n\n" * 9 + DONE, "malformed", "no chat answer: : ping"),
    ("openai", sse(A) + b'data: {"choices', "truncated", "before the server said"),
    ("openai", sse(delta(reasoning="hmm"), delta("length")), "empty", "(length) without any text, after 3"),
    ("ollama", b"<html>", "malformed", "no chat answer: <html>"),
    ("ollama", b"[]\n", "malformed", "no chat answer: []"),
    ("ollama", b"{x}\n", "malformed", ": {x}"),
    ("ollama", b'{"message": "a"}\n', "malformed", "dict expected, found str"),
    ("ollama", ndjson(SAYS_A) + b'{"message": ' + DEEP, "truncated", "before the server said"),
    ("ollama", ndjson(SAYS_A, {"error": "runner\nstopped"}), "server_error", "runner stopped"),
    ("ollama", ndjson({"message": {"content": " \n"}, "done": True}), "empty", "(stop) without any text"),
]  # fmt: skip


REFUSALS = [
    (b'{"error": "server busy"}', "busy", "HTTP 503: server busy", 503),
    (b"", "busy", "HTTP 429: no body", 429),
    (b'{"detail": {"error": "text_generation_busy", "message": "later"}}', "busy", "HTTP 400: later", 400),
    (b'{"detail": [{"loc": ["body"], "msg": "bad"}]}', "http_status", '"msg": "bad"', 422),
    (b"<html>no such\npage</html>", "http_status", "HTTP 404: <html>no such page</html>", 404),
    (b'{"error":' + DEEP, "http_status", "HTTP 500: ", 500),
]
ROWS = [(*row, 200) for row in FAILURES] + [("openai", *row) for row in REFUSALS]


@pytest.mark.parametrize(("api", "body", "error_class", "message", "status"), ROWS)
def test_what_is_no_answer_is_named_in_one_line_and_keeps_what_came(api, body, error_class, message, status):
    found = read(api, body, status=status)
    assert found["error_class"] == error_class
    assert message in found["error_message"]
    assert "\n" not in found["error_message"]
    assert found["text"].strip() == ("a" if b'"content":"a"' in body else "")


@pytest.mark.parametrize(("api", "finish"), [("openai", b'"stop"'), ("ollama", b'"done":true')])
def test_a_body_cut_at_any_byte_before_its_end_is_truncated_and_keeps_the_transports_word(api, finish):
    whole = ANSWERS[api]
    for cut in range(1, whole.index(finish)):
        if b"}\n" in whole[:cut]:
            assert read(api, whole[:cut])["error_class"] == "truncated", whole[:cut]
        lost = read(api, whole[:cut], error_class="timeout", error_message="no byte for 9 s")
        assert (lost["error_class"], lost["error_message"]) == ("timeout", "no byte for 9 s"), whole[:cut]
    assert read(api)["error_class"] == "malformed", "a 200 response without a body"


def test_an_answer_that_was_finished_before_the_connection_broke_or_without_a_reason_is_an_answer():
    for api in APIS:
        assert_read(read(api, ANSWERS[api], error_class="timeout", error_message="x"))
    assert_read(read("openai", OPENAI_ANSWER[: OPENAI_ANSWER.index(b'"usage"')]), prompt_tokens=None)
    assert_read(read("openai", sse(A) + DONE), "a", finish_reason="unknown", output_tokens=None)


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
    for odd in (b"-1", b"true", b'"many"', b"null", b"[]", b"NaN", b"1" * 400):
        found = read("ollama", OLLAMA_ANSWER.replace(b"812", odd).replace(b"125000000", odd))
        assert_read(found, prompt_tokens=None, server_decode_s=None, output_tokens=7)


def test_lone_surrogates_and_broken_utf8_cost_a_character_and_can_be_stored():
    for raw in (rb'"\ud800"', rb'"\udfff\ud800"', b'"\xff"'):
        found = read("openai", b'data: {"choices":[{"delta":{"content":%s}}]}\n\n' % raw + sse(STOP))
        assert found["error_class"] is None
        assert set(found["text"]) == {"\ufffd"}
        assert orjson.dumps(found["text"])


LAST_LINES = [
    ("openai", b'data: {"choices": []}\n\ndata: [DONE]', True),
    ("openai", b"data: [DONE]\r\n\r\n: ping\n\n", True),
    ("openai", b"x\rdata:[DONE] \r", True),
    ("openai", b'data: {"choices":[{"delta":{"content":"data: [DONE]"}}]}\n\n', False),
    ("openai", b'data: {"choices":[{"delta":{"content":"data: [DONE]', False),
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

"""Reading the bytes of a stream: pure, from an Exchange, in every cut."""

import orjson
import pytest

from poc_lib.servers import PreparedRequest, ollama, openai
from poc_lib.servers.chat import read_exchange
from poc_lib.servers.exchange import Exchange, one_line
from tests.builders import (
    ANSWERS,
    DONE,
    MODEL,
    OLLAMA_ANSWER,
    OPENAI_ANSWER,
    TEXT,
    delta,
    ndjson,
    settings,
    sse,
)

APIS = ("openai", "ollama")


def read(api, *pieces, **transport):
    """The answer in the pieces, the first of which arrives after 1 s, the second after 2 s, …"""
    chunks = [(second * 10**9, piece) for second, piece in enumerate(pieces, start=1)]
    exchange = Exchange(start_ns=0, end_ns=10**12, headers_ns=1, status=200, chunks=chunks)
    for name, value in transport.items():
        setattr(exchange, name, value)
    return read_exchange(PreparedRequest("f1", api, "http://x", b"", {}), exchange)


@pytest.mark.parametrize("api", APIS)
def test_an_answer_is_the_same_cut_in_two_at_any_byte(api):
    whole = ANSWERS[api]
    for cut in range(1, len(whole)):
        answer = read(api, whole[:cut], whole[cut:])
        assert (answer.error_class, answer.text, answer.output_tokens) == (None, TEXT, 7), cut


@pytest.mark.parametrize("api", APIS)
def test_an_answer_is_the_same_in_one_piece_and_byte_by_byte(api):
    whole = ANSWERS[api]
    one, single = read(api, whole), read(api, *(whole[i : i + 1] for i in range(len(whole))))
    assert (one.text, one.prompt_tokens, one.finish_reason) == (TEXT, 812, "stop")
    assert (single.text, single.prompt_tokens, single.finish_reason) == (TEXT, 812, "stop")


@pytest.mark.parametrize("api", APIS)
def test_carriage_returns_at_the_line_ends_change_nothing(api):
    assert read(api, ANSWERS[api].replace(b"\n", b"\r\n")).text == TEXT


def test_the_role_chunk_is_not_the_first_token():
    answer = read(
        "openai", sse(delta(role="assistant", content="")), sse(delta(content="a")), sse(delta("stop"))
    )
    assert answer.arrivals_s == [2.0]


def test_reasoning_is_a_first_token_but_no_text():
    for key in ("reasoning", "reasoning_content"):
        answer = read("openai", sse(delta(**{key: "hmm"})), sse(delta(content="a")), sse(delta("stop")))
        assert (answer.arrivals_s, answer.reasoning_chars, answer.text) == ([1.0, 2.0], 3, "a")


def test_ollamas_thinking_is_a_first_token_but_no_text():
    thinking = ndjson({"message": {"content": "", "thinking": "hmm"}, "done": False})
    answer = read("ollama", thinking, OLLAMA_ANSWER)
    assert (answer.arrivals_s[0], answer.reasoning_chars, answer.text) == (1.0, 3, TEXT)


def test_an_empty_ollama_chunk_is_no_first_token():
    empty = ndjson({"message": {"role": "assistant", "content": ""}, "done": False})
    assert read("ollama", empty, OLLAMA_ANSWER).arrivals_s[0] == 2.0


def test_a_chunk_counts_when_the_last_byte_of_its_line_arrives():
    line = sse(delta(content="a"))
    assert read("openai", line[:9], line[9:], sse(delta("stop"))).arrivals_s == [2.0]


def test_usage_comes_in_a_chunk_without_choices():
    answer = read("openai", OPENAI_ANSWER)
    assert (answer.prompt_tokens, answer.output_tokens) == (812, 7)


def test_no_usage_is_not_known_and_not_zero():
    answer = read("openai", sse(delta(content="a"), delta("stop")) + DONE)
    assert (answer.error_class, answer.prompt_tokens, answer.output_tokens) == (None, None, None)


def test_a_finished_answer_needs_no_done_line():
    assert read("openai", OPENAI_ANSWER.removesuffix(DONE)).error_class is None


def test_a_last_line_without_a_line_end_is_read():
    assert read("openai", sse(delta(content="a")) + sse(delta("stop")).rstrip()).finish_reason == "stop"
    assert read("ollama", OLLAMA_ANSWER.rstrip()).output_tokens == 7


def test_nothing_is_read_after_done():
    assert read("openai", OPENAI_ANSWER + b"garbage\n").error_class is None


def test_comments_and_other_fields_of_the_event_stream_are_passed_over():
    around = b": ping\n\nevent: message\nid: 1\nretry: 10\n"
    assert read("openai", around + OPENAI_ANSWER).text == TEXT


def test_line_separators_inside_an_answer_do_not_split_it():
    text = "a\u2028b\u0085c\x0bd\x0ce"
    assert read("openai", b'data: {"choices":[{"delta":{"content":%s}}]}\n' % raw_json(text)).text == text


def raw_json(text):
    return orjson.dumps(text)  # U+2028 and U+0085 stay as they are


def test_a_long_line_in_many_pieces_is_read():
    words = "word " * 50_000
    line = sse(delta(content=words), delta("stop"))
    assert read("openai", *(line[i : i + 4096] for i in range(0, len(line), 4096))).text == words


def test_ollamas_nanoseconds_become_seconds():
    answer = read("ollama", OLLAMA_ANSWER)
    assert (answer.server_load_s, answer.server_prefill_s, answer.server_decode_s) == (1.5, 0.25, 0.125)


def test_a_prompt_count_that_ollama_leaves_out_is_not_known():
    assert read("ollama", ndjson({"message": {"content": "a"}, "done": True})).prompt_tokens is None


@pytest.mark.parametrize(("reason", "api"), [("length", "openai"), ("length", "ollama")])
def test_the_reason_of_the_end_is_kept(reason, api):
    ended = {
        "openai": sse(delta(content="a"), delta(reason)),
        "ollama": ndjson({"message": {"content": "a"}, "done": True, "done_reason": reason}),
    }
    assert read(api, ended[api]).finish_reason == reason


def test_a_stream_that_ends_before_the_end_is_truncated():
    assert read("openai", sse(delta(content="a")) + DONE).error_class == "truncated"
    assert read("ollama", ndjson({"message": {"content": "a"}, "done": False})).error_class == "truncated"


@pytest.mark.parametrize(("api", "finish"), [("openai", b'"stop"'), ("ollama", b'"done":true')])
def test_a_stream_cut_at_any_byte_before_its_end_is_truncated(api, finish):
    whole = ANSWERS[api]
    for cut in range(1, whole.index(finish)):
        assert read(api, whole[:cut]).error_class == "truncated", whole[:cut]


def test_a_stream_cut_after_its_end_is_an_answer():
    cut = OPENAI_ANSWER.index(b'"usage"')
    assert read("openai", OPENAI_ANSWER[:cut]).error_class is None


@pytest.mark.parametrize("api", APIS)
def test_half_a_line_before_a_broken_connection_is_truncated_not_malformed(api):
    whole = ANSWERS[api]
    answer = read(api, whole[: len(whole) // 3], error_class="truncated", error_message="ReadError")
    assert (answer.error_class, answer.error_message) == ("truncated", "ReadError")


def test_an_answer_finished_before_the_connection_broke_is_an_answer():
    assert read("openai", OPENAI_ANSWER, error_class="timeout", error_message="x").error_class is None


def test_no_text_is_empty_and_says_how_much_was_thought():
    answer = read("openai", sse(delta(reasoning="hmm"), delta("length")))
    assert answer.error_class == "empty"
    assert answer.error_message == "finished (length) without any text, after 3 characters of thinking"
    assert read("ollama", ndjson({"message": {"content": " \n"}, "done": True})).error_class == "empty"


@pytest.mark.parametrize("api", APIS)
def test_a_200_without_a_body_is_malformed(api):
    assert read(api).error_class == "malformed"


def test_an_error_inside_a_200_stream_is_the_servers():
    answer = read(
        "openai", sse(delta(content="a"), {"error": {"message": "out of memory", "code": 500}}) + DONE
    )
    assert (answer.error_class, answer.error_message, answer.text) == ("server_error", "out of memory", "a")
    answer = read("ollama", ndjson({"message": {"content": "a"}}, {"error": "runner\nstopped"}))
    assert (answer.error_class, answer.error_message) == ("server_error", "runner stopped")


def test_a_busy_route_inside_a_200_stream_is_busy():
    assert read("openai", sse({"error": {"code": "text_generation_busy"}})).error_class == "busy"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>not an API</html>",
        b"data: {not json}\n",
        b"data: [1]\n",
        b"data: 3\n",
        b'data: {"choices": 3}\n',
        b'data: {"choices": ["a"]}\n',
        b'data: {"choices": [{"delta": "a"}]}\n',
        b'data: {"choices": [{"delta": {"content": [{"type": "text"}]}}]}\n',
        b'data: {"choices": [], "usage": [1]}\n',
        b'data: {"choices": [], "usage": {"prompt_tokens": "many"}}\n',
        b'data: {"choices":\ndata: []}\n',
        b'\xef\xbb\xbfdata: {"choices": []}\n',
        b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n',
    ],
)
def test_bytes_that_are_not_openais_stream_are_malformed_and_break_nothing(body):
    answer = read("openai", sse(delta(content="a")) + body)
    assert answer.error_class == "malformed"
    assert "\n" not in answer.error_message


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]\n", b'{"message": "a"}\n', b'{"message": {"content": 3}}\n', b'data: {"a": 1}\n']
)
def test_bytes_that_are_not_ollamas_stream_are_malformed_and_break_nothing(body):
    assert read("ollama", body).error_class == "malformed"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ({"error": {"message": "a"}}, "a"),
        ({"error": "b"}, "b"),
        ({"detail": {"error": "text_generation_busy", "message": "c"}}, "c"),
        ({"detail": "d"}, "d"),
        ({"error": None, "detail": "e"}, "e"),
        ("f", "f"),
    ],
)
def test_the_message_is_found_in_every_shape_of_an_error(payload, text):
    assert openai.error_text(payload) == text


def test_the_body_is_what_each_api_wants():
    sent = orjson.loads(openai.encode_chat(b"png", "image/png", MODEL, settings()))
    assert sent["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,cG5n"
    assert (sent["stream"], sent["stream_options"], sent["max_tokens"]) == (True, {"include_usage": True}, 64)
    sent = orjson.loads(ollama.encode_chat(b"png", "image/png", MODEL, settings()))
    assert sent["messages"][0]["images"] == ["cG5n"]
    assert sent["options"] == {"temperature": 0.3, "num_predict": 64}


def test_the_address_follows_the_api():
    assert openai.chat_url("http://h:1/v1/") == "http://h:1/v1/chat/completions"
    assert ollama.chat_url("http://h:1/v1") == ollama.chat_url("http://h:1/") == "http://h:1/api/chat"


def test_a_message_is_one_line_and_cut():
    assert one_line("a\n  b") == "a b"
    assert len(one_line("x" * 400)) == 300

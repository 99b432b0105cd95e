import pytest

from poc_lib.checks.facts import refused_limit
from poc_lib.checks.replies import check_replies, check_reply, check_thinking
from tests.builders import MODEL, reply
from tests.test_checks_kit import (
    assert_reads_well,
    facts_of,
    failed_reply,
    ollama_spec,
    one,
    states,
    vllm_spec,
)

TOO_MANY = "HTTP 400: max_tokens exceeds server limit (32768)"


def lines_of(answered, max_tokens=1024, **changes):
    checks = check_replies(facts_of(vllm_spec(), reply=answered, **changes), max_tokens)
    for check in checks:
        assert_reads_well(check)
    return checks


def test_an_answer_with_its_tokens_is_fine():
    checks = lines_of(reply())
    assert states(checks) == {"vllm-mlx: one request": "ok", "vllm-mlx: max_tokens": "ok"}
    assert "0.50 s, 2.00 s in all, 100 prompt and 31 output" in one(checks, "vllm-mlx: one request").found


def test_the_time_to_load_the_model_is_told_apart():
    assert "(of these 12.5 s to load the model)" in check_reply(reply(server_load_s=12.5)).found
    assert "load" not in check_reply(reply(server_load_s=0.02)).found


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"output_tokens": None}, "no output token count"),
        ({"prompt_tokens": None}, "0 prompt"),
        ({"prompt_tokens": 0}, "0 prompt"),
    ],
)
def test_missing_token_counts_are_a_warning(changes, words):
    check = check_reply(reply(**changes))
    assert check.state == "warning"
    assert words in check.found
    assert_reads_well(check)


@pytest.mark.parametrize(
    ("answered", "words"),
    [
        (failed_reply("busy", "HTTP 503: busy"), "stop whoever else"),
        (failed_reply("http_status", "HTTP 500: Internal Server Error"), "server's log"),
        (failed_reply("timeout", "ReadTimeout"), "timeout_s"),
        (failed_reply("empty", "finished (length) without any text", reasoning_chars=900), "instruct model"),
    ],
)
def test_a_failed_request_is_a_problem_and_its_only_line(answered, words):
    (check,) = lines_of(answered)
    assert (check.about, check.state) == ("vllm-mlx: one request", "problem")
    assert words in check.to_do


def test_no_answer_in_time_is_a_problem():
    (check,) = lines_of(None)
    assert check.state == "problem"
    assert "no whole answer within 300 s" in check.found


def test_nothing_sent_has_no_line():
    assert lines_of(None, sent=False) == []


def test_max_tokens_above_the_servers_limit_names_the_limit():
    refused = failed_reply("http_status", TOO_MANY)
    assert refused_limit(refused) == 32768
    (check,) = lines_of(refused, max_tokens=40000)
    assert (check.about, check.state) == ("vllm-mlx: max_tokens", "problem")
    assert check.found == "40000 is above the server's limit of 32768"
    assert "32768 or less" in check.to_do


def test_max_tokens_beyond_ollamas_context_is_a_warning():
    loaded = [{"name": "other", "context_length": 99999}, {"name": f"{MODEL}:latest", "context_length": 1100}]
    facts = facts_of(ollama_spec(), reply=reply(prompt_tokens=100), loaded=loaded)
    check = one(check_replies(facts, 1024), "ollama: max_tokens")
    assert check.state == "warning"
    assert "exceed the context of 1100" in check.found
    assert "OLLAMA_CONTEXT_LENGTH" in check.to_do
    assert one(check_replies(facts, 1000), "ollama: max_tokens").state == "ok"


@pytest.mark.parametrize(
    "changes", [{"finish_reason": "length"}, {"output_tokens": 1024}, {"output_tokens": 1026}]
)
def test_an_answer_that_was_cut_is_a_warning_whatever_its_finish_reason_says(changes):
    check = one(lines_of(reply(**changes)), "vllm-mlx: max_tokens")
    assert check.state == "warning"
    assert "cut at 1024 tokens" in check.found


def test_a_limit_so_high_that_one_answer_holds_up_the_others_is_a_warning():
    assert one(lines_of(reply(), max_tokens=30000), "vllm-mlx: max_tokens").state == "warning"
    assert one(lines_of(reply(), max_tokens=2048), "vllm-mlx: max_tokens").state == "ok"


def ollama_facts(model="qwen3-vl:4b", capabilities=("vision", "thinking"), **changes):
    details = {"capabilities": list(capabilities)}
    identity = {"details": details, "model": model}
    return facts_of(ollama_spec(model=model), identity, **changes)


def test_a_thinking_model_against_an_instruct_one_names_the_instruct_tag():
    thinking = ollama_facts(reply=reply(reasoning_chars=812))
    (check,) = check_thinking([thinking, facts_of(vllm_spec())])
    assert (check.about, check.state) == ("ollama: thinking", "warning")
    assert check.found == (
        "qwen3-vl:4b thinks (812 characters before this answer), tiny-vlm at vllm-mlx does not"
    )
    assert "use qwen3-vl:4b-instruct here" in check.to_do
    assert_reads_well(check)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("qwen3-vl", "qwen3-vl:8b-instruct"),
        ("qwen3-vl:latest", "qwen3-vl:8b-instruct"),
        ("qwen3-vl:30b-a3b-thinking", "qwen3-vl:30b-a3b-instruct"),
        ("gemma4:12b", "an instruct model"),
    ],
)
def test_the_instruct_tag_is_that_of_the_same_size(model, words):
    (check,) = check_thinking([ollama_facts(model), facts_of(vllm_spec())])
    assert f"use {words} here" in check.to_do


@pytest.mark.parametrize("changes", [{"reasoning_chars": 5}, {"text": "hm</think>an editor"}])
def test_thinking_is_also_told_by_the_answer(changes):
    candidate = facts_of(vllm_spec(), reply=reply(**changes))
    (check,) = check_thinking([ollama_facts(capabilities=["vision"]), candidate])
    assert check.about == "vllm-mlx: thinking"


def test_two_thinking_models_or_one_alone_are_fair_and_still_named():
    thinking = ollama_facts()
    (alone,) = check_thinking([thinking])
    (both,) = check_thinking([thinking, facts_of(vllm_spec(), reply=reply(reasoning_chars=3))])
    for check in (alone, both):
        assert (check.about, check.state) == ("thinking", "warning")
        assert_reads_well(check)


def test_no_thinking_has_no_line_and_a_server_that_is_down_is_not_compared():
    assert check_thinking([facts_of(vllm_spec()), ollama_facts(capabilities=[])]) == []
    down = facts_of(vllm_spec(), {"reachable": False, "problem": "down: start it"}, reply=None)
    (check,) = check_thinking([ollama_facts(), down])
    assert check.about == "thinking"

import pandas as pd
import pytest

from poc_lib.fairness import FairnessLine, fairness_lines
from poc_lib.fairness.models import bits_of, quantisation_of, size_of
from poc_lib.metrics import Baseline
from poc_lib.telemetry.tables import telemetry_table
from tests.builders import failed, reply, table

MEASURED = Baseline("ollama", True, 1, 0.5, 15.0, True)
RECORDED = Baseline("ollama", False, 1, 0.125, 38.0, True)
NO_TELEMETRY = telemetry_table([])
OURS = {"name": "vllm-mlx", "role": "candidate", "api": "openai", "software": "vllm-mlx", "version": None}
OURS |= {"model": "Qwen3-VL-4B-Instruct-4bit", "details": {"health": {"engine_type": "batched"}}}
THEIRS = {"name": "ollama", "role": "baseline", "api": "ollama", "software": "ollama", "version": "0.12"}
THEIRS |= {"model": "qwen3-vl:4b-instruct", "details": {"details": {"quantization_level": "Q4_K_M"}}}


def ollama(frame_id="f1", **changes):
    return reply(frame_id, **({"server": "ollama", "role": "baseline"} | changes))


def lines(
    *replies, about=None, identities=(OURS, THEIRS), events=(), baseline=MEASURED, params=None, telemetry=None
) -> list[FairnessLine]:
    samples = NO_TELEMETRY if telemetry is None else telemetry
    requests = table(replies or [reply(), ollama()])
    found = fairness_lines(requests, list(identities), list(events), samples, baseline, params or {})
    return [line for line in found if about in (None, line.about)]


def only(*replies, **given) -> FairnessLine:
    (line,) = lines(*replies, **given)
    return line


def test_answers_of_other_lengths_name_the_length_matched_rate():
    line = only(reply(output_tokens=62), reply("b", output_tokens=62), ollama(), about="answer length")
    assert "vllm-mlx wrote 62 tokens an answer (n = 2), ollama 31 (n = 1): 2.00 ×" in line.text
    assert "favours ollama" in line.detail
    assert "length-matched" in line.detail
    assert line.severity == "warning"


@pytest.mark.parametrize(
    ("tokens", "severity"), [(31, None), (34, None), (35, "note"), (39, "warning"), (28, "note"), (29, None)]
)
def test_lengths_apart_by_ten_percent_are_a_note_by_a_quarter_a_warning(tokens, severity):
    found = lines(reply(output_tokens=tokens), ollama(), about="answer length")
    assert [line.severity for line in found] == ([severity] if severity else [])


def test_lengths_that_nobody_counted_say_nothing():
    assert not lines(reply(output_tokens=None), ollama(), about="answer length")
    assert not lines(failed(), ollama(), about="answer length")


def test_lengths_are_held_against_the_baselines_own_level():
    replies = [reply(), ollama(), ollama(concurrency=4, output_tokens=500)]
    assert not lines(*replies, about="answer length")


def test_each_candidate_is_compared():
    replies = [ollama(), reply(output_tokens=62), reply(server="mlx-vlm", output_tokens=93)]
    assert [line.text[:8] for line in lines(*replies, about="answer length")] == ["vllm-mlx", "mlx-vlm "]


def test_thinking_on_one_side_is_a_warning_on_both_a_note():
    line = only(reply(), ollama(reasoning_chars=900), about="thinking")
    assert "0% of vllm-mlx's answers (n = 1) and 100% of ollama's (n = 1)" in line.text
    assert line.severity == "warning"
    both = only(reply(reasoning_chars=3), ollama(reasoning_chars=900), about="thinking")
    assert both.severity == "note"
    assert not lines(about="thinking")


def test_a_model_that_can_think_and_did_not_is_a_note():
    capable = THEIRS | {"details": {"capabilities": ["vision", "thinking"]}}
    line = only(identities=(OURS, capable), about="thinking")
    assert "none of its 1 answers" in line.text
    thought = only(reply(), ollama(reasoning_chars=9), identities=(OURS, capable), about="thinking")
    assert "preceded by thinking" in thought.text
    assert line.severity == "note"


def test_other_prompt_counts_are_compared_frame_by_frame():
    replies = [reply("a", prompt_tokens=300), reply("b", prompt_tokens=600), reply("c", prompt_tokens=9000)]
    replies += [ollama("a", prompt_tokens=150), ollama("b", prompt_tokens=300)]
    line = only(*replies, about="prompt tokens")
    assert "2.00 × ollama's prompt tokens (median of n = 2 frames: 450 and 225)" in line.text
    assert not lines(reply(prompt_tokens=105), ollama(prompt_tokens=100), about="prompt tokens")
    assert not lines(reply(prompt_tokens=0), ollama(prompt_tokens=100), about="prompt tokens")


def test_sampling_is_said():
    assert "temperature 0.3" in only(params={"temperature": 0.3}, about="temperature").text
    assert not lines(params={"temperature": 0.0}, about="temperature")


@pytest.mark.parametrize(
    ("model", "told", "quantisation", "bits", "size"),
    [
        ("mlx-community/Qwen3-VL-4B-Instruct-3bit", None, "3bit", 3, 4.0),
        ("qwen3-vl:30b-a3b-q4_K_M", None, "q4_K_M", 4, 30.0),
        ("qwen3-vl:4b", {"quantization_level": "Q8_0", "parameter_size": "4.4B"}, "Q8_0", 8, 4.0),
        ("minicpm-v:latest", {"quantization_level": "unknown", "parameter_size": "7.6B"}, None, None, 7.6),
        ("Qwen3-VL-2B-4bit-DWQ", None, "4bit DWQ", 4, 2.0),
        ("gemma-3-4b-it-bf16", None, "bf16", 16, 4.0),
        ("tiny", None, None, None, None),
    ],
)
def test_names_and_details_tell_quantisation_and_size(model, told, quantisation, bits, size):
    identity = {"model": model, "details": {"details": told}}
    assert quantisation_of(identity) == quantisation
    assert bits_of(quantisation_of(identity)) == bits
    assert size_of(identity) == size


def test_other_names_of_the_same_kind_are_a_note_with_the_digest():
    digest = {"digest": "sha256:0123456789abcdef", "details": {"quantization_level": "Q4_K_M"}}
    line = only(identities=(OURS, THEIRS | {"details": digest}), about="model")
    assert line.severity == "note"
    assert "'Qwen3-VL-4B-Instruct-4bit' (4bit)" in line.text
    assert "(Q4_K_M, digest 0123456789ab)" in line.text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("Qwen3-VL-4B-Instruct-3bit", "quantisation (3 and 4 bits)"),
        ("Qwen3-VL-8B-Instruct-4bit", "size (8 and 4 billion"),
        ("Qwen3-VL-4B-Thinking-4bit", "kind (thinking and instruct)"),
    ],
)
def test_another_size_quantisation_or_kind_is_a_warning(model, words):
    line = only(identities=(OURS | {"model": model}, THEIRS), about="model")
    assert line.severity == "warning"
    assert words in line.detail


def test_the_same_model_name_and_bits_say_nothing():
    same = {"model": "demo-vlm", "details": {}}
    assert not lines(identities=(OURS | same, THEIRS | same), about="model")


def test_a_baseline_tried_one_at_a_time_is_a_warning_unless_it_cannot_do_more():
    about = "baseline's parallel requests"
    other = only(identities=(OURS, THEIRS | {"model": "gemma3:4b"}), about=about)
    assert "only tried with one request at a time (n = 1 requests)" in other.text
    assert other.severity == "warning"
    qwen = only(about=about)
    assert qwen.severity == "note"
    assert "parallel = 1 whatever" in qwen.detail
    simple = {"api": "openai", "software": "vllm-mlx", "details": {"health": {"engine_type": "simple"}}}
    vllm_mlx = only(identities=(OURS, THEIRS | simple), about=about)
    assert vllm_mlx.severity == "note"
    assert "refuses a second request" in vllm_mlx.detail


def test_a_baseline_tried_at_several_levels_says_which_was_best():
    replies = [reply(), ollama(), ollama(concurrency=4, total_s=4.0)]
    line = only(*replies, about="baseline's parallel requests")
    assert "tried at 1, 4 in flight and was best at 1" in line.text
    assert "0.50 at 1; 0.25 at 4" in line.text


def test_recorded_figures_are_a_warning_and_compared_with_nothing():
    found = lines(reply(output_tokens=900), ollama(), baseline=RECORDED)
    assert [(line.about, line.severity) for line in found] == [("baseline", "warning")]
    assert "0.125 frames/s and 38 output tok/s are recorded" in found[0].text


def test_warnings_come_first():
    found = lines(reply(output_tokens=62), ollama(), params={"temperature": 0.3})
    severities = [line.severity for line in found]
    assert severities == sorted(severities, reverse=True)
    assert set(severities) == {"note", "warning"}


def test_a_fair_run_has_no_warning():
    cell = {"event": "cell_started", "sitting": 0, "concurrency": 1, "block": 0, "cache_cleared": True}
    events = [{"event": "sitting_started", "sitting": 0, "servers": [OURS, THEIRS]}]
    events += [cell | {"server": "ollama"}, cell | {"server": "vllm-mlx"}]
    events += [{"event": "sitting_ended", "sitting": 0}]
    found = lines(events=events, params={"temperature": 0.0})
    assert [line.about for line in found] == ["baseline's parallel requests", "model"]
    assert {line.severity for line in found} == {"note"}


def test_empty_tables_are_no_error():
    requests = table([reply(phase="warmup")])
    assert fairness_lines(requests, [OURS, THEIRS], [], pd.DataFrame(), MEASURED, {}) == []

"""Two plainly different pictures, the first again, and none: what the answers say about the server."""

import pytest
from PIL import Image

from poc_lib.checks.probe import PICTURES, Probe, draw_picture, judge_probe, probe_images
from tests.builders import reply, settings
from tests.test_checks_kit import (
    assert_reads_well,
    chat_server,
    failed_reply,
    ollama_answer,
    ollama_spec,
    openai_answer,
    picture_in,
    probe_of,
    serving,
    vllm_spec,
)


def judged(probe, software="vllm-mlx", version="0.6.0"):
    check = judge_probe("vllm-mlx", probe, software, version)
    assert check.about == "vllm-mlx: answers depend on the image"
    assert_reads_well(check)
    return check


def test_two_answers_and_the_first_again_are_fine():
    assert judged(probe_of("invoice", "flight", " invoice\n")).state == "ok"


def test_a_replay_is_told_by_the_tokens_that_the_picture_added():
    check = judged(probe_of("invoice", "invoice", "invoice", ttfts_s=(0.5, 0.05, 0.05, 0.1)), version=None)
    assert check.state == "problem"
    assert "in 10% of the first's time: a cache replays another image" in check.found
    assert "--disable-prefix-cache" in check.to_do


def test_a_slow_replay_is_still_a_replay():
    assert "replays" in judged(probe_of("invoice", "invoice", "invoice"), version=None).found


def test_a_replay_in_a_version_that_should_not_is_not_told_to_upgrade():
    check = judged(probe_of("invoice", "invoice", "invoice"), version="0.6.1")
    assert "replays" in check.found
    assert check.to_do == "start it with --disable-prefix-cache"


def test_a_replay_by_another_server_is_not_told_to_upgrade_vllm_mlx():
    assert "vllm-mlx" not in judged(probe_of("a", "a", "a"), software="mlx-vlm", version=None).to_do


@pytest.mark.parametrize("n_tokens", [28, 31])
def test_a_model_without_vision_is_told_by_the_tokens_that_are_missing(n_tokens):
    tokens = (n_tokens, n_tokens, n_tokens, 28)
    check = judged(probe_of("text", "text", "text", tokens=tokens, ttfts_s=(0.5, 0.1, 0.1, 0.1)))
    assert check.state == "problem"
    assert f"adds {'no' if n_tokens == 28 else 'only 3'} prompt tokens" in check.found
    assert "does not see images" in check.found
    assert "--mllm" in check.to_do


@pytest.mark.parametrize("version", [None, "0.5.0"])
def test_without_token_counts_a_fast_answer_may_be_either(version):
    fast = {"ttfts_s": (0.5, 0.05, 0.05, 0.1), "tokens": (0, 0, 0, 0)}
    check = judged(probe_of("text", "text", "text", **fast), version=version)
    assert check.state == "problem"
    assert "a cache replays it, or no image is seen" in check.found
    assert "upgrade" in check.to_do
    assert "--mllm" in check.to_do


def test_a_model_that_says_it_is_text_only_is_believed():
    probe = probe_of("text", "text", "text", ttfts_s=(0.5, 0.05, 0.05, 0.1), tokens=(28, 28, 28, 28))
    found = judge_probe("vllm-mlx", probe, "vllm-mlx", None, text_only=True).found
    assert "does not see images" in found
    assert "cache" not in found


def test_without_token_counts_a_slow_answer_is_a_model_without_vision():
    check = judged(probe_of("text", "text", "text", tokens=(0, 0, 0, 0)), version=None)
    assert check.found == "two different pictures got one answer: the model does not see images"


def test_a_model_of_ollamas_without_vision_is_told_in_ollamas_words():
    probe = probe_of("text", "text", "text", ttfts_s=(0.5, 0.05, 0.05, 0.1), tokens=(28, 28, 28, 28))
    assert "qwen3-vl:4b-instruct" in judged(probe, software="ollama", version=None).to_do


def test_the_second_pictures_answer_to_the_first_is_a_replay():
    check = judged(probe_of("invoice", "flight", "flight"))
    assert check.state == "problem"
    assert "sent again, got the second's answer" in check.found


@pytest.mark.parametrize(
    ("tokens", "state", "words"),
    [
        ((260, 260, 260, 30), "ok", "adds 230 prompt tokens"),
        ((31, 31, 31, 28), "problem", "does not see images"),
        ((None, None, None, None), "warning", "says nothing"),
    ],
)
def test_answers_that_waver_are_judged_by_the_tokens(tokens, state, words):
    check = judged(probe_of("one", "two", "three", tokens=tokens))
    assert check.state == state
    assert words in check.found


def test_a_probe_that_failed_or_came_late_is_a_warning():
    refused = failed_reply("busy", "HTTP 503: text_generation_busy")
    assert "could not be probed (busy: HTTP 503" in judged(Probe((reply(), refused))).found
    late = judged(Probe((reply(),)))
    assert late.state == "warning"
    assert "not done within" in late.found


def test_a_failure_without_a_picture_does_not_spoil_the_probe():
    replies = (
        *probe_of("a", "b", "a").replies[:3],
        failed_reply("http_status", "HTTP 400", prompt_tokens=None),
    )
    probe = Probe(replies)
    assert probe.image_tokens is None
    assert judged(probe).state == "ok"


def test_the_pictures_are_plainly_different(tmp_path):
    first, second = (Image.open(draw_picture(tmp_path, name).image_path) for name in PICTURES)
    assert first.size == second.size == (640, 360)
    assert sum(abs(a - b) for a, b in zip(first.getpixel((5, 5)), second.getpixel((5, 5)), strict=True)) > 300


async def sent(make, answer, thinks=False, **changes):
    """The bodies that a server of ours got, and the probe."""
    bodies = []

    def respond(body):
        bodies.append(body)
        return answer(body)

    async with serving(chat_server({}, respond)) as server:
        asked = make(server.base_url if make is vllm_spec else server.url)
        probe = await probe_images(asked, settings(**changes), simulated=False, thinks=thinks)
    return bodies, probe


async def test_one_prompt_goes_with_two_pictures_the_first_again_and_none():
    answers = {}
    bodies, probe = await sent(
        vllm_spec,
        lambda body: openai_answer(answers.setdefault(picture_in(body), f"answer {len(answers)}"), 100),
    )
    first, second, again, none = map(picture_in, bodies)
    assert first
    assert second
    assert first == again != second
    assert none == ""
    assert [reply.text for reply in probe.replies] == ["answer 0", "answer 1", "answer 0", "answer 2"]
    assert {body["temperature"] for body in bodies} == {0.0}
    assert {body["messages"][0]["content"][0]["text"] for body in bodies} == {"Describe."}
    assert judged(probe).state == "ok"


async def test_ollama_gets_the_same_pictures_its_own_way():
    bodies, probe = await sent(ollama_spec, lambda body: ollama_answer("the same"))
    assert ["images" in body["messages"][0] for body in bodies] == [True, True, True, False]
    assert probe.image_tokens == 0
    assert judged(probe, software="ollama").state == "problem"


@pytest.mark.parametrize(("thinks", "n_tokens"), [(False, 64), (True, 900)])
async def test_a_model_that_thinks_gets_all_the_tokens_to_come_to_an_answer(thinks, n_tokens):
    bodies, _ = await sent(vllm_spec, lambda body: openai_answer("x", 9), thinks=thinks, max_tokens=900)
    assert {body["max_tokens"] for body in bodies} == {n_tokens}


async def test_the_first_failure_ends_the_probe():
    bodies, probe = await sent(vllm_spec, lambda body: b"not an event\n\n")
    assert len(bodies) == len(probe.replies) == 1
    assert "could not be probed (malformed" in judged(probe).found

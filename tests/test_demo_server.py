"""The simulated servers: real processes, asked over real HTTP; their answers and times.

What the OpenAI-compatible one has in common with real servers is in engine/test_contract.py.
"""

import asyncio

import numpy as np
import pytest

from demo.engine import Engine, Job, plan_wave
from demo.model import read_knowledge
from demo.server import start
from poc_lib.client import check_server
from poc_lib.client.stamp import proof_prompt
from poc_lib.records import Server, SetupProblem
from poc_lib.telemetry import snapshot_counters
from tests.demo_kit import MODEL, PROMPT, ask, demo, quote, running, screenshots, serving, stamped, text_of


async def test_a_simulated_ollama_tells_about_itself_as_the_real_one():
    with running("ollama") as server:
        asked = Server("ollama", "baseline", "ollama", server.url, MODEL, (1,))
        identity = await check_server(asked)
        assert (identity.problem, identity.simulated, identity.models) == (None, True, (MODEL,))
        assert "vision" in identity.details["capabilities"]
        assert await snapshot_counters(asked) == {"context_length": 4096}


async def test_an_ollama_answer_ends_with_durations_in_nanoseconds():
    async with serving("ollama") as client:
        *lines, last = await ask(client, "ollama", screenshots()[7])
    assert quote(7) in "".join(line["message"]["content"] for line in lines)
    assert (last["done"], last["done_reason"], any(line["done"] for line in lines)) == (True, "stop", False)
    parts = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    assert 0 < parts <= last["total_duration"] + 2e6
    assert 10e6 < last["eval_duration"] < 100e6


async def test_the_code_in_the_strip_is_told_only_where_the_prompt_asks_for_it():
    image = stamped(20, "CDFHJK")
    async with serving() as client:
        assert (await text_of(client, image, proof_prompt(PROMPT))).endswith(" | code: CDFHJK")
        assert (await text_of(client, screenshots()[20], proof_prompt(PROMPT))).endswith(" | code: none")
        plain = await text_of(client, image)
        assert quote(20) in plain
        assert "code" not in plain


async def planned_s(api, level, seed):
    """Seconds that 24 frames take at a level, as planned: no clock is asked."""
    engine, seconds = Engine(api, seed, (), read_knowledge(demo().answers)), 0.0
    entries = list(engine.knowledge.entries.values())[seed::5][:24]
    for begin in range(0, 24, level):
        engine.wave = [Job(PROMPT, 1000, 700, asyncio.Future(), 0.0) for _ in range(level)]
        for job, entry in zip(engine.wave, entries[begin : begin + level], strict=True):
            job.sight.set_result((entry, None))
        seconds += plan_wave(engine, 0.0, 0.01)
    return seconds


async def test_the_candidate_is_planned_two_to_three_times_as_fast_at_eight_in_flight():
    for seed in range(4):
        baseline = await planned_s("ollama", 1, seed)
        ratios = [baseline / await planned_s("openai", level, seed) for level in (1, 2, 4, 8)]
        assert ratios == pytest.approx([0.95, 1.55, 2.2, 2.45], rel=0.06)
        assert baseline / 24 == pytest.approx(0.05, rel=0.15)


async def test_the_same_seed_gives_the_same_service_times():
    async def durations(seed):
        async with serving("ollama", seed=seed) as client:
            answers = [await ask(client, "ollama", image) for image in screenshots()[:4]]
            return [(answer[-1]["eval_count"], answer[-1]["eval_duration"]) for answer in answers]

    first, again, other = [await durations(seed) for seed in (3, 3, 4)]
    assert [tokens for tokens, _ in first] == [tokens for tokens, _ in again]
    assert np.median(np.abs(np.subtract(first, again))) < 1  # the median: a busy machine may disturb one
    assert first != other


def test_a_server_that_cannot_start_says_so_and_one_that_ended_can_be_stopped(tmp_path):
    with pytest.raises(SetupProblem, match="did not start"):
        start("openai", MODEL, tmp_path / "nothing.json")
    with running() as server:
        server.process.kill()
    assert server.process.returncode is not None

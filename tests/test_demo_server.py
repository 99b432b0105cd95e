"""The simulated servers: real processes, asked over real HTTP; their routes, answers and times."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from demo.engine import Engine, Job, plan_wave
from demo.model import read_knowledge
from demo.server import start, stop
from poc_lib.client.stamp import proof_prompt
from poc_lib.records import SetupProblem
from tests.demo_kit import (
    CHAT,
    PROMPT,
    ROOT,
    ask,
    chat_body,
    demo,
    quote,
    screenshots,
    serving,
    stamped,
    text_of,
)


async def test_a_simulated_vllm_mlx_tells_about_itself_as_the_real_one():
    async with serving() as client:
        await text_of(client, screenshots()[0])
        root = str(client.base_url).removesuffix("/v1/")
        health = (await client.get(f"{root}/health")).json()
        assert (health["simulated"], health["engine_type"], health["model_name"]) == (
            True,
            "batched",
            "demo-vlm",
        )
        assert [card["id"] for card in (await client.get("/models")).json()["data"]] == ["demo-vlm"]
        status = (await client.get("/status")).json()
        assert (status["num_running"], status["num_waiting"], status["total_requests_processed"]) == (0, 0, 1)
        assert status["total_completion_tokens"] > 20
        metrics = (await client.get(f"{root}/metrics")).text
        assert 'vllm_mlx_inference_requests_total{result="success"} 1.0' in metrics.splitlines()
        assert (await client.delete("/cache")).json()["status"] == "cleared"
        assert (await client.get("/nothing")).status_code == 404


async def test_a_simulated_ollama_tells_about_itself_as_the_real_one():
    async with serving("ollama") as client:
        assert "simulated" in (await client.get("/api/version")).json()["version"]
        assert [card["name"] for card in (await client.get("/api/tags")).json()["models"]] == ["demo-vlm"]
        assert (await client.get("/api/ps")).json()["models"][0]["size_vram"] > 1e9
        shown = (await client.post("/api/show", json={"model": "demo-vlm"})).json()
        assert "vision" in shown["capabilities"]


async def test_an_openai_answer_is_role_text_finish_usage():
    async with serving() as client:
        chunks = await ask(client, "openai", screenshots()[7])
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant"}
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]][-2:] == [None, "stop"]
        assert chunks[-1]["choices"] == []
        usage = chunks[-1]["usage"]
        assert usage["prompt_tokens"] > 576
        assert 30 <= usage["completion_tokens"] <= 90
        assert len(chunks) <= 16
        assert quote(7) in await text_of(client, screenshots()[7])
        cut = await ask(client, "openai", screenshots()[7], max_tokens=5)
        assert (cut[-2]["choices"][0]["finish_reason"], cut[-1]["usage"]["completion_tokens"]) == (
            "length",
            5,
        )


async def test_an_ollama_answer_ends_with_durations_in_nanoseconds():
    async with serving("ollama") as client:
        lines = await ask(client, "ollama", screenshots()[7])
        assert quote(7) in "".join(line["message"]["content"] for line in lines)
        assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
        last = lines[-1]
        parts = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
        assert 0 < parts <= last["total_duration"] + 2e6
        assert 10e6 < last["eval_duration"] < 100e6
        assert last["done_reason"] == "stop"


async def test_a_wrong_request_is_refused_and_the_server_goes_on():
    wrong = [
        ({"model": "other"}, 404),
        ({"messages": [{"role": "user", "content": "hello"}]}, 400),
        ({"messages": 3}, 400),
        (chat_body("openai", b"no image"), 400),
    ]
    async with serving() as client:
        for body, status in wrong:
            reply = await client.post(CHAT["openai"], json=chat_body("openai", screenshots()[0]) | body)
            assert (reply.status_code, bool(reply.json()["detail"])) == (status, True)
        assert quote(0) in await text_of(client, screenshots()[0])


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
        start("openai", "demo-vlm", tmp_path / "nothing.json")
    server = start("openai", "demo-vlm", demo().answers)
    server.process.kill()
    stop(server)
    assert server.process.returncode is not None


def test_a_server_ends_when_the_process_that_started_it_is_killed():
    code = (
        "import time; from pathlib import Path; from demo.server import start;"
        f"print(start('ollama', 'm', Path({str(demo().answers)!r})).process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    os.kill(pid, 0)  # it runs
    parent.kill()
    parent.communicate()
    for _ in range(400):
        if not (Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()):
            return
        time.sleep(0.05)
    pytest.fail("the server outlives its parent")

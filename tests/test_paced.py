"""The paced server: its deadlines, and its end."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE

import httpx

from poc_lib.client.transport import ExactTransport, fetch
from tests.demo_kit import ROOT


async def test_the_paced_server_answers_on_time_and_ends_with_its_standard_input():
    command = [sys.executable, "demo/paced.py", "--ttft_ms", "60", "--chunks", "5", "--gap_ms", "20"]
    server = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    url = json.loads(await server.stdout.readline())["url"]
    request = httpx.Request("POST", f"{url}/chat/completions", content=b"x" * 200_000)
    async with httpx.AsyncClient(transport=ExactTransport()) as client:
        for _ in range(2):
            exchange = await fetch(client, request)
            text = b"".join(piece for _, piece in exchange.chunks)
            lines = [json.loads(line[6:]) for line in text.splitlines() if line.startswith(b"data: {")]
            first_ns = next(ns for ns, piece in exchange.chunks if b"word0" in piece)
            assert first_ns - exchange.start_ns > 60e6
            assert exchange.end_ns - exchange.start_ns > 140e6
            assert [line["choices"][0]["delta"].get("content") for line in lines[:2]] == [None, "word0 "]
            assert lines[-1]["usage"] == {"prompt_tokens": 1000, "completion_tokens": 5}
            assert text.endswith(b"data: [DONE]\n\n")
    server.stdin.close()
    assert await asyncio.wait_for(server.wait(), 10) == 0

"""``python -m demo.server API MODEL ANSWERS SEED [FAULT …]``: a simulated server; prints its URL as JSON.

It answers as vllm-mlx does (OpenAI's API, server-sent events, waves) or as Ollama does (lines of JSON, one
request at a time), and speaks HTTP/1.1 by hand, as it shares its machine with the client that is measured.
"""

import asyncio
import base64
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import orjson
from PIL import Image, ImageFile, UnidentifiedImageError

from demo.engine import BROKEN, Engine, Job, run_engine, sleep_until
from demo.faults import parse_faults, planted
from demo.model import CODE_MARK, look, read_knowledge
from poc_lib.records import Api, SetupProblem

HOST = "127.0.0.1"
ROUTES = Path(__file__).with_name("routes.json").read_text(encoding="utf-8")
CHAT = {"openai": "POST /v1/chat/completions", "ollama": "POST /api/chat"}
IMAGE_TOKEN_PX = 32  # a prompt token for each square of so many pixels
LOAD_S = 0.001  # what Ollama calls loading when the model is loaded already
GARBAGE = b'{"message": {"content":'


class Handle(NamedTuple):
    """A running simulated server."""

    url: str  # ends in /v1 for "openai"; the root for "ollama"
    process: subprocess.Popen


class Refusal(Exception):
    """Raised with an HTTP status and the detail that the real server would give."""


@dataclass(slots=True, eq=False)
class Connection:
    """One client's connection, and the server behind it."""

    engine: Engine
    model: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def serve(self) -> None:
        """Answer requests until the client goes away or a fault breaks the connection."""
        engine, clock = self.engine, asyncio.get_running_loop().time
        engine.free_since[self] = clock()
        try:
            while True:
                line, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = dict(field.lower().split(": ", 1) for field in fields if ": " in field)
                raw = await self.reader.readexactly(int(headers.get("content-length", 0)))
                route, status = line.rpartition(" ")[0], 200
                engine.free_since.pop(self, None)
                try:
                    body = await self.chat(raw) if route == CHAT[engine.api] else self.describe(route)
                except Refusal as refusal:
                    status, detail = refusal.args
                    body = orjson.dumps({"detail" if engine.api == "openai" else "error": detail})
                if body:
                    head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\n"
                    self.writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
                else:
                    engine.free_since[self] = clock()
                await self.writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.writer.close()
        finally:
            engine.free_since.pop(self, None)

    def describe(self, route: str) -> bytes:
        """What the server says about itself at a route; Refusal for an unknown one."""
        engine = self.engine
        engine.end = float("-inf")  # whoever asks this between two requests does not hurry
        said = orjson.loads(ROUTES.replace("MODEL", self.model))[engine.api].get(route)
        if said is None:
            raise Refusal(404, "Not Found")
        if route == "DELETE /v1/cache":
            engine.first_said.clear()
        if route == "GET /v1/status":
            waiting = len(engine.queue)
            said |= {"num_running": engine.in_flight - waiting, "num_waiting": waiting}
            said |= {"total_requests_processed": engine.n_answered}
            said |= {"total_completion_tokens": engine.n_tokens}
        return orjson.dumps(said)

    async def chat(self, raw: bytes) -> None:
        """Stream one answer, or what was planted in its place."""
        engine, (job, body) = self.engine, self.admit(raw)
        kind = "text/event-stream; charset=utf-8" if engine.api == "openai" else "application/x-ndjson"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        engine.in_flight += 1
        try:
            async for data in self.events(job, body) if engine.api == "openai" else self.lines(job):
                if self.reader.at_eof() or self.writer.transport.is_closing():
                    raise ConnectionResetError("the client went away")
                self.writer.write(head + b"%x\r\n%b\r\n" % (len(data), data))
                head = b""
        except ConnectionError:
            if job.own and job.ending not in BROKEN.split():
                engine.given_up.append(job.own)
            raise
        finally:
            engine.in_flight -= 1
        self.writer.write(b"0\r\n\r\n")
        engine.n_answered += 1
        engine.n_tokens += len(job.tokens)

    def admit(self, raw: bytes) -> tuple[Job, dict]:
        """Read a chat request and queue it; Refusal where the real server refuses, or a fault does."""
        engine = self.engine
        engine.n_chats += 1
        if any(fault.name == "crash_after" and engine.n_chats > fault.amount for fault in engine.faults):
            os._exit(3)
        fault = planted(engine.faults, "error busy", engine.in_flight + 1, engine.seed, engine.n_chats)
        if fault == "error":
            raise Refusal(500, "Internal server error during generation")
        if fault == "busy":
            raise Refusal(503, {"error": "text_generation_busy", "message": "route is busy; retry later"})
        try:
            body = orjson.loads(raw)
            [message] = body["messages"]
            if engine.api == "openai":
                text, picture = message["content"]
                prompt, image = text["text"], picture["image_url"]["url"].partition(",")[2]
            else:
                prompt, [image] = message["content"], message["images"]
            image = base64.b64decode(image, validate=True)
            width, height = Image.open(io.BytesIO(image)).size
        except (ValueError, KeyError, TypeError, UnidentifiedImageError) as problem:
            raise Refusal(400, f"not a prompt with one image: {problem!r}"[:200]) from None
        if body.get("model") != self.model:
            found = f"The model `{body.get('model')}` does not exist"
            raise Refusal(404, f"{found}. Available model: `{self.model}`")
        job = Job(
            prompt=prompt,
            max_tokens=body.get("max_tokens") or body.get("options", {}).get("num_predict") or 32768,
            prompt_tokens=-(-width // IMAGE_TOKEN_PX) * -(-height // IMAGE_TOKEN_PX) + len(prompt) // 4,
            sight=asyncio.create_task(asyncio.to_thread(look, engine.knowledge, image, CODE_MARK in prompt)),
            arrived=asyncio.get_running_loop().time(),
        )
        engine.queue.append(job)
        engine.work.set()
        return job, body

    async def pieces(self, job: Job) -> AsyncIterator[str]:
        """The answer's text as it becomes due; hangs or breaks the connection where that was planted."""
        await job.planned.wait()
        for due, piece in job.chunks():
            await sleep_until(due)
            yield piece
        await sleep_until(job.end)
        if job.ending == "hang":
            await self.reader.read()
        if job.ending in ("hang", "cut"):
            self.writer.transport.abort()
            raise ConnectionResetError

    async def events(self, job: Job, body: dict) -> AsyncIterator[bytes]:
        """Server-sent events as vllm-mlx sends them: role, text, finish, usage, [DONE]."""
        names = {"id": f"chatcmpl-{id(job):x}", "object": "chat.completion.chunk", "model": self.model}

        def event(delta: dict | None, finish: str | None = None, usage: dict | None = None) -> bytes:
            choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
            chunk = names | {"created": int(time.time()), "choices": choices, "usage": usage}
            return b"data: %b\n\n" % orjson.dumps(chunk)

        yield event({"role": "assistant"})
        async for piece in self.pieces(job):
            yield event({"content": piece})
        if job.ending == "garbage":
            yield b"data: %b\n\n" % GARBAGE
        yield event({}, "length" if job.ending == "length" else "stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            counts = {"prompt_tokens": job.prompt_tokens, "completion_tokens": len(job.tokens)}
            yield event(None, usage=counts | {"total_tokens": sum(counts.values())})
        yield b"data: [DONE]\n\n"

    async def lines(self, job: Job) -> AsyncIterator[bytes]:
        """Lines of JSON as Ollama sends them, the last one with its own durations in nanoseconds."""

        def line(text: str, **more: object) -> bytes:
            message = {"role": "assistant", "content": text}
            about = {"model": self.model, "created_at": datetime.now(UTC).isoformat(), "message": message}
            return orjson.dumps(about | {"done": False} | more) + b"\n"

        async for piece in self.pieces(job):
            yield line(piece)
        if job.ending == "garbage":
            yield GARBAGE + b"\n"
        seconds = {
            "total_duration": job.end - job.arrived,
            "load_duration": LOAD_S,
            "prompt_eval_duration": max(0.0, job.first - job.start - LOAD_S),
            "eval_duration": job.end - job.first,
        }
        last = {name: round(value * 1e9) for name, value in seconds.items()}
        last |= {"prompt_eval_count": job.prompt_tokens, "eval_count": len(job.tokens)}
        yield line("", done=True, done_reason="length" if job.ending == "length" else "stop", **last)


def start(api: Api, model: str, answers: Path, *, faults: Sequence[str] = (), seed: int = 0) -> Handle:
    """Start a server on a free port of this machine, in a process of its own; returns when it listens.

    Raises SetupProblem for a fault that is not understood, and when the process does not start.
    """
    parse_faults(faults)
    process = subprocess.Popen(
        [sys.executable, "-m", "demo.server", api, model, str(answers.resolve()), str(seed), *faults],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,  # its end, when we end, is the sign to go
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C at the terminal is not for it
    )
    line = process.stdout.readline()
    if not line:
        raise SetupProblem(f"the simulated server did not start (exit status {process.wait()})")
    return Handle(orjson.loads(line)["url"], process)


def stop(server: Handle) -> None:
    """End a server; one that has ended already is fine."""
    server.process.kill()
    server.process.communicate()


async def serve(api: Api, model: str, answers: Path, seed: int, faults: list[str]) -> None:
    """Listen on a free port, print the URL, and serve for ever."""
    engine = Engine(api, seed, parse_faults(faults), read_knowledge(answers))
    running = asyncio.create_task(run_engine(engine))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(engine, model, reader, writer).serve()

    server = await asyncio.start_server(connected, HOST, 0, backlog=1024)
    url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}{'/v1' if api == 'openai' else ''}"
    try:
        os.write(sys.stdout.fileno(), orjson.dumps({"url": url}) + b"\n")
    except BrokenPipeError:  # whoever started it is no more
        return
    await running


if __name__ == "__main__":  # it ends with its stdin: when its parent closes it, or is no more
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    ImageFile.LOAD_TRUNCATED_IMAGES = True  # as the real servers do, in this process alone
    asyncio.run(serve(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))

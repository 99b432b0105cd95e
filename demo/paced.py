"""A server whose answers are due at exact moments: what a client measures beyond them, it added itself.

``python -m demo.paced --ttft_ms 210 --chunks 48 --gap_ms 10`` prints its address as one JSON line, answers
every request alike, and serves until its standard input closes.
"""

import argparse
import asyncio
import json
import os
import selectors
import sys

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(choices: list[dict], **fields) -> bytes:
    data = b"data: %s\n\n" % json.dumps({"id": "paced", "choices": choices, **fields}).encode()
    return b"%x\r\n%s\r\n" % (len(data), data)


def _answer(chunks: int) -> list[bytes]:
    deltas = [{"role": "assistant"}, *({"content": f"word{i} "} for i in range(chunks))]
    parts = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    parts[0] = HEAD + parts[0]
    parts[-1] += _chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    parts[-1] += _chunk([], usage={"prompt_tokens": 1000, "completion_tokens": chunks})
    return [*parts[:-1], parts[-1] + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]


class Paced(asyncio.Protocol):
    """One connection: a request's last byte starts the clock, every chunk has its own deadline after it."""

    def __init__(self, parts: list[bytes], due_s: list[float]):
        self.parts, self.due_s = parts, due_s
        self.head, self.body_left, self.timer = b"", None, None

    def connection_made(self, transport):
        self.transport, self.loop = transport, asyncio.get_running_loop()

    def connection_lost(self, exc):
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes):
        if self.body_left is None:
            self.head, end, data = (self.head + data).partition(b"\r\n\r\n")
            if not end:
                return
            lines = self.head.lower().split(b"\r\n")
            self.body_left = sum(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        self.body_left -= len(data)
        if self.body_left <= 0:
            self.head, self.body_left = b"", None
            self.send(0, self.loop.time())

    def send(self, part: int, start_s: float):
        self.transport.write(self.parts[part])
        if part + 1 < len(self.parts):
            self.timer = self.loop.call_at(start_s + self.due_s[part + 1], self.send, part + 1, start_s)


async def _serve(ttft_ms: float, chunks: int, gap_ms: float):
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    parts, due_s = _answer(chunks), [0.0, *((ttft_ms + gap_ms * i) / 1000 for i in range(chunks))]
    server = await loop.create_server(lambda: Paced(parts, due_s), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    try:
        os.write(sys.stdout.fileno(), json.dumps({"url": f"http://127.0.0.1:{port}/v1"}).encode() + b"\n")
    except BrokenPipeError:  # whoever started it is no more
        return
    loop.add_reader(0, lambda: os.read(0, 4096) or ended.set())  # whoever started it holds the other end
    await ended.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--ttft_ms", type=float, default=210)
    parser.add_argument("--chunks", type=int, default=48)
    parser.add_argument("--gap_ms", type=float, default=10)
    # select(2) waits in microseconds; epoll in whole milliseconds, and every chunk would be late
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_serve(**vars(parser.parse_args())))

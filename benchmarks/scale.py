"""Memory and rate while many frames are sent, and while many replies are read back.

python benchmarks/scale.py --frames 1000 10000 100000 --replies 1000000
"""

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from poc_lib.client import ChatSettings, PreparedRequest
from poc_lib.measure.instrument import paced_server
from poc_lib.measure.loop import Load, run_cell
from poc_lib.records import Cell, Reply
from poc_lib.runs import Run, read_requests, reply_writer

ROOT = Path(__file__).resolve().parent.parent
BODY_BYTES, IN_FLIGHT = 200_000, 64


def peak_mb() -> float:
    """The most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def send(n_frames: int) -> dict:
    """One cell of many frames, every body made anew just ahead of need, every reply written."""
    with tempfile.TemporaryDirectory() as folder, paced_server() as url:
        run = Run(Path(folder), {"params": {}, "servers": [], "frames": []})

        def make(position: int) -> PreparedRequest:
            body = bytes(BODY_BYTES)
            headers = {"content-type": "application/json"}
            return PreparedRequest(f"r{position}", "f", "openai", f"{url}/chat/completions", body, headers)

        with reply_writer(run) as write:
            settings, cell = ChatSettings("", 0, 64, 60, 120), Cell("s", "candidate", IN_FLIGHT, 0, "pilot")
            load = Load(settings, 0, True, time.perf_counter_ns(), lambda reply, state: write(reply))
            started_s = time.perf_counter()
            state = asyncio.run(run_cell(load, cell, n_frames, make))
    rate = n_frames / (time.perf_counter() - started_s)
    return {
        "what": f"{n_frames:,} frames sent",
        "a second": round(rate),
        "peak MB": round(peak_mb()),
        "failed": state.n_failed,
    }


def read(n_replies: int) -> dict:
    """A requests.jsonl of many replies, written, then read back as a frame."""
    row = {
        "in_flight": 8,
        "total_s": 1.2,
        "ttft_s": 0.2,
        "output_tokens": 60,
        "sent_at": "",
        "simulated": True,
    }
    row |= {"arrivals_s": [round(0.2 + 0.0113 * i, 5) for i in range(60)], "phase": "confirm", "sitting": 0}
    row |= {"server": "s", "role": "candidate", "concurrency": 8}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), {"params": {}, "servers": [], "frames": []})
        started_s = time.perf_counter()
        with reply_writer(run) as write:
            for i in range(n_replies):
                own = {
                    "request_id": f"s/confirm/c8/b{i // 24}/s0/{i % 24:03d}",
                    "block": i // 24,
                    "slot": i % 8,
                }
                own |= {
                    "frame_id": f"f{i % 500}",
                    "start_s": i * 0.1,
                    "text": f"description: number {i} " * 14,
                }
                write(Reply(**row, **own))
        written_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        table = read_requests(run)
    took_s = time.perf_counter() - started_s
    each_us = 1e6 * written_s / n_replies
    what = f"{len(table):,} replies read in {took_s:.1f} s, appended in {each_us:.0f} µs each"
    return {"what": what, "a second": round(n_replies / took_s), "peak MB": round(peak_mb()), "failed": 0}


def main() -> None:
    """Print a Markdown table, each row from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--replies", type=int, nargs="*", default=[1_000_000])
    parser.add_argument("--one", nargs=2, metavar=("send|read", "N"))
    args = parser.parse_args()
    if args.one:
        print(json.dumps({"send": send, "read": read}[args.one[0]](int(args.one[1]))))
        return
    print("| what | a second | peak MB | failed |\n|---|---|---|---|")
    for kind, n in [*(("send", n) for n in args.frames), *(("read", n) for n in args.replies)]:
        command = [sys.executable, "-m", "benchmarks.scale", "--one", kind, str(n)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        print("| " + " | ".join(str(value) for value in json.loads(done.stdout).values()) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Memory and rate while many frames are sent, and while many replies are read back.

python benchmarks/scale.py --frames 1000 10000 100000 --replies 1000000
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from poc_lib.client import ChatSettings, PreparedRequest
from poc_lib.measure.instrument import paced_server
from poc_lib.measure.loop import Load, run_cell
from poc_lib.records import Cell, Reply
from poc_lib.runs import Run, read_requests, reply_writer

BODY_BYTES, IN_FLIGHT = 200_000, 64


def tell(what: str, n: int, took_s: float, n_failed: int = 0) -> str:
    """A row of the table, with the most memory that this process has held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return f"| {what} | {n / took_s:.0f} | {peak:.0f} | {n_failed} |"


def send(n_frames: int) -> str:
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
    return tell(f"{n_frames:,} frames sent", n_frames, time.perf_counter() - started_s, state.n_failed)


def read(n_replies: int) -> str:
    """A requests.jsonl of many replies, written, then read back as a frame."""
    row = {"server": "s", "role": "candidate", "concurrency": 8, "phase": "confirm", "sitting": 0}
    row |= {"in_flight": 8, "total_s": 1.2, "ttft_s": 0.2, "output_tokens": 60, "sent_at": ""}
    row |= {"simulated": True, "arrivals_s": [round(0.2 + 0.0113 * i, 5) for i in range(60)]}
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), {"params": {}, "servers": [], "frames": []})
        started_s = time.perf_counter()
        with reply_writer(run) as write:
            for i in range(n_replies):
                block, place = divmod(i, 24)
                own = {"request_id": f"s/confirm/c8/b{block}/s0/{place:03d}", "block": block, "slot": i % 8}
                own |= {"frame_id": f"f{i % 500}", "start_s": i / 10, "text": f"description: item {i} " * 14}
                write(Reply(**row, **own))
        each_us = 1e6 * (time.perf_counter() - started_s) / n_replies
        started_s = time.perf_counter()
        table = read_requests(run)
        took_s = time.perf_counter() - started_s
    what = f"{len(table):,} replies read in {took_s:.1f} s, appended in {each_us:.0f} µs each"
    return tell(what, n_replies, took_s)


def main() -> None:
    """Print a Markdown table, each row from a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--replies", type=int, nargs="*", default=[1_000_000])
    args = parser.parse_args()
    print("| what | a second | peak MB | failed |\n|---|---|---|---|")
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for task, n in [*((send, n) for n in args.frames), *((read, n) for n in args.replies)]:
            print(pool.submit(task, n).result(), flush=True)


if __name__ == "__main__":
    main()

"""What sampling servers and machine costs: a simulated sweep with and without it, taking turns.

    .venv/bin/python benchmarks/telemetry_cost.py --rounds 5

Prints frames/s and p99 TTFT of each sweep, their ratios with / without (median, range over the rounds), and
the sampling process's share of one core. On a busy machine the range over rounds says how much to believe.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile

from poc_lib.metrics import summarize_latency, summarize_speed
from poc_lib.params_reading import validate_params
from poc_lib.runs import Run, read_telemetry, requests_table
from poc_lib.sweep import run_sitting


def speed_and_tail(run: Run, n_frames: int) -> tuple[float, float]:
    """Frames/s and p99 TTFT in seconds of a run with one level."""
    requests = requests_table(run)
    latency = summarize_latency(requests).set_index("measure")
    speed = summarize_speed(requests, n_frames, n_frames)
    return float(speed["frames_per_s"].iloc[0]), float(latency["p99"]["ttft_s"])


def core_share(run: Run) -> float:
    """CPU seconds of the sampling process per second, its start left out."""
    hosts = [sample for sample in read_telemetry(run) if sample["source"] == "host"]
    first, last = hosts[0], hosts[-1]
    return (last["sampler_cpu_s"] - first["sampler_cpu_s"]) / (last["asked_s"] - first["asked_s"])


def take_turn(asked: argparse.Namespace, folder: str, number: int, every_s: float) -> Run:
    """One sweep of a round, with or without (0) sampling; it prints its line."""
    values = {"outputs_dir": folder, "baseline_url": "", "warmup_requests": 1, "telemetry_every_s": every_s}
    values |= {"n_frames": asked.n_frames, "concurrency": [asked.in_flight], "demo_speed": asked.demo_speed}
    params = validate_params(values | {"run_id": f"round-{number}-{every_s}"})
    run = asyncio.run(run_sitting(params)).run
    frames_per_s, ttft_p99_s = speed_and_tail(run, asked.n_frames)
    kind = f"sampled every {every_s:g} s" if every_s else "not sampled"
    print(f"{kind:22} {frames_per_s:6.3f} frames/s   p99 TTFT {ttft_p99_s:6.3f} s", flush=True)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="pairs of sweeps")
    parser.add_argument("--n-frames", type=int, default=48)
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--every-s", type=float, default=1.0)
    parser.add_argument("--demo-speed", type=float, default=2.0)
    asked = parser.parse_args()
    ratios, shares = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            turns = (asked.every_s, 0.0) if number % 2 else (0.0, asked.every_s)
            runs = {every_s: take_turn(asked, folder, number, every_s) for every_s in turns}
            shares.append(core_share(runs[asked.every_s]))
            sides = [speed_and_tail(runs[every_s], asked.n_frames) for every_s in (asked.every_s, 0.0)]
            ratios.append([with_it / without for with_it, without in zip(*sides, strict=True)])
    for name, values in zip(("frames/s", "p99 TTFT"), zip(*ratios, strict=True), strict=True):
        middle, low, high = statistics.median(values), min(values), max(values)
        print(f"{name}: with / without {middle:.3f} ({low:.3f} to {high:.3f}, n = {len(values)})")
    print(f"sampling process: {100 * statistics.median(shares):.2f} % of a core (n = {len(shares)})")


if __name__ == "__main__":
    main()

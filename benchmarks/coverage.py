"""How often the intervals on a speed-up hold the true one: synthetic runs with a known truth.

    .venv/bin/python benchmarks/coverage.py --runs 500 > docs/coverage.md

Prints a Markdown page; progress goes to the standard error.
The truth is the ratio of expectations: the expected wall clock of the baseline's cell ÷ the expected wall
clock of the candidate's, over all frames, blocks, noise and drift that the scenario can draw (for waves with
the given number of frames per cell, since a last short wave is slower per frame). What differs between
scenarios is told in benchmarks/coverage_walls.py. The last rows go through a whole table of requests and
``estimate_speedups``; the others through the functions on arrays that it calls.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from coverage_page import PAGE, SUMMARY
from coverage_walls import LEVELS, SCENARIOS, Scenario, Walls, draw_walls, true_speedups
from scipy import stats

from poc_lib.intervals import estimate_speedups, mean_interval
from poc_lib.intervals.crossed import Spread, half_width, log_ratio, spread_of_mean
from poc_lib.intervals.groups import cut_for_intervals
from poc_lib.intervals.speedups import each_confidence

CONFIDENCE = 0.95
HEAD = (
    "scenario",
    "blocks",
    "frames",
    "coverage",
    "lowest level",
    "median width",
    "t over frames",
    "Satterthwaite",
    "all lower bounds together",
    "chosen level's bound",
)


def judge_level(walls: Walls, level: int, log_truth: float) -> pd.DataFrame:
    """One row a repetition: does the interval hold the truth, how wide is it, does the naive one hold it."""
    baseline, candidate = walls.baseline, walls.candidate[level]
    parts = [_judge(*pair, log_truth) for pair in _grouped(baseline, candidate, walls.alike, level)]
    judged = pd.concat(parts, ignore_index=True)
    estimate, linear = log_ratio([baseline], [candidate])
    n = linear.shape[-2] * linear.shape[-1]
    naive = stats.t.isf((1 - CONFIDENCE) / 2, n - 1) * linear.std(axis=(-2, -1), ddof=1) / np.sqrt(n)
    return judged.assign(naive=np.abs(estimate - log_truth) <= naive)


def _grouped(
    baseline: np.ndarray, candidate: np.ndarray, alike: np.ndarray, level: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Totals as repetitions × blocks × groups; one repetition at a time where hashes cut each differently."""
    chunks = [slice(None)] if not alike.any() else [slice(run, run + 1) for run in range(len(alike))]
    for chunk in chunks:
        groups = cut_for_intervals(alike[chunk][0], level)
        first = np.flatnonzero(np.diff(groups, prepend=-1))
        yield tuple(np.add.reduceat(side[chunk], first, axis=-1) for side in (baseline, candidate))


def _satterthwaite(spread: Spread) -> np.ndarray:
    """The usual alternative: one variance, one t quantile on approximate degrees of freedom."""
    if spread.n_blocks == 1 or spread.n_groups == 1:
        return half_width(spread, CONFIDENCE)
    blocks, groups = spread.by_blocks, spread.by_groups
    variance = np.maximum(np.maximum(blocks, groups), blocks + groups - spread.rest)
    freedom = variance**2 / (blocks**2 / (spread.n_blocks - 1) + groups**2 / (spread.n_groups - 1))
    least, most = min(spread.n_blocks, spread.n_groups) - 1, spread.n_blocks + spread.n_groups - 2
    return stats.t.isf((1 - CONFIDENCE) / 2, np.clip(freedom, least, most)) * np.sqrt(variance)


def _judge(baseline: np.ndarray, candidate: np.ndarray, log_truth: float) -> pd.DataFrame:
    estimate, linear = log_ratio([baseline], [candidate])
    spread = spread_of_mean(linear, [baseline, candidate])
    half = half_width(spread, CONFIDENCE)
    low = estimate - half_width(spread, each_confidence(CONFIDENCE, len(LEVELS)))
    return pd.DataFrame(
        {
            "holds": np.abs(estimate - log_truth) <= half,
            "satterthwaite": np.abs(estimate - log_truth) <= _satterthwaite(spread),
            "width": np.exp(half) - np.exp(-half),
            "low": low,
            "low_holds": low <= log_truth,
        }
    )


def judge_requests(walls: Walls, truths: dict[int, float]) -> dict[int, pd.DataFrame]:
    """As ``judge_level`` for each level, through tables of requests and ``estimate_speedups``."""
    rows = {level: [] for level in LEVELS}
    for run in range(len(walls.baseline)):
        requests, frames = draw_requests(walls, run)
        table = estimate_speedups(requests, frames, "ollama", 1, CONFIDENCE).set_index("concurrency")
        for level, row in table.iterrows():
            low, high, point = (row[f"speedup_frames{end}"] for end in ("_low", "_high", ""))
            rows[level].append(
                {
                    "holds": low <= truths[level] <= high,
                    "width": (high - low) / point,
                    "low": np.log(row["simultaneous_low"]),
                    "low_holds": row["simultaneous_low"] <= truths[level],
                }
            )
    others = {level: judge_level(walls, level, np.log(truths[level])) for level in LEVELS}
    kept = ["naive", "satterthwaite"]  # not of the library: as in the other rows
    return {level: pd.DataFrame(found).join(others[level][kept]) for level, found in rows.items()}


def draw_requests(walls: Walls, run: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The requests table and the frames table of one repetition."""
    cells = [("ollama", "baseline", 1, walls.baseline[run])]
    cells += [("vllm-mlx", "candidate", level, shares[run]) for level, shares in walls.candidate.items()]
    parts = [
        _cell_requests(shares[block], level).assign(server=server, role=role, concurrency=level, block=block)
        for server, role, level, shares in cells
        for block in range(len(shares))
    ]
    requests = pd.concat(parts, ignore_index=True)
    requests = requests.assign(phase="measure", sitting=0, error_class=None, output_tokens=60)
    alike = walls.alike[run]
    hashes = [int(scene) * 0x9E3779B97F4A7C15 % 2**64 for scene in np.cumsum(~alike)]  # spread over the bits
    frames = pd.DataFrame(
        {
            "frame_id": [f"f{i}" for i in range(alike.size)],
            "timestamp_s": np.arange(alike.size, dtype=float),
            "phash": [f"{value:016x}" for value in hashes],
        }
    )
    return requests, frames


def _cell_requests(shares: np.ndarray, level: int) -> pd.DataFrame:
    """A closed loop at a server that works in waves: a slot sends anew as soon as its answer is there."""
    n, start_s, end_s, now_s = len(shares), np.zeros(len(shares)), np.zeros(len(shares)), 0.0
    for first in range(0, n, level):
        wave = slice(first, min(first + level, n))
        wall_s = shares[wave].sum()
        size = wave.stop - wave.start
        end_s[wave] = now_s + wall_s * (0.6 + 0.4 * np.arange(1, size + 1) / size)  # the last ends the wave
        now_s += wall_s
    start_s[level:] = end_s[:-level] if level < n else []
    return pd.DataFrame(
        {"frame_id": [f"f{i}" for i in range(n)], "start_s": start_s, "total_s": end_s - start_s}
    )


def table_row(name: str, n_blocks: int, n_frames: int, judged: dict[int, pd.DataFrame]) -> list[str]:
    """One line of the table, from the judged repetitions of each level."""
    holds, lows, low_holds = (
        pd.concat({level: table[column] for level, table in judged.items()}, axis=1)
        for column in ("holds", "low", "low_holds")
    )
    pooled = pd.concat(judged.values())
    n_runs = len(holds)
    runs = np.tile(np.arange(n_runs), len(judged))
    low, high, _, _ = mean_interval(holds.to_numpy().T.ravel().astype(float), runs)
    chosen = low_holds.to_numpy()[np.arange(n_runs), lows.to_numpy().argmax(axis=1)]
    worst = holds.mean().idxmin()
    return [
        name,
        str(n_blocks),
        str(n_frames),
        f"{holds.to_numpy().mean():.1%} ({low:.1%} to {min(high, 1.0):.1%})",
        f"{holds[worst].mean():.1%} at {worst}",
        f"{pooled['width'].median():.0%}",
        f"{pooled['naive'].mean():.1%}",
        f"{pooled['satterthwaite'].mean():.1%}",
        f"{low_holds.all(axis=1).mean():.1%}",
        f"{chosen.mean():.1%}",
    ]


def measure(scenario: Scenario, n_runs: int, n_blocks: int, n_frames: int, by_requests: bool) -> list[str]:
    """Draw and judge one row of the table; the seed depends on the row alone."""
    position = SCENARIOS.index(scenario)
    rng = np.random.default_rng([position, n_blocks, n_frames, int(by_requests)])
    truths = true_speedups(scenario, n_frames)
    walls = draw_walls(rng, scenario, n_runs, n_blocks, n_frames)
    if by_requests:
        return table_row(f"{scenario.name}, by requests", n_blocks, n_frames, judge_requests(walls, truths))
    judged = {level: judge_level(walls, level, np.log(truths[level])) for level in LEVELS}
    return table_row(scenario.name, n_blocks, n_frames, judged)


def summary_of(rows: list[list[str]]) -> str:
    """The sentence below the table, from its rows."""
    seen = [(int(row[1]), float(row[3].split("%")[0]) / 100) for row in rows if "hidden" not in row[0]]
    most = [coverage for n_blocks, coverage in seen if n_blocks >= 5] or [np.nan]
    every = [coverage for _, coverage in seen]
    return SUMMARY.format(lowest=min(every), highest=max(every), lowest_5=min(most), highest_5=max(most))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500, help="repetitions per row")
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 3, 5, 8])
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 50])
    parser.add_argument("--machine", default="2 cores, Linux")
    asked = parser.parse_args()
    began_s = time.monotonic()
    command = f".venv/bin/python benchmarks/coverage.py --runs {asked.runs}"
    today = datetime.now(UTC)
    facts = {"date": f"{today.day} {today:%B %Y}", "machine": asked.machine, "runs": asked.runs}
    print(PAGE.format(command=command, **facts))
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|")
    rows = []
    for scenario in SCENARIOS:
        for n_frames in asked.frames:
            for n_blocks in asked.blocks:
                rows.append(measure(scenario, asked.runs, n_blocks, n_frames, by_requests=False))
                print("| " + " | ".join(rows[-1]) + " |", flush=True)
    rows.append(measure(SCENARIOS[-1], asked.runs, 3, asked.frames[0], by_requests=True))
    print("| " + " | ".join(rows[-1]) + " |", flush=True)
    print(summary_of(rows))
    print(f"{time.monotonic() - began_s:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

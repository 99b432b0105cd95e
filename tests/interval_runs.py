"""Requests and frames of a run whose true speed-up is known, for the tests of the intervals."""

from typing import Any

import numpy as np
import pandas as pd

from .builders import reply, table


def frames_table(n: int, alike: int = 1) -> pd.DataFrame:
    """n frames; each run of ``alike`` neighbours looks the same."""
    hashes = [f"{(i // alike + 1) * 0x9E3779B97F4A7C15 % 2**64:016x}" for i in range(n)]
    return pd.DataFrame(
        {"frame_id": [f"f{i}" for i in range(n)], "timestamp_s": np.arange(n) * 1.0, "phash": hashes}
    )


def cell(server: str, seconds: np.ndarray, **changes: Any) -> list:
    """The replies of one cell at one in flight, one after the other."""
    role = "baseline" if server == "ollama" else "candidate"
    start_s = np.concatenate([[0.0], np.cumsum(seconds)[:-1]])
    return [
        reply(f"f{i}", server=server, role=role, start_s=start, total_s=total, **changes)
        for i, (start, total) in enumerate(zip(start_s.tolist(), seconds.tolist(), strict=True))
    ]


def run(
    n_blocks: int = 3,
    n_frames: int = 24,
    speedups: dict[int, float] | None = None,
    seed: int = 0,
    noise: float = 0.1,
    own_blocks: float = 0.03,
    pairing: float = 0.4,
    scene: int = 1,
) -> pd.DataFrame:
    """The requests of a baseline and a candidate; ``speedups`` by level (levels are only labels here).

    Args:
        pairing: standard deviation of the log of how slow frames are on both sides alike.
        scene: so many neighbouring frames are equally slow, and differ from the baseline alike.
    """
    rng = np.random.default_rng(seed)
    scenes = np.arange(n_frames) // scene
    shared = np.exp(rng.normal(0, pairing, n_frames)[scenes])
    own = {server: np.exp(rng.normal(0, 0.1, n_frames)[scenes]) for server in ("ollama", "vllm-mlx")}
    rows = []
    for block in range(n_blocks):
        for level, speedup in ({0: 1.0} | (speedups or {1: 2.0})).items():
            server = "vllm-mlx" if level else "ollama"
            slow = np.exp(rng.normal(0, own_blocks) + rng.normal(0, noise, n_frames))
            seconds = 4 / speedup * shared * own[server] * slow
            rows += cell(server, seconds, block=block, concurrency=level or 1)
    return table(rows)

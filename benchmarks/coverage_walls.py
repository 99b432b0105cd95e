"""Synthetic cells with a known true speed-up: the seconds of wall clock that each frame of each cell takes.

Every array is repetitions × blocks × frames (in time order). A scenario switches sources of variation on:

- frames differ (log-normal, standard deviation 0.3 of the log), alike on all servers, and differ again on
  each server (0.15), the same way in every block; runs of neighbours share this, shown by hashes or hidden;
- requests differ without reason (0.1), or with heavy tails (log-normal 0.8, or Pareto with shape 2.5);
- blocks differ, for all cells of a block alike, or for each server and cell on its own;
- the machine drifts over the run, in a line (30 % in all) or as a random walk (8 % a cell);
  the order of cells is drawn anew in every other block and mirrored in the next, as the benchmark does;
- the candidate is faster at each level by a factor, or works in waves: prefills one by one, then decodes all
  together; a wave ends with its longest answer, and its time is divided equally among its frames.
"""

from dataclasses import dataclass

import numpy as np

LEVELS = (1, 2, 4, 8)
FACTORS = {1: 1.1, 2: 1.6, 4: 2.2, 8: 2.5}  # true speed-up of the candidate where it does not work in waves
PREFILL_S, DECODE_S = 0.4, 1.0
SLOWER_STEP = 0.15  # by how much each further answer in a wave slows one decoding step


@dataclass(frozen=True, slots=True)
class Scenario:
    """Which sources of variation are on."""

    name: str
    noise: str = "calm"  # calm, lognormal, pareto
    drift: str = "none"  # none, line, walk
    shared_blocks: float = 0.0  # standard deviation of the log
    own_blocks: float = 0.0
    run_length: float = 1.0  # mean length of runs of neighbouring frames that are the same
    runs_shown: bool = False  # the hashes tell them
    waves: bool = False


SCENARIOS = (
    Scenario("nothing but frames and noise"),
    Scenario("drift in a line", drift="line"),
    Scenario("drift as a random walk", drift="walk"),
    Scenario("blocks differ, servers alike", shared_blocks=0.15),
    Scenario("blocks differ, each cell on its own", own_blocks=0.08),
    Scenario("heavy tails, log-normal", noise="lognormal"),
    Scenario("heavy tails, Pareto", noise="pareto"),
    Scenario("runs of like frames, hidden", run_length=4),
    Scenario("near-duplicate neighbours", run_length=4, runs_shown=True),
    Scenario("waves", waves=True),
    Scenario(
        "all of these at once", "lognormal", "walk", 0.15, 0.05, run_length=4, runs_shown=True, waves=True
    ),
)


@dataclass(frozen=True, slots=True)
class Walls:
    """Drawn repetitions of a whole run."""

    baseline: np.ndarray  # seconds, repetitions × blocks × frames
    candidate: dict[int, np.ndarray]  # by level
    alike: np.ndarray  # repetitions × frames: the hash looks like the one before


def draw_walls(
    rng: np.random.Generator, scenario: Scenario, n_runs: int, n_blocks: int, n_frames: int
) -> Walls:
    """Draw ``n_runs`` repetitions of a run with all levels."""
    starts = rng.random((n_runs, n_frames)) < 1 / scenario.run_length
    starts[:, 0] = True
    run_of = np.cumsum(starts, axis=1) - 1

    def frame_effect(sd: float) -> np.ndarray:
        drawn = rng.normal(0, sd, (n_runs, n_frames))
        return np.exp(np.take_along_axis(drawn, run_of, axis=1))[:, None, :]

    frames = frame_effect(0.3)
    conditions = draw_conditions(rng, scenario, n_runs, n_blocks, n_frames)
    cells = [conditions[:, :, cell] for cell in range(len(LEVELS) + 1)]
    shape = (n_runs, n_blocks, n_frames)
    baseline = frames * frame_effect(0.15) * draw_noise(rng, scenario.noise, shape) * cells[0]
    own = frame_effect(0.15)  # of the candidate: the same at all its levels
    candidate = {}
    for level, condition in zip(LEVELS, cells[1:], strict=True):
        work = frames * own * draw_noise(rng, scenario.noise, shape)
        busy = in_waves(work, level) if scenario.waves else work / FACTORS[level] * (PREFILL_S + DECODE_S)
        candidate[level] = busy * condition
    return Walls(baseline * (PREFILL_S + DECODE_S), candidate, ~starts & scenario.runs_shown)


def draw_noise(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Factors with mean 1."""
    if kind == "pareto":
        return (rng.pareto(2.5, shape) + 1) * 1.5 / 2.5
    return draw_factors(rng, 0.8 if kind == "lognormal" else 0.1, shape)


def draw_factors(rng: np.random.Generator, sd: float, shape: tuple[int, ...]) -> np.ndarray:
    """Log-normal factors with mean 1; ``sd`` is the standard deviation of their log."""
    return rng.lognormal(-(sd**2) / 2, sd, shape)


def draw_conditions(
    rng: np.random.Generator, scenario: Scenario, n_runs: int, n_blocks: int, n_frames: int
) -> np.ndarray:
    """Factors of repetitions × blocks × cells × frames: how slow the machine is just then."""
    n_cells = len(LEVELS) + 1
    order = np.argsort(rng.random((n_runs, n_blocks, n_cells)), axis=2)
    odd = order[:, 1::2]
    odd[:] = n_cells - 1 - order[:, 0::2][:, : odd.shape[1]]  # mirrored
    moments = n_blocks * n_cells * n_frames
    if scenario.drift == "walk":
        logs = np.cumsum(rng.normal(0, 0.08 / np.sqrt(n_frames), (n_runs, moments)), axis=1)
    else:
        logs = np.broadcast_to(np.linspace(0, 0.3 * (scenario.drift == "line"), moments), (n_runs, moments))
    by_position = logs.reshape(n_runs, n_blocks, n_cells, n_frames)
    by_cell = np.take_along_axis(by_position, order[..., None], axis=2)
    shared = draw_factors(rng, scenario.shared_blocks, (n_runs, n_blocks, 1, 1))
    own = draw_factors(rng, scenario.own_blocks, (n_runs, n_blocks, n_cells, 1))
    of_servers = draw_factors(rng, scenario.own_blocks, (n_runs, n_blocks, 2, 1))
    servers = (np.arange(n_cells) > 0).astype(int)  # cell 0 is the baseline's
    return np.exp(by_cell) * shared * own * of_servers[:, :, servers]


def in_waves(work: np.ndarray, level: int) -> np.ndarray:
    """Seconds of each frame's wave divided by the wave's frames; work is in units of a usual frame's."""
    n_frames = work.shape[-1]
    shares = np.empty_like(work)
    for first in range(0, n_frames, level):
        wave = work[..., first : first + level]
        size = wave.shape[-1]
        ends = np.sort(wave, axis=-1) * DECODE_S
        active = np.arange(size, 0, -1)  # answers still being decoded, step by step
        decode_s = (np.diff(ends, axis=-1, prepend=0) * (1 + SLOWER_STEP * (active - 1))).sum(axis=-1)
        wall_s = PREFILL_S * wave.sum(axis=-1) + decode_s
        shares[..., first : first + level] = (wall_s / size)[..., None]
    return shares


def true_speedups(scenario: Scenario, n_frames: int, n_runs: int = 20_000) -> dict[int, float]:
    """Expected wall clock of the baseline's cell ÷ that of the candidate's, over all runs that could be.

    Where nothing but a factor tells the two apart it is that factor; for waves the expectations are means
    over ``n_runs`` drawn cells without noise in blocks or drift, which multiply both alike.
    """
    if not scenario.waves:
        return dict(FACTORS)
    still = Scenario(scenario.name, noise=scenario.noise, run_length=scenario.run_length, waves=True)
    walls = draw_walls(np.random.default_rng(7), still, n_runs, 1, n_frames)
    return {level: float(walls.baseline.mean() / walls.candidate[level].mean()) for level in LEVELS}

"""The design of the experiment: which cells are measured, in which order. Pure."""

import random
from collections.abc import Iterable, Sequence

from poc_lib.params import Params
from poc_lib.records import Cell, ServerSpec

OPEN_LOOP_SLOTS = 64  # in flight at most in an open loop; what waits for a slot waits on the clock


def plan_cells(servers: Sequence[ServerSpec], params: Params) -> list[Cell]:
    """Every cell of a run, in the order in which it is measured.

    First the blocks: each holds every (server, level) once, so that each block alone is a whole comparison.
    Then, once each: the same images again, canaries at every level of each candidate, the open loop.
    """
    return [
        *(cell for block in range(params.blocks) for cell in _block(servers, params, block)),
        *(cell for spec in servers for cell in _repeat_image(spec, params)),
        *(cell for spec in servers for cell in _canaries(spec, params)),
        *(cell for spec in servers for cell in _open_loop(spec, params)),
    ]


def _block(servers: Sequence[ServerSpec], params: Params, block: int) -> list[Cell]:
    """One block. Its order is drawn from the seed; every second block mirrors the one before, so that a
    drift (heat, other programs) that is linear over two blocks falls on all cells alike."""
    cells = [Cell(spec.name, spec.role, level, block) for spec in servers for level in spec.concurrency]
    if params.cell_order == "random":
        random.Random(f"{params.seed}/{block // 2}").shuffle(cells)
    return cells[::-1] if block % 2 else cells


def _repeat_image(spec: ServerSpec, params: Params) -> list[Cell]:
    """Two passes over the same few frames at the server's lowest level; caches are kept for the second."""
    if not params.repeat_image_frames:
        return []
    return [Cell(spec.name, spec.role, min(spec.concurrency), i, phase="repeat_image") for i in (0, 1)]


def _canaries(spec: ServerSpec, params: Params) -> list[Cell]:
    if not params.canaries or spec.role != "candidate":
        return []
    phases = ["canary", "canary_abort"] if params.canary_aborts else ["canary"]
    return [Cell(spec.name, spec.role, level, 0, phase) for phase in phases for level in spec.concurrency]


def _open_loop(spec: ServerSpec, params: Params) -> list[Cell]:
    return [
        Cell(spec.name, spec.role, OPEN_LOOP_SLOTS, 0, "open_loop", arrivals, rate)
        for arrivals in params.open_loop_arrivals
        for rate in sorted(params.open_loop_rates)
    ]


def describe_cell(cell: Cell) -> str:
    """A cell in words."""
    at = f"{cell.concurrency} in flight"
    words = {
        "warmup": f"warm-up at {at}",
        "measure": f"{at}, block {cell.block + 1}",
        "repeat_image": "the same images again" if cell.block else "images for the first time",
        "open_loop": f"{cell.rate_per_s} requests/s, {cell.arrivals}",
        "canary": f"canaries at {at}",
        "canary_abort": f"canaries at {at}, some given up",
    }
    return f"{cell.server}, {words[cell.phase]}"


def count_planned(cells: Iterable[Cell], n_frames: int, role: str | None = None) -> int:
    """Requests of the closed-loop sweep, of one role or of all servers."""
    return n_frames * sum(cell.phase == "measure" and role in (None, cell.role) for cell in cells)

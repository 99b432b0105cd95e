"""The design of the experiment: which units are measured, with which frames, in which order. Pure.

A unit is what is measured in one go and measured again whole when it was cut: a pilot cell, a proof cell, a
cell of the open loop, a confirmation block.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from poc_lib.metrics import look_blocks
from poc_lib.params import Params
from poc_lib.records import Cell, Frame, Server

OPEN_LOOP_SLOTS = 64  # in flight at most in an open loop; what waits for a slot waits on the clock
MAX_REQUESTS = 1_000_000  # a plan with more of them is refused without --yes


@dataclass(frozen=True, slots=True)
class Unit:
    """Cells that count only together, and the frames that each of them sends, in this order."""

    cells: tuple[Cell, ...]
    frames: tuple[Frame, ...]

    @property
    def n_requests(self) -> int:
        return len(self.cells) * len(self.frames)


def draw_frames(frames: Sequence[Frame], n: int, seed: int, draw: int) -> tuple[Frame, ...]:
    """The ``n`` frames of one draw, in a drawn order: spread over the recording, new in every draw.

    The frames, in time order, are cut into n strata; each stratum hands out its frames in an order drawn from
    the seed, one a draw, and begins again when it is used up. So draws share no frame until the recording
    is used up, and requests in flight together show moments that lie far apart. Fewer frames than n come
    more than once.
    """
    drawn = []
    for stratum in range(n):
        first, last = stratum * len(frames) // n, (stratum + 1) * len(frames) // n
        members = list(frames[first : max(last, first + 1)])
        random.Random(f"{seed}/stratum {stratum}").shuffle(members)
        drawn.append(members[draw % len(members)])
    random.Random(f"{seed}/order {draw}").shuffle(drawn)
    return tuple(drawn)


def pilot_units(servers: Sequence[Server], frames: Sequence[Frame], params: Params) -> list[Unit]:
    """One unit a (server, level, block), each followed by its proof cell; every block in an order of its own.

    Every second block mirrors the one before, so that a drift (heat, other programs) falls on all alike.
    """
    units = []
    for block in range(params.pilot_blocks):
        cells = [Cell(s.name, s.role, level, block, "pilot") for s in servers for level in s.concurrency]
        random.Random(f"{params.seed}/pilot {block // 2}").shuffle(cells)
        drawn = draw_frames(frames, params.frames_per_block, params.seed, block)
        for cell in cells[::-1] if block % 2 else cells:
            units.append(Unit((cell,), drawn))
            if block == 0:
                units += proof_units(cell, frames, params, block)
    return units


def proof_units(cell: Cell, frames: Sequence[Frame], params: Params, block: int) -> list[Unit]:
    """The proof cell at a cell's server and level; [] where no proof is asked for."""
    if not params.proof_frames:
        return []
    with_aborts = params.aborts and cell.role == "candidate" and block == 0
    phases = ["proof", "proof_abort"] if with_aborts else ["proof"]
    drawn = draw_frames(frames, params.proof_frames, params.seed + 1, block)
    return [Unit((replace(cell, block=block, phase=phase),), drawn) for phase in phases]


def confirm_unit(
    servers: Sequence[Server], levels: Mapping[str, int], frames: Sequence[Frame], params: Params, block: int
) -> Unit:
    """One confirmation block: every server at its chosen level over the same new frames, in ABBA order."""
    cells = [Cell(s.name, s.role, levels[s.name], block, "confirm") for s in servers if s.name in levels]
    random.Random(f"{params.seed}/confirm {block // 2}").shuffle(cells)
    drawn = draw_frames(frames, params.frames_per_block, params.seed, params.pilot_blocks + block)
    return Unit(tuple(cells[::-1] if block % 2 else cells), drawn)


def confirm_proofs(unit: Unit, frames: Sequence[Frame], params: Params, block: int) -> Iterator[Unit]:
    """The proof cells after a confirmation block: each candidate's, the baseline's after every second."""
    for cell in unit.cells:
        if cell.role == "candidate" or block % 2 == 0:
            yield from proof_units(cell, frames, params, params.pilot_blocks + block)


def open_loop_units(frames_per_s: Mapping[str, float], frames: Sequence[Frame], params: Params) -> list[Unit]:
    """Poisson arrivals at shares of each candidate's ``frames_per_s``: one cell a candidate and share."""
    drawn = draw_frames(frames, params.frames_per_block, params.seed, params.pilot_blocks + params.max_blocks)
    cells = [
        Cell(name, "candidate", OPEN_LOOP_SLOTS, index, "open_loop", "poisson", round(share * rate, 4))
        for name, rate in frames_per_s.items()
        for index, share in enumerate(sorted(params.open_loop_rates))
    ]
    return [Unit((cell,), drawn) for cell in cells]


def draw_aborts(n: int, usual_s: float, seed: str) -> list[float | None]:
    """When each of ``n`` requests is given up, in seconds from sending: a third of them, in mid-answer."""
    pick = random.Random(seed)
    after_s = [usual_s * pick.uniform(0.2, 0.9) for _ in range(n)]
    return [moment_s if position % 3 == 1 else None for position, moment_s in enumerate(after_s)]


def plan_rows(servers: Sequence[Server], params: Params) -> list[dict]:
    """What will be measured at least and at most, before it is known how many blocks decide.

    One row a stage: stage, what, fewest and most requests.
    """
    block, proof = params.frames_per_block, params.proof_frames
    n_candidates = sum(server.role == "candidate" for server in servers)
    n_levels = sum(len(server.concurrency) for server in servers)
    looks, most = look_blocks(min(params.max_blocks, 1000)), params.max_blocks
    rows = []
    if not params.level:
        n_pilot = n_levels * (params.pilot_blocks * block + proof)
        rows.append(
            (
                "pilot",
                f"{n_levels} server levels × {block} frames, and {proof} stamped ones each",
                n_pilot,
                n_pilot,
            )
        )
    if looks:
        n_proofs = n_candidates + 0.5 * (len(servers) > n_candidates)
        per_block = len(servers) * block + n_proofs * proof
        what = f"{looks[0]} to {most} blocks of {len(servers)} × {block} frames, with proofs"
        rows.append(("confirmation", what, round(looks[0] * per_block), round(most * per_block)))
    if params.open_loop_rates and looks:
        n_open = n_candidates * len(params.open_loop_rates) * block
        rows.append(("open loop", "arrivals at a rate", n_open, n_open))
    return [dict(zip(("stage", "what", "fewest", "most"), row, strict=True)) for row in rows]


def describe_cell(cell: Cell) -> str:
    """A cell in words."""
    if cell.phase == "open_loop":
        return f"{cell.server}, {cell.rate_per_s:g} arrivals/s"
    names = {"proof": "stamped frames", "proof_abort": "stamped frames, a third given up"}
    return f"{names.get(cell.phase, cell.phase)}: {cell.server}, {cell.concurrency} in flight"

"""The order of cells, and their names."""

from dataclasses import replace

from poc_lib.params import Params
from poc_lib.plan import count_planned, describe_cell, plan_cells
from poc_lib.records import Cell
from tests.builders import spec

SERVERS = [
    spec("http://o", name="ollama", role="baseline", concurrency=(1,)),
    spec("http://v", concurrency=(1, 4)),
]
CELL = Cell("vllm-mlx", "candidate", 4, 0)


def plan(**changes):
    only_blocks = {"repeat_image_frames": 0, "canaries": 0}
    return plan_cells(SERVERS, Params(**(only_blocks | changes)))


def places(cells):
    return [(cell.server, cell.concurrency) for cell in cells]


def test_each_block_holds_every_level_of_every_server_once():
    cells = plan(blocks=3)
    for block in range(3):
        of_block = [cell for cell in cells if cell.block == block]
        assert sorted(places(of_block)) == [("ollama", 1), ("vllm-mlx", 1), ("vllm-mlx", 4)]
    assert [cell.block for cell in cells] == [0] * 3 + [1] * 3 + [2] * 3
    assert {cell.phase for cell in cells} == {"measure"}


def test_every_second_block_mirrors_the_one_before_so_that_a_drift_falls_on_all_alike():
    cells = places(plan(blocks=4))
    assert cells[3:6] == cells[:3][::-1]
    assert cells[9:12] == cells[6:9][::-1]


def test_the_order_comes_from_the_seed():
    orders = {tuple(places(plan(blocks=1, seed=seed))) for seed in range(40)}
    assert len(orders) == 6  # all orders of three cells
    assert plan(blocks=4, seed=3) == plan(blocks=4, seed=3)


def test_the_order_can_be_fixed_and_is_still_mirrored():
    cells = places(plan(blocks=2, cell_order="as_listed"))
    assert cells[:3] == [("ollama", 1), ("vllm-mlx", 1), ("vllm-mlx", 4)]
    assert cells[3:] == cells[:3][::-1]


def test_further_cells_follow_the_blocks():
    cells = plan(blocks=1, repeat_image_frames=2, canaries=4, canary_aborts=True, open_loop_rates=[2, 0.5])
    assert [cell.phase for cell in cells[3:]] == (
        ["repeat_image"] * 4 + ["canary"] * 2 + ["canary_abort"] * 2 + ["open_loop"] * 4
    )
    assert [(c.server, c.block) for c in cells[3:7]] == [
        ("ollama", 0), ("ollama", 1), ("vllm-mlx", 0), ("vllm-mlx", 1),
    ]  # fmt: skip
    assert {cell.server for cell in cells if cell.phase.startswith("canary")} == {"vllm-mlx"}
    assert [cell.rate_per_s for cell in cells if cell.phase == "open_loop"] == [0.5, 2, 0.5, 2]


def test_planned_requests_are_those_of_the_blocks():
    cells = plan(blocks=2, canaries=4, repeat_image_frames=2)
    assert count_planned(cells, n_frames=10) == 60
    assert count_planned(cells, n_frames=10, role="candidate") == 40


def test_a_cell_is_described_in_words():
    words = {
        "vllm-mlx, 4 in flight, block 1": {},
        "vllm-mlx, 4 in flight, block 2": {"block": 1},
        "vllm-mlx, warm-up at 4 in flight": {"phase": "warmup"},
        "vllm-mlx, images for the first time": {"phase": "repeat_image"},
        "vllm-mlx, the same images again": {"phase": "repeat_image", "block": 1},
        "vllm-mlx, canaries at 4 in flight": {"phase": "canary"},
        "vllm-mlx, canaries at 4 in flight, some given up": {"phase": "canary_abort"},
        "vllm-mlx, 0.5 requests/s, poisson": {
            "phase": "open_loop", "arrivals": "poisson", "rate_per_s": 0.5,
        },
    }  # fmt: skip
    assert {describe_cell(replace(CELL, **changes)) for changes in words.values()} == set(words)

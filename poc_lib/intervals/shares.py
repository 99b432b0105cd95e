"""Who used the wall clock of a cell: the time in flight, divided among the requests in flight."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from poc_lib.metrics import LEVEL

CELL = [*LEVEL, "block"]


def wall_shares(requests: pd.DataFrame) -> pd.Series:
    """Each measured request's share of its cell's wall clock in seconds, on the rows' own index.

    At every instant the wall clock is divided equally among the requests in flight. Time in which none was
    in flight is spread in proportion, per sitting, so that the shares of a cell add up to the ``wall_s`` of
    ``metrics.summarize_cells``. Failed requests have their share, too.
    """
    measured = requests[requests["phase"] == "measure"]
    start_s = measured["start_s"].to_numpy(dtype=float)
    end_s = start_s + measured["total_s"].to_numpy(dtype=float)
    shares = np.full(len(measured), np.nan)
    for rows in measured.groupby([*CELL, "sitting"], sort=False).indices.values():
        shares[rows] = divide_wall(start_s[rows], end_s[rows])
    return pd.Series(shares, index=measured.index, name="wall_share_s")


def divide_wall(start_s: np.ndarray, end_s: np.ndarray) -> np.ndarray:
    """n requests' shares of the time from the first start to the last end, in seconds.

    Args:
        start_s, end_s: n seconds each, on one clock.
    """
    edges, where = np.unique(np.concatenate([start_s, end_s]), return_inverse=True)
    starts, ends = np.split(where, 2)
    size = edges.size
    in_flight = np.cumsum(np.bincount(starts, minlength=size) - np.bincount(ends, minlength=size))[:-1]
    length = np.diff(edges)
    busy = in_flight > 0
    each = np.divide(length, in_flight, out=np.zeros_like(length), where=busy)
    until = np.concatenate([[0.0], np.cumsum(each)])
    busy_s = length[busy].sum()
    scale = length.sum() / busy_s if busy_s > 0 else 1.0
    return (until[ends] - until[starts]) * scale


def answered_shares(requests: pd.DataFrame) -> pd.DataFrame:
    """The answered measured requests with ``wall_share_s``, which adds up to their cell's wall clock.

    What failed requests used is spread over the answered ones of the cell in proportion: it is time that the
    server did not answer in, and a rate is answers ÷ wall clock.

    Columns: server, role, concurrency, block, frame_id, output_tokens, wall_share_s.
    """
    measured = requests[requests["phase"] == "measure"].assign(wall_share_s=wall_shares(requests))
    answered = measured[measured["error_class"].isna()]
    wall_s = measured.groupby(CELL, sort=False)["wall_share_s"].sum().rename("wall_s")
    answered_s = answered.groupby(CELL, sort=False)["wall_share_s"].transform("sum")
    rows = answered.join(wall_s, on=CELL)
    shares = rows["wall_share_s"] * rows["wall_s"] / answered_s.where(answered_s > 0)
    tokens = pd.to_numeric(rows["output_tokens"]).astype(float)
    kept = [*CELL, "frame_id"]
    return rows[kept].assign(output_tokens=tokens, wall_share_s=shares)


def total_by_group(rows: pd.DataFrame, groups: pd.Series, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Totals of each column as blocks × groups: 0 where there is no row, NaN where a row lacks its value.

    Args:
        rows: block, frame_id and the columns to add up.
        groups: the group number on the index frame_id, as ``groups.group_frames`` gives it.
    """
    cells = rows.assign(group=rows["frame_id"].map(groups)).groupby(["block", "group"])
    sums = cells[list(columns)].sum(skipna=False)
    grid = [sorted(rows["block"].unique()), sorted(groups.unique())]
    whole = sums.reindex(pd.MultiIndex.from_product(grid), fill_value=0)
    return {name: whole[name].to_numpy(dtype=float).reshape(len(grid[0]), len(grid[1])) for name in columns}

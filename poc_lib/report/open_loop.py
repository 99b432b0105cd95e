"""The open loop: arrivals at a rate, latency from the moment a request was due."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.figures import draw_open_loop
from poc_lib.goodput import highest_rate
from poc_lib.report.blocks import Bullets, Cell, Figures, NamedFigure, Section, Table, Text
from poc_lib.report.wording import cells, columns, number, share

COLUMNS = columns(
    "server", "arrivals", "rate [1/s]", "answered", "TTFT from due p50 · p95 [s]",
    "total from due p50 · p95 [s]", "total from sending p50 [s]", "mean in flight", "in time (95 % interval)",
    "goodput [1/s]", "service level", text=("server", "arrivals", "service level"),
)  # fmt: skip
ABOUT = (
    "Requests were sent at their own moments, whatever became of the ones before, and their latency counts "
    "from the moment each was due. A closed loop hides that wait (coordinated omission); the time from "
    "sending is beside it."
)
HOLDS = {True: Cell("✓ holds", "good"), False: Cell("✗ does not hold", "bad"), None: Cell("none asked")}


def open_loop_section(analysis: Analysis) -> Section | None:
    """Latency and goodput per rate; None: the run has no open loop."""
    table = analysis.open_loop
    if table.empty:
        return None
    drawn = draw_open_loop(table)
    figure = NamedFigure("open_loop", drawn, "Where the solid line leaves the dashed one, requests wait.")
    return Section(
        "open-loop",
        "Arrivals at a rate",
        (
            Text(ABOUT),
            Table(_caption(table), COLUMNS, tuple(_row(row) for _, row in table.iterrows())),
            Bullets(tuple(highest_rate(table)["sentence"])),
            Figures((figure,)),
        ),
    )


def _caption(table: pd.DataFrame) -> str:
    delay_s = table["dispatch_delay_max_s"].max()
    return (
        "One row per server and rate. Goodput: answers in time ÷ wall clock (Zhong et al. 2024). Latest "
        f"sending behind its moment: {number(delay_s, 3, ' s')}, waiting for a free connection included."
    )


def _row(row: pd.Series) -> tuple[Cell, ...]:
    holds = None if pd.isna(row["holds"]) else bool(row["holds"])
    bounds = f"{share(row['good_share_low'])} to {share(row['good_share_high'])}"
    return cells(
        row["server"],
        row["arrivals"],
        number(row["rate_per_s"], 3),
        f"{int(row['n_ok'])} of {int(row['n_due'])}",
        f"{number(row['ttft_from_due_p50_s'])} · {number(row['ttft_from_due_p95_s'])}",
        f"{number(row['total_from_due_p50_s'])} · {number(row['total_from_due_p95_s'])}",
        number(row["total_p50_s"]),
        number(row["mean_in_flight"], 1),
        f"{share(row['good_share'])} ({bounds})",
        number(row["goodput_per_s"], 3),
        HOLDS[holds],
    )

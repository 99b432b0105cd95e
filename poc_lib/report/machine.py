"""What servers and machine said about themselves while they were measured."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.report.blocks import Block, Cell, Section, Table, Text
from poc_lib.report.wording import NOT_KNOWN, cells, columns, number

COLUMNS = columns(
    "server", "in flight", "peak memory [GB]", "most waiting", "machine CPU [%]", "GPU [%]", "GPU power [W]",
    "output tokens, ours", "server's own", text=("server",),
)  # fmt: skip
CAPTION = (
    "Sampled beside the requests. Peak memory: {sources}. Most waiting: the longest queue a server reported. "
    "GPU: mean utilisation and power. Server's own: how far its token counter moved during the cell."
)


def machine_section(analysis: Analysis) -> Section:
    """Memory, queue, load and power per level, and whether the server counted the same tokens."""
    telemetry = analysis.telemetry
    blocks: list[Block] = [Text("Nothing was sampled in this run.")]
    if telemetry["n_machine_samples"].sum():
        sources = sorted(set(telemetry["memory_source"].dropna())) or [NOT_KNOWN]
        rows = tuple(_row(row) for _, row in telemetry.iterrows())
        blocks = [Table(CAPTION.format(sources="; ".join(sources)), COLUMNS, rows)]
    return Section("machine", "Servers and machine", tuple(blocks))


def _row(row: pd.Series) -> tuple[Cell, ...]:
    ours, theirs = row["client_output_tokens"], row["server_output_tokens"]
    differ = pd.notna(theirs) and ours != theirs
    return cells(
        row["server"],
        str(row["concurrency"]),
        number(row["memory_peak_gb"], 1),
        number(row["waiting_max"], 0),
        number(row["cpu_mean_pct"], 0),
        number(row["gpu_util_mean_pct"], 0),
        number(row["gpu_power_mean_w"], 0),
        number(ours, 0),
        Cell(number(theirs, 0), "warn" if differ else "plain"),
    )

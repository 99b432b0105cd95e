"""Where the time goes: prefill and decode, the ceiling of batching, the tail of a level, repeated images."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.figures import draw_ceiling, draw_phases
from poc_lib.phases import ceiling_sentence
from poc_lib.report.blocks import Bullets, Cell, Figures, NamedFigure, Section, Table, Text
from poc_lib.report.wording import NOT_KNOWN, cells, columns, number, share, times

COLUMNS = columns(
    "server", "in flight", "n", "to first token [s]", "decoding [s]", "decode, one request [tok/s]",
    "decode, whole level [tok/s]", "ceiling [frames/s]", "measured ÷ ceiling", "tail", "× at equal length",
    text=("server",),
)  # fmt: skip
CAPTION = (
    "Means over answered requests. To first token: waiting, image encoding, prefill. Ceiling: what sharing "
    "the decode among all slots could reach while prefill stays serial, from the figures at 1 in flight "
    "(Amdahl 1967). Tail: share of the wall clock with slots empty because no frame was left to send. "
    "× at equal length: the speed-up if answers were as long as the baseline's."
)


def phases_section(analysis: Analysis) -> Section:
    """The split per level, what bounds it, and what a cache gives when an image is sent again."""
    rows = tuple(_row(analysis, row) for _, row in analysis.phases.iterrows())
    candidate = analysis.verdict.candidate
    figures = (
        NamedFigure(
            "phases",
            draw_phases(analysis.phases),
            "What grows with the level is waiting and prefill; what batching shares is decoding.",
        ),
        NamedFigure(
            "ceiling",
            draw_ceiling(analysis.ceiling, candidate),
            "Points near the dashed line leave batching nothing to gain; prefill is the limit then.",
        ),
    )
    said = [ceiling_sentence(analysis.ceiling, server) for server in analysis.ceiling["server"].unique()]
    said += list(analysis.repeat_image["sentence"]) + sorted(set(analysis.tail["note"].dropna()))
    return Section(
        "phases",
        "Where the time goes",
        (
            Text(
                "Is the server, the model or the image size the limit? Prefill reads image and prompt, one "
                "request after the other; decode writes the answer, and is what batching shares."
            ),
            Table(CAPTION, COLUMNS, rows),
            Figures(figures),
            Bullets(tuple(said)),
        ),
    )


def _row(analysis: Analysis, row: pd.Series) -> tuple[Cell, ...]:
    ceiling, tail = _same_level(analysis.ceiling, row), _same_level(analysis.tail, row)
    matched = _same_level(analysis.length_matched, row)
    return cells(
        row["server"],
        str(row["concurrency"]),
        str(row["n"]),
        number(row["ttft_mean_s"]),
        number(row["decode_mean_s"]),
        number(row["decode_tok_per_s"], 1),
        number(row["level_decode_tok_per_s"], 1),
        number(_get(ceiling, "ceiling_frames_per_s"), 3),
        share(_get(ceiling, "share_of_ceiling")),
        share(_get(tail, "tail_share")),
        NOT_KNOWN if matched is None else times(matched["matched_speedup_frames"]),
    )


def _same_level(table: pd.DataFrame, row: pd.Series) -> pd.Series | None:
    found = table[(table["server"] == row["server"]) & (table["concurrency"] == row["concurrency"])]
    return None if found.empty else found.iloc[0]


def _get(row: pd.Series | None, name: str) -> float | None:
    return None if row is None else row[name]

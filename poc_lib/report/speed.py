"""The sections about speed: summary, criteria, the one table, latency, failures."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.figures import draw_speedups, draw_throughput
from poc_lib.report.blocks import Cell, Figures, NamedFigure, Section, Table, Text, Tile, Tiles
from poc_lib.report.choice import (
    agreement_row,
    chosen_level,
    confusion_row,
    count_suspicious,
    of_candidate,
    speed_row,
)
from poc_lib.report.wording import (
    NOT_KNOWN,
    cells,
    columns,
    count,
    interval,
    number,
    share,
    state,
    times,
)
from poc_lib.verdict import count_leaks

SPEED_COLUMNS = columns(
    "server",
    "in flight",
    "frames/s (95 % interval)",
    "× baseline (95 % interval)",
    "output tok/s (95 % interval)",
    "TTFT p50 · p95 [s]",
    "tokens per answer",
    "recording [min]",
    "match (95 % interval)",
    "suspicious",
    "answered",
    text=("server",),
)


def summary_section(analysis: Analysis, sentences: tuple[str, ...]) -> Section:
    """Six numbers, and the findings that matter most."""
    level = chosen_level(analysis)
    row = speed_row(analysis, level)
    agreement = agreement_row(analysis, level)
    suspicious = count_suspicious(confusion_row(analysis, level))
    lost = int(row["n_failed"] + row["n_not_sent"])
    candidate, baseline = analysis.verdict.candidate, analysis.baseline
    kind = "" if baseline.measured else ", recorded"
    tiles = (
        Tile(
            f"{candidate}, {level} in flight",
            f"{number(row['frames_per_s'])} frames/s",
            _recording_note(row),
        ),
        Tile(
            f"{baseline.name}, {baseline.concurrency} in flight{kind}",
            f"{number(baseline.frames_per_s)} frames/s",
            number(baseline.output_tok_per_s, 1, " output tok/s"),
        ),
        Tile(
            "Speed-up in frames/s",
            times(row["speedup_frames"]),
            f"{_bounds(row, 'simultaneous')} at 95 %, {count(int(row['blocks']), 'block')}",
        ),
        Tile("Answers that match", share(_get(agreement, "match_rate")), _interval_note(agreement)),
        _confusion_tile(analysis, suspicious),
        Tile(
            "Lost frames",
            number(lost, 0),
            f"of {int(row['n_requests'] + row['n_not_sent'])} at this level",
            _tone(lost),
        ),
    )
    blocks = [Tiles(tiles), *(Text(sentence) for sentence in sentences)]
    if len(analysis.verdicts) > 1:
        blocks.append(_candidates_table(analysis))
    return Section("summary", "Summary", tuple(blocks))


def _candidates_table(analysis: Analysis) -> Table:
    """The verdict on every candidate, the best first."""
    rows = [
        cells(
            verdict.candidate,
            verdict.headline,
            NOT_KNOWN if verdict.concurrency is None else str(verdict.concurrency),
            times(verdict.speedup_frames),
            verdict.sentence,
        )
        for verdict in analysis.verdicts
    ]
    titles = ("candidate", "verdict", "in flight", "speed-up", "in words")
    caption = "Every candidate of the run, the best first; the rest of this page speaks of the first one."
    text = ("candidate", "verdict", "in words")
    return Table(caption, columns(*titles, text=text), tuple(rows), as_cards=True)


def _confusion_tile(analysis: Analysis, suspicious: int | None) -> Tile:
    """Proofs of any level before suspicions of the chosen one."""
    label = "About another image"
    leaks = count_leaks(analysis.canaries, analysis.verdict.candidate)
    if leaks:
        note = f"by their codes, over all levels; {number(suspicious, 0)} more suspected here"
        return Tile(label, f"{leaks} proven", note, "bad")
    coded = of_candidate(analysis, analysis.canaries)
    n_coded = int(coded.loc[coded["usable"].eq(True), "n_judged"].sum())
    row = confusion_row(analysis, chosen_level(analysis))
    if not n_coded and (row is None or row["state"] == "cannot be judged"):
        return Tile(label, NOT_KNOWN, "neither codes nor texts could tell")
    note = f"suspected; none proven by {count(n_coded, 'code')}" if n_coded else "suspected by their texts"
    return Tile(label, number(suspicious, 0), note, _tone(suspicious))


def _recording_note(row: pd.Series) -> str:
    return f"{number(row['recording_min'], 1)} min for the whole recording"


def _tone(bad: float | None) -> str:
    return "plain" if bad is None else "bad" if bad else "good"


def _get(row: pd.Series | None, name: str) -> float | None:
    return None if row is None else row[name]


def _interval_note(row: pd.Series | None) -> str:
    if row is None or not row["n_scored"]:
        return "nothing to score"
    return f"{interval(row)}, n = {int(row['n_scored'])}"


def criteria_section(analysis: Analysis) -> Section:
    """The plan's success criteria, judged."""
    rows = [
        cells(row.criterion, state(row.met), row.found, row.target, row.rests_on)
        for row in analysis.criteria.itertuples()
    ]
    titles = ("criterion", "state", "found", "wanted", "rests on")
    table = Table(
        "Success criteria for the chosen level. Met: the whole 95 % interval lies on the right side. Not "
        "settled: it spans the target, or there is none.",
        columns(*titles, text=titles),
        tuple(rows),
        as_cards=True,
    )
    return Section("criteria", "Success criteria", (table,))


def speed_section(analysis: Analysis) -> Section:
    """Speed and quality in one table, and throughput against concurrency."""
    ordered = analysis.speed.sort_values(["role", "concurrency"], kind="stable")
    rows = [_speed_cells(analysis, row) for _, row in ordered.iterrows()]
    if not analysis.baseline.measured:
        rows.insert(0, _recorded_cells(analysis))
    marked = frozenset(
        i
        for i, row in enumerate(rows)
        if _is_chosen(analysis, row) and analysis.verdict.concurrency is not None
    )
    caption = (
        "One row per server and level, over all blocks. The verdict speaks of the marked row. Intervals are "
        "taken over blocks and groups of neighbouring frames; those of the speed-up are paired by frame. "
        "Match: against the stored reference. Suspicious: answers that may belong to another image. "
        "✗: incomplete, frames were lost."
    )
    figures = [
        NamedFigure(f"throughput_{name}", draw_throughput(analysis.speed, analysis.baseline, [rate]), reading)
        for name, rate, reading in (
            ("frames", "frames_per_s", "Frames per second do not depend on how long answers are."),
            ("tokens", "output_tok_per_s", "Output tokens only; image tokens are not counted."),
        )
    ]
    speedups = draw_speedups(analysis.speed, analysis.baseline)
    reading = "A thin stroke that crosses a dotted line leaves that step of the verdict open."
    figures.insert(0, NamedFigure("speedups", speedups, reading))
    table = Table(caption, SPEED_COLUMNS, tuple(rows), marked_rows=marked)
    return Section("speed", "Speed and quality", (table, Figures(tuple(figures))))


def _is_chosen(analysis: Analysis, row: tuple[Cell, ...]) -> bool:
    return (row[0].text, row[1].text) == (analysis.verdict.candidate, str(analysis.verdict.concurrency))


def _speed_cells(analysis: Analysis, row: pd.Series) -> tuple[Cell, ...]:
    level = int(row["concurrency"])
    agreement = agreement_row(analysis, level, row["server"])
    suspicious = count_suspicious(confusion_row(analysis, level, row["server"]))
    matched = NOT_KNOWN
    if agreement is not None and agreement["n_scored"]:
        matched = f"{share(agreement['match_rate'])} ({interval(agreement)})"
    return cells(
        row["server"],
        str(level),
        f"{number(row['frames_per_s'], 3)} ({_bounds(row, 'frames_per_s', 3)})",
        _speedup_cell(row),
        f"{number(row['output_tok_per_s'], 1)} ({_bounds(row, 'output_tok_per_s', 0)})",
        f"{number(row['ttft_p50_s'])} · {number(row['ttft_p95_s'])}",
        number(row["tokens_per_answer"], 0),
        number(row["recording_min"], 1),
        matched,
        Cell(number(suspicious, 0), "bad" if suspicious else "plain"),
        _answered(row),
    )


def _bounds(row: pd.Series, name: str, digits: int = 2) -> str:
    """The two ends of an interval; "no interval" where it is not known."""
    if pd.isna(row[f"{name}_low"]):
        return "no interval"
    return f"{number(row[f'{name}_low'], digits)} to {number(row[f'{name}_high'], digits)}"


def _speedup_cell(row: pd.Series) -> str:
    if row["role"] == "baseline":
        return NOT_KNOWN
    return f"{times(row['speedup_frames'])} ({_bounds(row, 'speedup_frames')})"


def _answered(row: pd.Series) -> Cell:
    asked = int(row["n_requests"] + row["n_not_sent"])
    text = f"{int(row['n_ok'])} of {asked}" + (", interrupted" if row["interrupted"] else "")
    return Cell(text) if row["complete"] else Cell(f"✗ {text}", "bad")


def _recorded_cells(analysis: Analysis) -> tuple[Cell, ...]:
    baseline = analysis.baseline
    known = (
        f"{baseline.name}, recorded",
        str(baseline.concurrency),
        number(baseline.frames_per_s, 3),
        NOT_KNOWN,
        number(baseline.output_tok_per_s, 1),
    )
    rest = [NOT_KNOWN] * (len(SPEED_COLUMNS) - len(known) - 1)
    return tuple(Cell(text, "muted") for text in (*known, *rest, "not measured"))

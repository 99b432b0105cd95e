"""The sections about speed: summary, criteria, the one table, latency, failures."""

import pandas as pd

from poc_lib.analysis import Analysis
from poc_lib.figures import draw_latency, draw_throughput, draw_timeline
from poc_lib.metrics import MEASURES
from poc_lib.params import Params
from poc_lib.report.blocks import Block, Cell, Figures, NamedFigure, Note, Section, Table, Text, Tile, Tiles
from poc_lib.report.choice import (
    agreement_row,
    chosen_level,
    confusion_row,
    count_suspicious,
    measured_baseline,
    speed_row,
)
from poc_lib.report.wording import (
    NOT_KNOWN,
    cells,
    columns,
    count,
    interval,
    milliseconds,
    number,
    seconds,
    share,
    state,
    times,
)

SPEED_COLUMNS = columns(
    "server",
    "in flight",
    "frames/s",
    "× baseline",
    "output tok/s",
    "TTFT p50 · p95 [s]",
    "tokens per answer",
    "recording [min]",
    "match (95 % interval)",
    "suspicious",
    "answered",
    text=("server",),
)
LATENCY_COLUMNS = columns(
    "measure", "server", "in flight", "n", "mean", "p50", "p90", "p95", "p99", text=("measure", "server")
)
SHORT_NAMES = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "total_s": "total"}
_UNITS = {"ttft_s": seconds, "tpot_s": milliseconds, "itl_s": milliseconds, "total_s": seconds}
FEW = 100  # below it, p99 is the slowest value or close to it


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
            f"{times(row['speedup_tokens'])} in output tok/s",
        ),
        Tile("Answers that match", share(_get(agreement, "match_rate")), _interval_note(agreement)),
        Tile("Suspicious answers", number(suspicious, 0), "may belong to another image", _tone(suspicious)),
        Tile(
            "Lost frames",
            number(lost, 0),
            f"of {int(row['n_requests'] + row['n_not_sent'])} at this level",
            _tone(lost),
        ),
    )
    return Section("summary", "Summary", (Tiles(tiles), *(Text(sentence) for sentence in sentences)))


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
        "Success criteria, judged on the fastest level at which every frame was answered.",
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
        "One row per server and level, over all blocks. The verdict speaks of the marked row. "
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
        number(row["frames_per_s"], 3),
        times(row["speedup_frames"]),
        number(row["output_tok_per_s"], 1),
        f"{number(row['ttft_p50_s'])} · {number(row['ttft_p95_s'])}",
        number(row["tokens_per_answer"], 0),
        number(row["recording_min"], 1),
        matched,
        Cell(number(suspicious, 0), "bad" if suspicious else "plain"),
        _answered(row),
    )


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


def latency_section(analysis: Analysis) -> Section:
    """Percentiles of every latency measure, their distributions, and one level's requests over time."""
    table = Table(_latency_caption(analysis), LATENCY_COLUMNS, tuple(_latency_rows(analysis.latency)))
    level = chosen_level(analysis)
    timeline = draw_timeline(analysis.requests, analysis.verdict.candidate, level)
    figures = [
        NamedFigure(
            "timeline",
            timeline,
            "Bars that start together were sent together; a wave of equal ends is a batch.",
        )
    ]
    if len(measured_baseline(analysis)):
        name, low = analysis.baseline.name, analysis.baseline.concurrency
        drawn = draw_timeline(analysis.requests, name, low)
        figures.append(NamedFigure("timeline_baseline", drawn, "The baseline's requests, for comparison."))
    pair = tuple(
        NamedFigure(
            f"latency_{SHORT_NAMES[measure].lower()}", draw_latency(analysis.requests, [measure]), reading
        )
        for measure, reading in (
            ("ttft_s", "Waiting for the first token: queue, image encoding and prefill."),
            ("total_s", "From sending to the last byte."),
        )
    )
    return Section("latency", "Latency", (table, Figures(pair), Figures(tuple(figures))))


def _latency_caption(analysis: Analysis) -> str:
    meanings = "; ".join(f"{SHORT_NAMES[name]}: {meaning}" for name, meaning in MEASURES.items())
    requests = analysis.latency[analysis.latency["measure"] == "total_s"]["n"]
    caption = f"Over answered requests; ITL pools the gaps of all answers. {meanings}."
    if len(requests) and requests.min() < FEW:
        caption += f" With n below {FEW}, p99 is the slowest request or close to it."
    return caption


def _latency_rows(latency: pd.DataFrame) -> list[tuple[Cell, ...]]:
    points = ("mean", "p50", "p90", "p95", "p99")
    return [
        cells(
            SHORT_NAMES[row["measure"]],
            row["server"],
            str(row["concurrency"]),
            f"{int(row['n']):,}",
            *(_UNITS[measure](row[point]) for point in points),
        )
        for measure in MEASURES
        for _, row in latency[latency["measure"] == measure].iterrows()
    ]


def failures_section(analysis: Analysis, params: Params) -> Section:
    """Every failure by class, with what the server said."""
    blocks: list[Block] = []
    total, missing = int(analysis.speed["n_requests"].sum()), int(analysis.speed["n_not_sent"].sum())
    failed = int(analysis.failures["n"].sum()) if len(analysis.failures) else 0
    if failed:
        text = f"{count(failed, 'request')} of {total:,} failed; they count neither as speed nor as answers."
        blocks.append(Note(text, "bad"))
        blocks.append(_failures_table(analysis.failures))
    else:
        blocks.append(Note(f"No request failed: {count(total, 'request')}, as many answers.", "good"))
    if missing:
        text = (
            f"{count(missing, 'request was', 'requests were')} never sent: the run was stopped, or a level "
        )
        text += f"was given up after {params.stop_after_failures} failures in a row."
        blocks.append(Note(text, "warn"))
    cut = int(analysis.speed["n_at_max_tokens"].sum())
    if cut:
        blocks.append(
            Note(f"{count(cut, 'answer was', 'answers were')} cut off at {params.max_tokens} tokens.", "warn")
        )
    return Section("failures", "Failures", tuple(blocks))


def _failures_table(failures: pd.DataFrame) -> Table:
    rows = [
        cells(row.server, str(row.concurrency), row.error_class, f"{row.n} of {row.out_of}", str(row.example))
        for row in failures.itertuples()
    ]
    titles = columns(
        "server", "in flight", "class", "failed", "for example", text=("server", "class", "for example")
    )
    return Table(
        "Failed requests by class; the example is the first one's message.",
        titles,
        tuple(rows),
        as_cards=True,
    )

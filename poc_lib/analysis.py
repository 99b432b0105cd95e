"""All tables of one run, derived from its files alone: no server is needed, nothing measured is changed."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from poc_lib.canary import list_leaks, summarize_canaries
from poc_lib.confusion import examine_confusion
from poc_lib.errors import SetupProblem
from poc_lib.fairness import FairnessLine, fairness_lines
from poc_lib.goodput import summarize_open_loop
from poc_lib.intervals import latency_intervals
from poc_lib.metrics import LEVEL, Baseline, summarize_failures, summarize_latency
from poc_lib.params import Params
from poc_lib.params_reading import validate_params
from poc_lib.phases import (
    summarize_ceiling,
    summarize_length_matched,
    summarize_phases,
    summarize_repeat_image,
    summarize_tail,
)
from poc_lib.plan import count_planned, plan_cells
from poc_lib.quality import Quality, analyse_quality
from poc_lib.runs import (
    Run,
    newest_run,
    read_damage,
    read_events,
    read_failed_before,
    read_frames_of,
    read_run,
    read_telemetry,
    requests_table,
    write_table,
)
from poc_lib.sittings import interruption_lines
from poc_lib.speed import build_speed_table
from poc_lib.telemetry import summarize_telemetry, telemetry_table
from poc_lib.verdict import Verdict, best_first, decide, judge_criteria

TABLES = (
    *("speed", "latency", "failures", "phases", "ceiling", "tail", "length_matched", "repeat_image"),
    *("open_loop", "confusion", "suspicious", "signs", "canaries", "leaks", "criteria", "telemetry"),
)
QUALITY_TABLES = ("scores", "agreement", "calibration", "levels", "models", "labels", "health")


@dataclass(frozen=True, slots=True)
class Analysis:
    """One run's tables; each is described where it is computed."""

    run: Run
    requests: pd.DataFrame  # runs.requests_table: one row a reply
    frames: pd.DataFrame  # frames_table: one row a frame
    speed: pd.DataFrame  # speed.build_speed_table: one row a server and level
    latency: pd.DataFrame  # metrics.summarize_latency with intervals.latency_intervals
    failures: pd.DataFrame  # metrics.summarize_failures
    phases: pd.DataFrame  # phases.summarize_phases: prefill and decode
    ceiling: pd.DataFrame  # phases.summarize_ceiling: what batching could reach
    tail: pd.DataFrame  # phases.summarize_tail
    length_matched: pd.DataFrame  # phases.summarize_length_matched; empty without a measured baseline
    repeat_image: pd.DataFrame  # phases.summarize_repeat_image
    open_loop: pd.DataFrame  # goodput.summarize_open_loop
    quality: Quality  # everything about single answers
    confusion: pd.DataFrame  # confusion.summarize_confusion
    suspicious: pd.DataFrame  # confusion.list_suspicious
    signs: pd.DataFrame  # confusion.examine_confusion: one row a level and sign, with its test
    canaries: pd.DataFrame  # canary.summarize_canaries
    leaks: pd.DataFrame  # canary.list_leaks
    telemetry: pd.DataFrame  # telemetry.summarize_telemetry
    fairness: tuple[FairnessLine, ...]  # what makes the comparison less than fair
    interruptions: tuple[str, ...]  # where the run broke off, in sentences
    baseline: Baseline
    criteria: pd.DataFrame  # verdict.judge_criteria of the candidate that the verdict speaks of
    verdicts: tuple[Verdict, ...]  # one a candidate, the best first

    @property
    def scores(self) -> pd.DataFrame:
        """accuracy.score_answers: one row per answer and reference."""
        return self.quality.scores

    @property
    def agreement(self) -> pd.DataFrame:
        """accuracy.summarize_agreement: one row per level and reference."""
        return self.quality.agreement

    @property
    def verdict(self) -> Verdict:
        """The verdict on the best candidate."""
        return self.verdicts[0]


def find_run(params: Params) -> Run:
    """The run that the parameters name, or the newest one on their database.

    Raises:
        SetupProblem: there is none.
    """
    if params.run_id:
        return read_run(params.outputs_path / params.run_id)
    folder = newest_run(params.outputs_path, params.database)
    if folder is None:
        raise SetupProblem(
            f"no run on database '{params.database}' in {params.outputs_path}: measure one with the "
            "benchmark notebook, or name one by run_id"
        )
    return read_run(folder)


def analyse_run(run: Run, params: Params) -> Analysis:
    """Compute every table of a run.

    Args:
        params: thresholds and recorded figures come from here, so that they can be changed afterwards.

    Raises:
        SetupProblem: nothing was measured yet, or the labels or embeddings cannot be used.
    """
    requests, frames = sorted_requests(run), frames_table(run)
    _refuse_empty(run, requests)
    recorded = recorded_baseline(params)
    speed, baseline = build_speed_table(requests, frames, run.facts["recording_frames"], recorded)
    quality, confused = analyse_quality(run, params, requests, frames), examine_confusion(requests, frames)
    canaries = summarize_canaries(requests)
    judged = {
        name: _judge(run, params, name, speed, quality.agreement, confused.summary, canaries, baseline)
        for name in candidates_of(run)
    }
    verdicts = best_first(verdict for verdict, _ in judged.values())
    events, telemetry = read_events(run), telemetry_table(read_telemetry(run))
    return Analysis(
        run=run,
        requests=requests,
        frames=frames,
        speed=speed,
        latency=_latency(requests, frames),
        failures=summarize_failures(requests),
        phases=summarize_phases(requests),
        ceiling=summarize_ceiling(requests),
        tail=summarize_tail(requests),
        length_matched=summarize_length_matched(requests, baseline.name, baseline.concurrency),
        repeat_image=summarize_repeat_image(requests),
        open_loop=summarize_open_loop(
            requests, params.slo_ttft_s, params.slo_total_s, params.slo_share, len(frames)
        ),
        quality=quality,
        confusion=confused.summary,
        suspicious=confused.suspicious,
        signs=confused.signs,
        canaries=canaries,
        leaks=list_leaks(requests),
        telemetry=summarize_telemetry(telemetry, requests, events),
        fairness=tuple(
            fairness_lines(requests, run.facts["servers"], events, telemetry, baseline, run.facts["params"])
        ),
        interruptions=tuple(interruption_lines(requests, events, **asdict(read_damage(run)))),
        baseline=baseline,
        criteria=judged[verdicts[0].candidate][1],
        verdicts=verdicts,
    )


def _refuse_empty(run: Run, requests: pd.DataFrame) -> None:
    if not (requests["phase"] == "measure").any():
        raise SetupProblem(
            f"run '{run.run_id}' holds no measured request yet: run the benchmark notebook on it"
        )


def _judge(
    run: Run,
    params: Params,
    candidate: str,
    speed: pd.DataFrame,
    agreement: pd.DataFrame,
    confusion: pd.DataFrame,
    canaries: pd.DataFrame,
    baseline: Baseline,
) -> tuple[Verdict, pd.DataFrame]:
    criteria = judge_criteria(
        candidate,
        speed,
        agreement,
        confusion,
        canaries,
        baseline,
        params.target_tok_per_s,
        params.target_match_rate,
        n_planned=_planned_requests(run, candidate),
        n_failed_before=sum(reply.server == candidate for reply in read_failed_before(run)),
    )
    return decide(candidate, speed, canaries, criteria, baseline), criteria


def candidates_of(run: Run) -> list[str]:
    """The names of the run's candidates, as its parameters list them."""
    return [server["name"] for server in run.facts["servers"] if server["role"] == "candidate"]


def _planned_requests(run: Run, candidate: str) -> int:
    planned = validate_params(run.facts["params"])
    specs = [spec for spec in planned.server_specs() if spec.name == candidate]
    return count_planned(plan_cells(specs, planned), len(run.facts["frames"]))


def _latency(requests: pd.DataFrame, frames: pd.DataFrame) -> pd.DataFrame:
    """metrics.summarize_latency with the intervals of p50 and p95."""
    ends = [f"p{percent}_{end}" for percent in (50, 95) for end in ("low", "high")]
    intervals = latency_intervals(requests, frames)[[*LEVEL, "measure", *ends]]
    return summarize_latency(requests).merge(intervals, on=[*LEVEL, "measure"], how="left")


def sorted_requests(run: Run) -> pd.DataFrame:
    """runs.requests_table by server, level and block; within a cell the order stays as on file."""
    order = ["role", "server", "concurrency", "block"]
    return requests_table(run).sort_values(order, kind="stable", ignore_index=True)


def frames_table(run: Run) -> pd.DataFrame:
    """One row a frame: frame_id, timestamp_s, ref_* (None: no reference), ocr_text, phash, image_path, …"""
    phash = {facts["frame_id"]: facts["phash"] for facts in run.facts["frames"]}
    rows = []
    for frame in read_frames_of(run):
        reference = frame.reference
        rows.append(
            {
                "frame_id": frame.frame_id,
                "timestamp_s": frame.timestamp_s,
                "ref_description": reference.description if reference else None,
                "ref_activity": reference.activity if reference else None,
                "ref_apps": list(reference.apps) if reference and reference.apps is not None else None,
                "ref_topics": list(reference.topics) if reference and reference.topics is not None else None,
                "ref_model": reference.model if reference else None,
                "ocr_text": frame.ocr_text,
                "phash": phash[frame.frame_id],
                "image_path": frame.image_path,
                "recovered": frame.recovered,
            }
        )
    return pd.DataFrame(rows)


def recorded_baseline(params: Params) -> Baseline:
    """The baseline of the parameters' recorded figures, used only where none was measured."""
    return Baseline(
        name=params.baseline_name,
        measured=False,
        concurrency=1,
        frames_per_s=1 / params.recorded_s_per_frame,
        output_tok_per_s=params.recorded_tok_per_s,
        complete=True,
    )


def write_tables(analysis: Analysis) -> list[Path]:
    """Write every table of the analysis as CSV below the run folder."""
    tables = {name: getattr(analysis, name) for name in TABLES}
    tables |= {name: getattr(analysis.quality, name) for name in QUALITY_TABLES}
    paths = [write_table(analysis.run, name, table) for name, table in tables.items()]
    requests = analysis.requests.drop(columns=["arrivals_s"])  # the long list stays in requests.jsonl
    return [*paths, write_table(analysis.run, "requests", requests)]

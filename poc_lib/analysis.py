"""All tables of one run, derived from its files alone: no server is needed, nothing measured is changed."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poc_lib.accuracy import score_answers, summarize_agreement
from poc_lib.confusion import list_suspicious, summarize_confusion
from poc_lib.errors import SetupProblem
from poc_lib.metrics import (
    Baseline,
    add_speedup,
    pick_baseline,
    summarize_failures,
    summarize_latency,
    summarize_speed,
)
from poc_lib.params import Params
from poc_lib.runs import (
    Run,
    newest_run,
    read_events,
    read_frames_of,
    read_run,
    read_telemetry,
    requests_table,
    write_table,
)
from poc_lib.telemetry import summarize_telemetry, telemetry_table
from poc_lib.verdict import Verdict, decide, judge_criteria


@dataclass(frozen=True, slots=True)
class Analysis:
    """One run's tables; each is described where it is computed."""

    run: Run
    requests: pd.DataFrame  # runs.requests_table: one row a reply
    frames: pd.DataFrame  # frames_table: one row a frame
    speed: pd.DataFrame  # metrics.summarize_speed with metrics.add_speedup
    latency: pd.DataFrame  # metrics.summarize_latency
    failures: pd.DataFrame  # metrics.summarize_failures
    scores: pd.DataFrame  # accuracy.score_answers: one row per answer and reference
    agreement: pd.DataFrame  # accuracy.summarize_agreement
    confusion: pd.DataFrame  # confusion.summarize_confusion
    suspicious: pd.DataFrame  # confusion.list_suspicious
    telemetry: pd.DataFrame  # telemetry.summarize_telemetry
    baseline: Baseline
    criteria: pd.DataFrame  # verdict.judge_criteria
    verdict: Verdict


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
    """
    requests, frames = requests_table(run), frames_table(run)
    if requests[requests["phase"] == "measure"].empty:
        raise SetupProblem(
            f"run '{run.run_id}' holds no measured request yet: run the benchmark notebook on it"
        )
    speed = summarize_speed(requests, len(frames), run.facts["recording_frames"])
    baseline = pick_baseline(speed, recorded_baseline(params))
    speed = add_speedup(speed, baseline)
    scores = score_answers(requests, frames, params.match_threshold)
    agreement = summarize_agreement(scores)
    confusion = summarize_confusion(requests, frames)
    criteria = judge_criteria(
        speed,
        agreement,
        confusion,
        baseline,
        params.target_tok_per_s,
        params.target_match_rate,
        n_planned=_planned_requests(run),
    )
    return Analysis(
        run=run,
        requests=requests,
        frames=frames,
        speed=speed,
        latency=summarize_latency(requests),
        failures=summarize_failures(requests),
        scores=scores,
        agreement=agreement,
        confusion=confusion,
        suspicious=list_suspicious(requests, frames),
        telemetry=summarize_telemetry(telemetry_table(read_telemetry(run)), requests, read_events(run)),
        baseline=baseline,
        criteria=criteria,
        verdict=decide(speed, confusion, criteria, baseline),
    )


def _planned_requests(run: Run) -> int:
    planned = run.facts["params"]
    return len(planned["concurrency"]) * planned["repeats"] * len(run.facts["frames"])


def frames_table(run: Run) -> pd.DataFrame:
    """One row a frame: frame_id, timestamp_s, ref_* (None: no reference), phash (64-bit, hex), image_path."""
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
    names = (
        *("speed", "latency", "failures", "scores", "agreement"),
        *("confusion", "suspicious", "criteria", "telemetry"),
    )
    paths = [write_table(analysis.run, name, getattr(analysis, name)) for name in names]
    requests = analysis.requests.drop(columns=["arrivals_s"])  # the long list stays in requests.jsonl
    return [*paths, write_table(analysis.run, "requests", requests)]

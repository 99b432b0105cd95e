"""From a run folder to everything that is shown of it: the four frames and the verdicts, computed once."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from poc_lib import metrics
from poc_lib.checks import server_problems
from poc_lib.labels import label_findings, read_labels
from poc_lib.params import Params
from poc_lib.records import Finding, Frame, Identity, SetupProblem, Verdict
from poc_lib.runs import (
    EDITION,
    Run,
    list_runs,
    read_damage,
    read_events,
    read_frames,
    read_requests,
    read_run,
    read_telemetry,
)
from poc_lib.telemetry import telemetry_table


@dataclass
class Analysis:
    """A run as it is shown. The frames' columns are listed in metrics and in a run's tables/README.md."""

    run: Run
    params: Params
    frames: dict[str, Frame]  # by frame_id, in time order
    events: list[dict]
    answers: pd.DataFrame  # one row an answer or failure
    levels: pd.DataFrame  # one row a (server, level)
    blocks: pd.DataFrame  # one row a confirmation block and candidate
    findings: list[Finding]  # every judged sentence
    verdicts: list[Verdict]  # one a candidate
    telemetry: pd.DataFrame
    compared: pd.DataFrame  # metrics.compare_runs' rows: this run and those of compare_with; else empty

    @cached_property
    def looks(self) -> list[dict]:
        """The estimate at every look, in order."""
        return [event for event in self.events if event["event"] == "look"]


def analyse(run: Run | str | Path, params: Params | None = None) -> Analysis:
    """Compute what is shown of a run. Reads its folder, writes nothing, needs no server.

    Args:
        run: a run, its folder or its run_id.
        params: what the report's reader set; None: as the run was measured.
    """
    run = run if isinstance(run, Run) else read_run(run)
    known = {key: value for key, value in run.params.items() if key in Params.model_fields}
    shown = {} if params is None else {key: getattr(params, key) for key in SHOWN}
    params = Params.model_construct(**(Params().model_dump() | known | shown))
    frames, events = read_frames(run), read_events(run)
    answers = metrics.judge_answers(read_requests(run), frames, events)
    chosen = {event["server"]: event["level"] for event in events if event["event"] == "chosen"}
    set_aside = {event["server"]: event["set_aside"] for event in events if event["event"] == "chosen"}
    levels = metrics.summarize_levels(answers, {k: v for k, v in chosen.items() if v}, events)
    problems = server_problems([Identity(**server) for server in run.facts["servers"]])
    telemetry = telemetry_table(read_telemetry(run))
    baseline = next((s["name"] for s in run.facts["servers"] if s["role"] == "baseline"), None)
    recorded = None if baseline else params.recorded_s_per_frame
    verdicts, tables, findings = [], [], list(problems)
    for name in (s["name"] for s in run.facts["servers"] if s["role"] == "candidate"):
        blocks = metrics.summarize_blocks(
            answers, name, chosen.get(name) or 0, baseline or "recorded", chosen.get(baseline) or 1, recorded
        )
        verdict = metrics.decide(
            blocks, levels, answers, name, baseline or "recorded", chosen,
            max_blocks=params.max_blocks, n_sample=0 if run.facts.get("whole_recording") else len(frames),
            set_aside=set_aside.get(name, ()), setup=problems, recorded_s_per_frame=recorded,
        )  # fmt: skip
        tables.append(blocks)
        verdicts.append(verdict)
        findings += metrics.criteria(verdict, blocks, levels, answers)
    findings += metrics.proof_findings(answers, levels)
    findings += metrics.open_loop_findings(answers, params.slo_ttft_s, params.slo_total_s)
    if params.labels:
        known = {frame.frame_id: frame for frame in frames}
        findings += label_findings(answers, read_labels(Path(params.labels).expanduser(), known))
    findings += metrics.fairness_findings(answers, levels, events, run.facts, telemetry, read_damage(run))
    blocks = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    runs = [(run.run_id, run.facts, levels, verdicts)]
    alone = params.model_copy(update={"compare_with": [], "labels": ""})
    for other in (analyse(read_run(name, run.folder.parent), alone) for name in params.compare_with):
        runs.append((other.run.run_id, other.run.facts, other.levels, other.verdicts))
    compared, judged = metrics.compare_runs(runs) if params.compare_with else (pd.DataFrame(), [])
    findings += judged
    return Analysis(
        run, params, {f.frame_id: f for f in frames}, events, answers, levels, blocks, findings, verdicts,
        telemetry, compared,
    )  # fmt: skip


SHOWN = [name for name, field in Params.model_fields.items() if field.json_schema_extra["use"] == "shows"]


def find_run(params: Params) -> Run:
    """The run that run_id names, or the newest on the database that the parameters name.

    Raises:
        SetupProblem: there is none.
    """
    if params.run_id:
        return read_run(params.run_id, params.outputs_path)
    for run in list_runs(params.outputs_path):
        if run.params["database"] == params.database:
            return run
    raise SetupProblem(
        f"no run on the database '{params.database}' in {params.outputs_path}: measure one with "
        "benchmark.ipynb, or name it with run_id"
    )


def is_first_edition(run: Run) -> bool:
    """Whether the run was measured by the first edition, whose blocks decide nothing here."""
    return run.facts.get("edition") != EDITION

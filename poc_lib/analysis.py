"""From a run folder to everything that is shown of it: the four frames and the verdicts, computed once."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from poc_lib import metrics, runs
from poc_lib.checks import server_problems
from poc_lib.labels import judge_labels
from poc_lib.params import DEMO, Params
from poc_lib.records import Finding, Frame, Identity, SetupProblem, Verdict
from poc_lib.telemetry import telemetry_table


@dataclass
class Analysis:
    """A run as it is shown. The frames' columns are listed in metrics and in a run's tables/README.md."""

    run: runs.Run
    params: Params
    frames: dict[str, Frame]  # by frame_id, in time order
    events: list[dict]
    answers: pd.DataFrame  # one row an answer or failure
    levels: pd.DataFrame  # one row a (server, level)
    blocks: pd.DataFrame  # one row a confirmation block and candidate
    findings: list[Finding]  # every judged sentence
    verdicts: list[Verdict]  # one a candidate
    compared: pd.DataFrame  # metrics.compare_runs' rows: this run and those of compare_with; else empty


def analyse(run: runs.Run | str | Path, params: Params | None = None) -> Analysis:
    """Compute what is shown of a run, its folder or its run_id. Writes nothing, needs no server.

    ``params`` is what the report's reader set; None: as the run was measured.
    """
    run = run if isinstance(run, runs.Run) else runs.read_run(run)
    asked = run.params if params is None else run.params | params.model_dump(include=SHOWN)
    is_shown = asked.get("screenshots") or asked.get("database") == DEMO  # the demo's are nobody's
    params = Params.model_construct(**(asked | {"screenshots": is_shown}))
    frames, events = {frame.frame_id: frame for frame in runs.read_frames(run)}, runs.read_events(run)
    answers = metrics.judge_answers(runs.read_requests(run), [*frames.values()], events)
    choices = {event["server"]: event for event in events if event["event"] == "chosen"}
    chosen = {server: event["level"] for server, event in choices.items()}
    levels = metrics.summarize_levels(answers, {k: v for k, v in chosen.items() if v}, events)

    roles = {server["name"]: server["role"] for server in run.facts["servers"]}
    baseline = next((name for name, role in roles.items() if role == "baseline"), "recorded")
    recorded_s = None if "baseline" in roles.values() else params.recorded_s_per_frame
    problems = server_problems([Identity(**server) for server in run.facts["servers"]])
    verdicts, tables, findings = [], [], list(problems)
    for name in [name for name, role in roles.items() if role == "candidate"]:
        blocks = metrics.summarize_blocks(
            answers, name, chosen.get(name) or 0, baseline, chosen.get(baseline) or 1, recorded_s
        )
        verdict = metrics.decide(
            blocks, levels, answers, name, baseline, chosen,
            max_blocks=params.max_blocks, n_sample=0 if run.facts.get("whole_recording") else len(frames),
            set_aside=choices[name]["set_aside"] if name in choices else (), setup=problems,
            recorded_s_per_frame=recorded_s,
        )  # fmt: skip
        tables.append(blocks)
        verdicts.append(verdict)
        findings += metrics.criteria(verdict, blocks, levels, answers)

    findings += metrics.proof_findings(answers, levels)
    findings += metrics.open_loop_findings(answers, params.slo_ttft_s, params.slo_total_s)
    if params.labels:
        findings += judge_labels(Path(params.labels).expanduser(), frames, answers)
    telemetry, damage = telemetry_table(runs.read_telemetry(run)), runs.read_damage(run)
    findings += metrics.fairness_findings(answers, levels, events, run.facts, telemetry, damage)
    compared = pd.DataFrame()
    if params.compare_with:
        alone = params.model_copy(update={"compare_with": [], "labels": ""})
        others = [analyse(runs.read_run(run_id, run.folder.parent), alone) for run_id in params.compare_with]
        sides = [(other.run.run_id, other.run.facts, other.levels, other.verdicts) for other in others]
        compared, judged = metrics.compare_runs([(run.run_id, run.facts, levels, verdicts), *sides])
        findings += judged
    blocks = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return Analysis(run, params, frames, events, answers, levels, blocks, findings, verdicts, compared)


SHOWN = {name for name, field in Params.model_fields.items() if field.json_schema_extra["use"] == "shows"}


def find_run(params: Params) -> runs.Run:
    """The run that run_id names, or the newest on the parameters' database; SetupProblem without any."""
    if params.run_id:
        return runs.read_run(params.run_id, params.outputs_path)
    for run in runs.list_runs(params.outputs_path):
        if run.params.get("database") == params.database:
            return run
    where = f"on the database '{params.database}' in {params.outputs_path}"
    raise SetupProblem(f"no run {where}: measure one with benchmark.ipynb, or name it with run_id")

"""One run's tables become one page: verdict first, then what it rests on."""

from collections.abc import Mapping, Sequence

from poc_lib.analysis import Analysis
from poc_lib.comparison import Comparison
from poc_lib.params import Params
from poc_lib.report.blocks import Note, ReportPage, Sample
from poc_lib.report.comparison import comparison_section
from poc_lib.report.ending import (
    findings_section,
    glossary_section,
    limits_section,
    next_section,
    reproduce_section,
)
from poc_lib.report.failures import failures_section
from poc_lib.report.fairness import fairness_section
from poc_lib.report.findings import key_findings
from poc_lib.report.latency import latency_section
from poc_lib.report.machine import machine_section
from poc_lib.report.open_loop import open_loop_section
from poc_lib.report.phases import phases_section
from poc_lib.report.quality import accuracy_section, confusion_section, health_section, samples_section
from poc_lib.report.speed import criteria_section, speed_section, summary_section
from poc_lib.report.wording import count
from poc_lib.verdict import INCONCLUSIVE, NOT_RECOMMENDED, STEPS, Verdict

SIMULATED = "Simulated servers: these numbers show the tool, not a server."
PRIVATE = "This page shows the screenshots that were sent. Share it as you would share the screen."
N_SUMMARY_SENTENCES = 3


def build_report(
    analysis: Analysis,
    params: Params,
    samples: Sequence[Sample] = (),
    comparison: Comparison | None = None,
) -> ReportPage:
    """The whole report of one run.

    Args:
        analysis: every table of the run.
        params: thresholds, targets and whether screenshots may be shown.
        samples: what describe_sample made of the chosen answers.
        comparison: other runs that this one is held against.
    """
    sections = (
        summary_section(analysis, key_findings(analysis)[:N_SUMMARY_SENTENCES]),
        criteria_section(analysis),
        speed_section(analysis),
        comparison_section(comparison.table, comparison.differences) if comparison else None,
        fairness_section(analysis),
        latency_section(analysis),
        phases_section(analysis),
        open_loop_section(analysis),
        machine_section(analysis),
        failures_section(analysis, params),
        accuracy_section(analysis, params),
        confusion_section(analysis),
        health_section(analysis),
        samples_section(samples, params.screenshots),
        findings_section(analysis),
        next_section(analysis, params),
        limits_section(analysis),
        reproduce_section(analysis),
        glossary_section(),
    )
    return ReportPage(
        title=f"{analysis.verdict.candidate} against {analysis.baseline.name}",
        about=_about(analysis),
        banners=_banners(analysis, params, samples),
        verdict=analysis.verdict,
        steps=_steps(analysis.verdict),
        sections=tuple(section for section in sections if section is not None),
    )


def _about(analysis: Analysis) -> tuple[str, ...]:
    facts = analysis.run.facts
    return (
        f"Run {analysis.run.run_id}",
        facts["created_at"][:16].replace("T", " ") + " UTC",
        f"{count(len(analysis.frames), 'frame')} per level",
        _machine(facts.get("host", {})),
    )


def _machine(host: Mapping) -> str:
    return ", ".join(filter(None, (host.get("chip"), host.get("gpu")))) or "unknown machine"


def _banners(analysis: Analysis, params: Params, samples: Sequence[Sample]) -> tuple[Note, ...]:
    banners = []
    if analysis.run.simulated:
        banners.append(Note(SIMULATED, "bad"))
    if params.note:
        banners.append(Note(params.note, "warn"))
    if not analysis.baseline.measured:
        banners.append(Note(f"The baseline is recorded, not measured: {analysis.baseline.label}.", "warn"))
    if params.screenshots and not params.uses_demo_data and any(sample.image for sample in samples):
        banners.append(Note(PRIVATE, "muted"))
    return tuple(banners)


def _steps(verdict: Verdict) -> tuple[tuple[str, str, bool], ...]:
    """The verdict's four steps, lowest first: label, range in frames/s, and whether it is still possible.

    A settled verdict leaves one; an inconclusive one all that its interval touches.
    """
    rising = STEPS[::-1]
    upper = [*(threshold for threshold, _ in rising), None]
    names = [NOT_RECOMMENDED, *(name for _, name in rising)]
    lower = [None, *(threshold for threshold, _ in rising)]
    possible = {verdict.label}
    if verdict.label == INCONCLUSIVE:
        possible = set(names[names.index(verdict.at_least) : names.index(verdict.at_most) + 1])
    return tuple(
        (name, f"below {high:g} ×" if low is None else f"from {low:g} ×", name in possible)
        for name, low, high in zip(names, lower, upper, strict=True)
    )

"""Every line that applies to a run, warnings first."""

from collections.abc import Mapping, Sequence

import pandas as pd

from poc_lib.fairness.answers import length_lines, prompt_lines, temperature_lines, thinking_lines
from poc_lib.fairness.caches import cache_lines
from poc_lib.fairness.line import FairnessLine
from poc_lib.fairness.machine import machine_lines
from poc_lib.fairness.models import baseline_lines, model_lines
from poc_lib.fairness.sittings import changed_server_lines, given_up_lines, restart_lines
from poc_lib.metrics import Baseline


def fairness_lines(
    requests: pd.DataFrame,
    identities: Sequence[Mapping],
    events: Sequence[Mapping],
    telemetry: pd.DataFrame,
    baseline: Baseline,
    params: Mapping,
) -> list[FairnessLine]:
    """What a reader must know before the servers of a run are compared; warnings first.

    Args:
        requests: one row a reply (records.Reply); warm-up and other phases may be in it.
        identities: run.json's "servers", the fields of records.ServerIdentity.
        events: the run's events, oldest first.
        telemetry: telemetry.telemetry_table, one row a sample; may be empty.
        baseline: what speed-ups are taken against.
        params: run.json's "params".
    """
    lines = [
        *baseline_lines(requests, identities, baseline),
        *model_lines(requests, identities, baseline),
        *length_lines(requests, baseline),
        *thinking_lines(requests, identities, baseline),
        *prompt_lines(requests, baseline),
        *cache_lines(requests, events, telemetry, baseline),
        *restart_lines(events),
        *changed_server_lines(identities, events),
        *given_up_lines(events),
        *machine_lines(requests, telemetry, params),
        *temperature_lines(params),
    ]
    return sorted(lines, key=lambda line: line.severity != "warning")

"""The runs that the parameters name, read and held together: the only file here that reads a disk."""

from dataclasses import dataclass

import pandas as pd

from poc_lib.analysis import Analysis, analyse_run
from poc_lib.comparison.differences import Difference, refuse_unlike
from poc_lib.comparison.tables import compare_runs
from poc_lib.params import Params
from poc_lib.runs import read_run


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the report shows of several runs."""

    table: pd.DataFrame  # compare_runs; the first run is the one that the others are held against
    differences: dict[str, list[Difference]]  # each later run's differences from the first, by run id


def gather_comparison(analysis: Analysis, params: Params) -> Comparison | None:
    """This run held against those of ``compare_with``, the first of which is the measure; None without any.

    All runs are judged with this run's thresholds.

    Raises:
        SetupProblem: a named run does not exist or holds no measured request, or the runs are not alike and
            ``compare_anyway`` is False.
    """
    if not params.compare_with:
        return None
    others = [read_run(params.outputs_path / run_id) for run_id in params.compare_with]
    differences = refuse_unlike([*others, analysis.run], params.compare_anyway)
    analyses = [*(analyse_run(run, params) for run in others), analysis]
    return Comparison(compare_runs(analyses), differences)

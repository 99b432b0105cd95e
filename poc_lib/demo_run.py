"""Find the run to read; where the demo is asked for and there is none yet, measure it first."""

from poc_lib.analysis import find_run
from poc_lib.params import Params
from poc_lib.runs import Run, newest_run
from poc_lib.sweep import run_sitting


async def run_or_demo(params: Params) -> Run:
    """The named or newest run; a first demo run is measured on the spot, against simulated servers only.

    Raises:
        SetupProblem: no run, and the parameters do not ask for the embedded demo.
    """
    all_demo = params.uses_demo_data and all(spec.url == "demo" for spec in params.server_specs())
    if params.run_id or not all_demo or newest_run(params.outputs_path, params.database):
        return find_run(params)
    return (await run_sitting(params)).run

"""The whole tool against real vllm-mlx servers of Qwen3-VL-4B's exact shape, random weights, on this machine.

Two servers serve one model folder: one with continuous batching (the candidate) and one without (the
sequential baseline). Answers are letters without meaning; timings, tokens and failures are real. At the end
the tool's token counts are held against the servers' own counters; the exit status is 0 where they agree.

    python -m benchmarks.gpu_run outputs/gpu-run --levels 1 2 4 8 16
    python -m benchmarks.gpu_run outputs/cpu-run --shape tiny --engine-python .venv-engine/bin/python
"""

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from poc_lib import cli
from poc_lib.measure.experiment import run_all
from poc_lib.params import validate_params
from poc_lib.runs import read_events, read_requests, read_run
from tests.engine.servers import SERVED_NAME, vllm_mlx

BUILDER = Path(__file__).with_name("random_model.py")
SERVE = "import sys; from vllm_mlx.cli import main; sys.exit(main())"  # also where no script is on the PATH
CELL = ["server", "phase", "concurrency", "block"]
TOLERANCE = 0.01  # of the tokens: the most that may differ


def main() -> int:
    """Build the model, serve it twice, run the tool, compare the counters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("output", type=Path, help="the run folder")
    parser.add_argument("--model-dir", type=Path, help="serve this model instead of building a random one")
    parser.add_argument("--shape", default="qwen3-vl-4b", help="of the random model; 'tiny' for a CPU")
    parser.add_argument("--bits", type=int, default=0, help="quantisation of the language part; 0: none")
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2, 4, 8], help="in flight")
    parser.add_argument("--candidate-flags", nargs="*", default=[], help="e.g. =--disable-prefix-cache")
    parser.add_argument("--measure-only", action="store_true", help="no notebooks: they come by `report`")
    parser.add_argument("--engine-python", default=sys.executable, help="Python that has vllm-mlx")
    args, tool_flags = parser.parse_known_args()  # what is not known here goes to the tool: --frames 16
    folder = args.output.resolve()
    model = args.model_dir or folder.parent / f"random-{args.shape}-{args.bits or 'full'}"
    if args.model_dir is None:
        build = [args.engine_python, BUILDER, model, "--model", args.shape]
        subprocess.run([*map(str, build), *(["--bits", str(args.bits)] if args.bits else [])], check=True)
    most = str(max(32, *args.levels))
    many = ["--max-num-seqs", most, "--completion-batch-size", most, *args.candidate_flags]
    program = [args.engine_python, "-c", SERVE]
    candidate = vllm_mlx(model, *many, program=program)
    with candidate as batching, vllm_mlx(model, batching=False, program=program) as simple:
        servers = [
            {"name": "vllm-mlx", "role": "candidate", "url": batching.url, "concurrency": args.levels},
            {"name": "vllm-mlx-simple", "role": "baseline", "url": simple.url, "concurrency": [1]},
        ]
        words = [json.dumps(server | {"model": SERVED_NAME}) for server in servers]
        command = ["run", "--output", str(folder), *tool_flags, "--servers", *words]
        if args.measure_only:
            asyncio.run(run_all(validate_params(cli.read_arguments(command)[1])))
        status = 0 if args.measure_only else cli.main(command)
    table = compare_counters(folder)
    print(table.to_markdown(index=False))
    return status or int(not table["agrees"].all())


def compare_counters(folder: Path) -> pd.DataFrame:
    """Output tokens per server and level: as the tool counted them, and as the server's counters moved.

    Without the cell of given-up requests, whose tokens servers count late, into the next cell.
    """
    run = read_run(folder)
    rows, events = read_requests(run), pd.DataFrame(read_events(run))
    cells = events[events["event"].isin(["cell_started", "cell_ended"])]
    cells = cells.assign(counted=[told.get("output_tokens_total") for told in cells["counters"]])
    moved = cells.pivot_table("counted", [*CELL, "sitting"], "event", aggfunc="last").reset_index()
    moved["server_tokens"] = moved["cell_ended"] - moved["cell_started"]
    ours = rows.groupby([*CELL, "sitting"], as_index=False).agg(our_tokens=("output_tokens", "sum"))
    both = moved.merge(ours)
    both = both[both["phase"] != "proof_abort"]
    table = both.groupby(["server", "concurrency"], as_index=False)[["our_tokens", "server_tokens"]].sum()
    difference = table["our_tokens"] / table["server_tokens"] - 1
    return table.assign(difference=difference, agrees=difference.abs() <= TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())

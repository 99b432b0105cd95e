"""The whole tool against real engines of Qwen3-VL-4B's exact shape, random weights, on this machine's GPU.

Two real vllm-mlx servers are started: one with continuous batching (the candidate) and one without (the
sequential baseline). The weights are random, so the answers are letters without meaning; timings, tokens and
failures are real. The tool's token counts are then held against the servers' own counters.

    python benchmarks/gpu_check.py outputs/gpu-check --bits 4 --levels 1 2 4 8 16
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd

from poc_lib.cli import main as run_tool
from poc_lib.demo import prepare_demo

MODEL = "random-qwen3-vl-4b"
BUILDER = Path(__file__).with_name("random_model.py")
TOLERANCE = 0.01  # the most that our token count may differ from the server's own


@dataclass(frozen=True)
class Server:
    """A running vllm-mlx."""

    url: str
    process: subprocess.Popen


def main() -> int:
    """Build the model, serve it twice, run the tool, compare the counters; 0 when they agree."""
    args = read_arguments()
    folder = args.output.resolve()
    model = folder.parent / f"{MODEL}-{args.bits}bit"
    build = [args.engine_python, str(BUILDER), str(model), "--model", args.shape, "--bits", str(args.bits)]
    subprocess.run(build, check=True)
    flags = ["--continuous-batching", "--max-num-seqs", "32", "--completion-batch-size", "32"]
    with vllm_mlx(args, model, "batching", flags) as candidate, vllm_mlx(args, model, "simple") as baseline:
        status = run_tool(tool_arguments(args, folder, candidate, baseline))
        table = compare_counters(folder)
    print(table.to_markdown(index=False))
    (folder / "counters.md").write_text(table.to_markdown(index=False) + "\n", encoding="utf-8")
    return status or int(not table["agrees"].all())


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the run folder")
    parser.add_argument("--bits", type=int, default=4, help="quantisation of the language part")
    parser.add_argument("--shape", default="qwen3-vl-4b", help="'tiny' rehearses on a CPU")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--engine-python", default=sys.executable, help="Python that has vllm-mlx")
    return parser.parse_args()


def tool_arguments(args: argparse.Namespace, folder: Path, candidate: Server, baseline: Server) -> list[str]:
    """The command line of the tool: demo frames as a database, both servers as the user would name them."""
    values = {
        "database": prepare_demo(folder.parent / "demo-data").database,
        "n_frames": args.frames,
        "max_tokens": args.max_tokens,
        "blocks": args.blocks,
        "temperature": 0,
        "candidate_url": candidate.url,
        "candidate_model": MODEL,
        "baseline_name": "vllm-mlx-simple",
        "baseline_api": "openai",
        "baseline_url": baseline.url,
        "baseline_model": MODEL,
        "output": folder,
    }
    flags = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return ["run", *flags, "--concurrent", *map(str, args.levels)]


@contextlib.contextmanager
def vllm_mlx(args: argparse.Namespace, model: Path, name: str, flags: Sequence[str] = ()) -> Iterator[Server]:
    """Serve the model on a free port of this machine until the block ends; the log lies beside the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = "import sys; from vllm_mlx.cli import main; sys.exit(main())"
    command = [args.engine_python, "-c", script, "serve", str(model), "--served-model-name", MODEL]
    command += ["--mllm", "--offline", "--enable-metrics", "--host", "127.0.0.1", "--port", str(port)]
    home = model.parent / f"home-{name}"  # its caches are kept apart, and thrown away
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HOME": str(home), "HF_HUB_OFFLINE": "1"}
    with (model.parent / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([*command, *flags], stdout=log, stderr=log, env=environment)
    server = Server(f"http://127.0.0.1:{port}/v1", process)
    try:
        wait_for(server, Path(log.name))
        yield server
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(home)


def wait_for(server: Server, log: Path, limit_s: float = 300.0) -> None:
    """Return when the server is healthy; SystemExit with the log's end when it is not in time."""
    deadline = time.monotonic() + limit_s
    while server.process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url.removesuffix('/v1')}/health", trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    raise SystemExit(f"the server did not start: {log.read_text(errors='replace')[-3000:]}")


def compare_counters(folder: Path) -> pd.DataFrame:
    """Output tokens per server and level, as the tool counted them and as the server's counters moved."""
    table = pd.read_csv(folder / "tables" / "telemetry.csv")
    table = table[["server", "concurrency", "client_output_tokens", "server_output_tokens"]]
    difference = table["client_output_tokens"] / table["server_output_tokens"] - 1
    return table.assign(difference=difference, agrees=difference.abs() <= TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())

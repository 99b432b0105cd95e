"""The whole tool against real engines of Qwen3-VL-4B's exact shape, random weights, on this machine.

Two real vllm-mlx servers are started: one with continuous batching (the candidate) and one without (the
sequential baseline); with --third also mlx_vlm.server, as a second candidate. The weights are random, so the
answers are letters without meaning; timings, tokens and failures are real. The tool's token counts are then
held against the servers' own counters.

    python benchmarks/gpu_check.py outputs/gpu-check --bits 4 --levels 1 2 4 8 16
"""

import argparse
import contextlib
import json
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
VLLM_MLX = "import sys; from vllm_mlx.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str  # ends in /v1
    process: subprocess.Popen


def main() -> int:
    """Build the model, serve it, run the tool, compare the counters; 0 when they agree."""
    args = read_arguments()
    folder = args.output.resolve()
    model = folder.parent / f"random-{args.shape}-{args.bits}bit"
    build = [args.engine_python, str(BUILDER), str(model), "--model", args.shape, "--bits", str(args.bits)]
    subprocess.run(build, check=True)
    with contextlib.ExitStack() as running:
        servers = [running.enter_context(server) for server in server_contexts(args, folder, model)]
        status = run_tool(tool_arguments(args, folder, servers))
        table = compare_counters(folder)
    print(table.to_markdown(index=False))
    (folder / "counters.md").write_text(table.to_markdown(index=False) + "\n", encoding="utf-8")
    return status or int(not table["agrees"].all())


def read_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="the run folder")
    parser.add_argument("--bits", type=int, default=4, help="quantisation of the language part")
    parser.add_argument("--shape", default="qwen3-vl-4b", help="'tiny' runs on a CPU")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--canaries", type=int, default=6, help="per level; 0: none")
    parser.add_argument("--canary-aborts", action="store_true", help="also give some canaries up")
    parser.add_argument("--repeat-image-frames", type=int, default=4, help="0: none")
    parser.add_argument("--open-loop-rates", type=float, nargs="*", default=[], help="arrivals per second")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument(
        "--prefix-cache",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="the candidate's prefix cache (its own default: on)",
    )
    parser.add_argument("--third", action="store_true", help="also mlx_vlm.server, as a second candidate")
    parser.add_argument("--engine-python", default=sys.executable, help="Python that has vllm-mlx")
    parser.add_argument("--note", default="", help="a line on top of the report")
    return parser.parse_args()


def server_contexts(
    args: argparse.Namespace, folder: Path, model: Path
) -> list[contextlib.AbstractContextManager[dict]]:
    """The servers to start, each yielding its entry of the parameter ``servers``; the baseline first."""
    most = str(max(32, *args.levels))
    batching = ["--continuous-batching", "--max-num-seqs", most, "--completion-batch-size", most]
    batching += [] if args.prefix_cache else ["--disable-prefix-cache"]
    entries = [
        vllm_mlx(args, folder, model, "vllm-mlx", batching, "candidate"),
        vllm_mlx(args, folder, model, "vllm-mlx-simple", [], "baseline"),
    ]
    return [*entries, mlx_vlm(args, folder, model)] if args.third else entries


def tool_arguments(args: argparse.Namespace, folder: Path, servers: Sequence[dict]) -> list[str]:
    """The command line of the tool: demo frames as a database, the servers as the user would name them."""
    values = {
        "database": prepare_demo(folder.parent / "demo-data").database,
        "n_frames": args.frames,
        "max_tokens": args.max_tokens,
        "blocks": args.blocks,
        "canaries": args.canaries,
        "repeat_image_frames": args.repeat_image_frames,
        "temperature": args.temperature,
        "note": args.note,
        "output": folder,
    }
    flags = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    flags += ["--canary_aborts"] if args.canary_aborts else []
    flags += ["--open_loop_rates", *map(str, args.open_loop_rates)]
    return ["run", *flags, "--servers", *map(json.dumps, servers)]


@contextlib.contextmanager
def vllm_mlx(
    args: argparse.Namespace, folder: Path, model: Path, name: str, flags: Sequence[str], role: str
) -> Iterator[dict]:
    """Serve the model with vllm-mlx until the block ends; yields its entry of ``servers``."""
    command = [args.engine_python, "-c", VLLM_MLX, "serve", str(model), "--served-model-name", MODEL]
    command += ["--mllm", "--offline", "--enable-metrics", *flags]
    with running_server(command, folder, name) as server:
        entry = {"name": name, "role": role, "url": server.url, "model": MODEL}
        yield entry | {"concurrency": args.levels if role == "candidate" else [1]}


@contextlib.contextmanager
def mlx_vlm(args: argparse.Namespace, folder: Path, model: Path) -> Iterator[dict]:
    """Serve the same model with mlx_vlm.server, whose name for it is its path."""
    command = [args.engine_python, "-m", "mlx_vlm.server", "--model", str(model)]
    with running_server(command, folder, "mlx-vlm") as server:
        entry = {"name": "mlx-vlm", "role": "candidate", "url": server.url, "model": str(model)}
        yield entry | {"concurrency": args.levels}


@contextlib.contextmanager
def running_server(command: Sequence[str], folder: Path, name: str) -> Iterator[Server]:
    """Start a server on a free port of this machine and stop it after; its log lies beside the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = folder.parent / f"home-{folder.name}-{name}"  # its caches are kept apart, and thrown away
    home.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HOME": str(home), "HF_HUB_OFFLINE": "1"}
    with (folder.parent / f"{folder.name}-{name}.log").open("wb") as log:
        address = ["--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen([*command, *address], stdout=log, stderr=log, env=environment)
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

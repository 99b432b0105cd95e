"""Command line: ``python -m poc_lib.simulator --api openai --model NAME --answers answers.json``."""

import argparse
import asyncio
import sys
from pathlib import Path

from poc_lib.errors import SetupProblem
from poc_lib.simulator.app import Settings, serve
from poc_lib.simulator.faults import FAULT_MEANINGS


def read_settings(arguments: list[str] | None = None) -> Settings:
    """The settings that the command line asks for; argparse ends the process on a wrong one."""
    faults = "\n".join(f"  {name:16} {meaning}" for name, meaning in FAULT_MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="python -m poc_lib.simulator",
        description="A simulated vision-language server on 127.0.0.1. It ends when its stdin does.",
        epilog=f"faults, as NAME:SHARE or NAME:SHARE@IN_FLIGHT:\n{faults}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--api", choices=("openai", "ollama"), required=True)
    parser.add_argument("--model", required=True, help="the name under which the model is served")
    parser.add_argument("--answers", type=Path, required=True, help="JSON: image SHA-256 to answer")
    parser.add_argument("--speed", type=float, default=1.0, help="divides every simulated time")
    parser.add_argument("--seed", type=int, default=0, help="seed of variants, jitter and faults")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME:SHARE", dest="faults")
    parser.add_argument(
        "--simple", action="store_true", help="openai: no batching, a second request is refused"
    )
    parser.add_argument("--max-batch", type=int, default=32, help="openai: requests in a wave at most")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    values = vars(parser.parse_args(arguments))
    if values["speed"] <= 0 or values["max_batch"] < 1:
        parser.error("--speed must be above 0 and --max-batch at least 1")
    return Settings(**values | {"faults": tuple(values["faults"])})


def main() -> int:
    """Serve until told to stop; a wrong set-up is one line on stderr and exit status 2."""
    try:
        asyncio.run(serve(read_settings()))
    except SetupProblem as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build the tiny random-weight models with the engine's Python, from whichever Python runs this.

python -m tests.engine.tiny_model OUT_DIR [--seed N] [--bits N] [--model tiny-text]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.engine.engine_env import PROJECT_ROOT, EngineError, engine_python, offline_environment

BUILDER = PROJECT_ROOT / "benchmarks" / "random_model.py"
BUILD_LIMIT_S = 120.0


def tiny_model(out_dir: Path, *, seed: int = 0, bits: int | None = None, model: str = "tiny") -> Path:
    """Return `out_dir` with the model in it, built in seconds if it is not there yet (raises EngineError)."""
    options = ["--model", model, "--seed", str(seed), *(["--bits", str(bits)] if bits else [])]
    run_builder([str(out_dir), *options])
    return out_dir


def run_builder(arguments: list[str]) -> None:
    """Run the builder under the engine's Python; EngineError with its output if it fails."""
    command = [str(engine_python()), str(BUILDER), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_LIMIT_S, env=offline_environment()
    )
    if done.returncode != 0:
        raise EngineError(f"{BUILDER.name} failed:\n{done.stderr.strip()[-3000:]}")


if __name__ == "__main__":
    run_builder(sys.argv[1:])

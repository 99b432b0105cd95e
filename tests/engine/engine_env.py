"""Where the real servers live: an environment of their own, found without importing anything from it."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"  # never 0.0.0.0, which is mlx_vlm.server's own default


class EngineError(RuntimeError):
    """A real server or its model could not be found, built or started; the message ends with the log."""


def engine_python() -> Path:
    """Return the engine environment's Python: POC_ENGINE_PYTHON, else .venv-engine (raises EngineError)."""
    path = Path(os.environ.get("POC_ENGINE_PYTHON") or PROJECT_ROOT / ".venv-engine" / "bin" / "python")
    if not path.is_file():
        raise EngineError(
            f"no engine environment at {path}: run `make engine`, or set POC_ENGINE_PYTHON to its Python"
        )
    return path


def offline_environment() -> dict[str, str]:
    """Return the environment with every download forbidden and without proxies for localhost."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return os.environ | offline | {"NO_PROXY": HOST, "PYTHONUNBUFFERED": "1"}

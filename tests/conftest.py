"""Shared fixtures: one outputs folder for quick sweeps, one whole demo run through the command line."""

from pathlib import Path

import pytest

from poc_lib.cli import main

DEMO_RUN = ["--n_frames", "6", "--concurrent", "1", "4", "--demo_speed", "20", "--warmup_requests", "1"]
DEMO_RUN += ["--blocks", "2", "--open_loop_rates", "20"]


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, so that the demo data is made once."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="session")
def demo_run(outputs: Path) -> Path:
    """The folder of a complete demo run: all four notebooks, as `make demo` runs them."""
    folder = outputs / "demo-run"
    assert main(["run", *DEMO_RUN, "--output", str(folder)]) == 0
    return folder

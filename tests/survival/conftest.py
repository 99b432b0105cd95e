"""Two simulated servers that outlive the sweeps that ask them: a killed sweep starts again at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from poc_lib.demo import prepare_demo
from poc_lib.simulator.process import SimulatorProcess, simulated_server

SPEED = 20.0


@dataclass(frozen=True)
class Servers:
    """The addresses of the two servers, as parameters."""

    candidate: SimulatorProcess
    baseline: SimulatorProcess

    @property
    def urls(self) -> dict[str, str]:
        return {"candidate_url": self.candidate.url, "baseline_url": self.baseline.url}


@pytest.fixture(scope="package")
def servers(outputs: Path) -> Iterator[Servers]:
    answers = prepare_demo(outputs / "demo-data").answers
    with (
        simulated_server("openai", "demo-vlm", answers, speed=SPEED) as candidate,
        simulated_server("ollama", "demo-vlm", answers, speed=SPEED) as baseline,
    ):
        yield Servers(candidate, baseline)

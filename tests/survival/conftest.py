"""Two simulated servers that outlive the processes that ask them: a killed run goes on at once."""

import pytest

from demo.server import start, stop
from tests.demo_kit import demo


@pytest.fixture(scope="package")
def urls():
    running = {
        f"{role}_url": start(api, "demo-vlm", demo().answers)
        for role, api in (("candidate", "openai"), ("baseline", "ollama"))
    }
    yield {name: server.url for name, server in running.items()}
    for server in running.values():
        stop(server)

import signal
import subprocess
import sys

import httpx
import pytest

import poc_lib.simulator
from poc_lib.errors import SetupProblem
from poc_lib.params import PROJECT_ROOT
from poc_lib.simulator import simulated_server, start_simulator, stop_simulator
from tests.test_simulator_kit import MODEL, write_answers


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return write_answers(tmp_path_factory.mktemp("answers"), 1)


def test_the_room_exports_only_its_process_helpers():
    assert set(poc_lib.simulator.__all__) == {
        "SimulatorProcess",
        "simulated_server",
        "start_simulator",
        "stop_simulator",
    }


def test_the_server_says_one_line_and_ends_when_its_stdin_does(answers):
    server = start_simulator("openai", MODEL, answers)
    try:
        assert httpx.get(server.url + "/models", trust_env=False).status_code == 200
        server.process.stdin.close()
        assert server.process.stdout.read() == b""
        assert server.process.wait(10) == 0
    finally:
        stop_simulator(server)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server(answers, number):
    server = start_simulator("ollama", MODEL, answers)
    try:
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
    finally:
        stop_simulator(server)


def test_a_killed_parent_leaves_no_server_behind(answers):
    code = (
        "import sys, time; from poc_lib.simulator import start_simulator\n"
        f"server = start_simulator('openai', 'm', {str(answers)!r})\n"
        "print(server.url, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    with parent:
        url = parent.stdout.readline().strip()
        assert httpx.get(url + "/models", trust_env=False).status_code == 200
        parent.kill()
    with httpx.Client(trust_env=False) as client:
        for _ in range(200):
            try:
                client.get(url + "/models")
            except httpx.TransportError:
                return
    pytest.fail("the server still answers after its parent was killed")


def test_the_context_manager_stops_the_server(answers):
    with simulated_server("ollama", MODEL, answers) as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert not server.url.endswith("/v1")
    assert server.process.returncode == 0


def test_an_unknown_fault_gives_one_clear_line(answers):
    with pytest.raises(SetupProblem, match="did you mean 'wrong_image'") as caught:
        start_simulator("openai", MODEL, answers, faults=["wrong_imag:0.5"])
    assert "\n" not in str(caught.value)
    assert "exit status 2" in str(caught.value)


def test_a_missing_answers_file_gives_one_clear_line(tmp_path):
    with pytest.raises(SetupProblem, match="no answers file at"):
        start_simulator("openai", MODEL, tmp_path / "none.json")


def test_stopping_twice_does_no_harm(answers):
    server = start_simulator("openai", MODEL, answers)
    stop_simulator(server)
    stop_simulator(server)
    assert server.process.returncode == 0

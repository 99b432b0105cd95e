"""The process behind a port, with all that an operating system may refuse to tell."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from poc_lib.checks.process import find_server_process, flag_value, version_numbers

LISTEN = """
import socket, sys
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment, as far as it matters: vllm-mlx 0.5.2 in it, and a script that listens."""
    folder = tmp_path / "engine env"
    (folder / "lib/python3.11/site-packages/vllm_mlx-0.5.2.dist-info").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin/vllm-mlx").write_text(LISTEN)
    return folder


@pytest.fixture
def start():
    """Start a listening script and return its process and URL; all are stopped afterwards."""
    running = []

    def run(script, *arguments, cwd=None, **variables):
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            cwd=cwd,
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, f"http://127.0.0.1:{int(process.stdout.readline())}/v1"

    yield run
    for process in running:
        process.communicate()


def test_the_listening_process_tells_version_flags_and_settings(environment, start):
    script = environment / "bin/vllm-mlx"
    process, url = start(script, "serve", "--disable-prefix-cache", OLLAMA_NUM_PARALLEL="3", SECRET="s")
    found = find_server_process(url)
    assert found.pid == process.pid
    assert found.arguments[-2:] == ("serve", "--disable-prefix-cache")
    assert found.vllm_mlx_version == "0.5.2"
    assert found.settings["OLLAMA_NUM_PARALLEL"] == "3"
    assert "SECRET" not in found.settings


def test_a_script_named_relative_to_its_folder_is_found(environment, start):
    _, url = start("bin/vllm-mlx", "serve", cwd=environment)
    assert find_server_process(url).vllm_mlx_version == "0.5.2"


def test_a_link_to_the_script_is_followed(environment, start, tmp_path):
    link = tmp_path / "home/bin/vllm-mlx"
    link.parent.mkdir(parents=True)
    link.symlink_to(environment / "bin/vllm-mlx")
    _, url = start(link, "serve")
    assert find_server_process(url).vllm_mlx_version == "0.5.2"


def test_another_program_in_the_same_environment_has_no_version(environment, start):
    script = environment / "bin/another"
    script.write_text(LISTEN)
    _, url = start(script)
    assert find_server_process(url).vllm_mlx_version is None


def denied(self, *arguments, **options):
    raise psutil.AccessDenied(self.pid)


@pytest.mark.parametrize("hide", [denied, lambda self: {}])
def test_a_hidden_environment_leaves_version_and_flags(environment, start, monkeypatch, hide):
    _, url = start(environment / "bin/vllm-mlx", "serve", OLLAMA_NUM_PARALLEL="3")
    monkeypatch.setattr(psutil.Process, "environ", hide)
    found = find_server_process(url)
    assert found.settings is None
    assert found.vllm_mlx_version == "0.5.2"
    assert "serve" in found.arguments


def test_everything_hidden_leaves_the_process(environment, start, monkeypatch):
    process, url = start(environment / "bin/vllm-mlx")
    for name in ("environ", "cmdline", "exe", "cwd", "children"):
        monkeypatch.setattr(psutil.Process, name, denied)
    found = find_server_process(url)
    assert (found.pid, found.arguments, found.settings) == (process.pid, (), None)
    assert (found.vllm_mlx_version, found.children) == (None, ())


def test_where_sockets_are_only_told_process_by_process_foreign_ones_are_passed_over(
    environment, start, monkeypatch
):
    process, url = start(environment / "bin/vllm-mlx")
    allowed = psutil.Process.net_connections

    def only_ours(self, kind="inet"):
        return allowed(self, kind) if self.pid == process.pid else denied(self)

    monkeypatch.setattr(psutil, "net_connections", lambda kind: denied(psutil.Process()))
    monkeypatch.setattr(psutil.Process, "net_connections", only_ours)
    assert find_server_process(url).pid == process.pid


def test_a_server_that_ends_meanwhile_is_none(environment, start, monkeypatch):
    _, url = start(environment / "bin/vllm-mlx")

    def gone(pid):
        raise psutil.NoSuchProcess(pid)

    monkeypatch.setattr(psutil, "Process", gone)
    assert find_server_process(url) is None


def test_children_show_their_arguments(start, tmp_path):
    script = tmp_path / "ollama"
    child = "import subprocess; p = subprocess.Popen([sys.executable, '-c', 'input()', '-np', '4'], stdin=-1)"
    script.write_text(LISTEN.replace("print(", f"{child}\nprint(") + "\np.kill()\np.wait()\n")
    _, url = start(script)
    (arguments,) = find_server_process(url).children
    assert flag_value(arguments, "-np", "--parallel") == "4"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/v1", "http://192.168.7.9:8000/v1", "http://mac.local/v1"]
)
def test_where_nothing_of_ours_listens_there_is_no_process(url):
    assert find_server_process(url) is None


def test_versions_are_compared_as_numbers():
    assert version_numbers("0.5.10rc1") == (0, 5, 10)
    assert version_numbers("0.10.0") > version_numbers("0.6.0") > version_numbers("0.5.12")


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["x", "--parallel", "4"], "4"),
        (["x", "--parallel=4"], "4"),
        (["-np", "2"], "2"),
        (["--parallel"], None),
        (["--parallelism", "9"], None),
        ([], None),
    ],
)
def test_a_flags_value_is_found(words, value):
    assert flag_value(words, "-np", "--parallel") == value

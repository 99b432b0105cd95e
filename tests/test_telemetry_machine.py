"""This machine's figures, and the memory of a server that listens on it."""

import os
import socket

import pytest

from poc_lib.simulator import simulated_server
from poc_lib.telemetry.machine import ServerProcesses, local_port, read_machine, read_rss_gb
from tests.test_simulator_kit import MODEL, write_answers


def test_the_machine_has_load_and_memory():
    found = read_machine()
    assert 0 <= found["cpu_pct"] <= 100
    assert found["memory_used_gb"] > 0.01
    assert found["memory_available_gb"] > 0.01
    assert found["sampler_cpu_s"] > 0


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://127.0.0.1:8000/v1", 8000),
        ("http://localhost:11434", 11434),
        ("http://[::1]:9/v1", 9),
        ("http://localhost/v1", 80),
        ("http://192.168.1.5:8000/v1", None),
        ("http://mac-studio.local:8000/v1", None),
    ],
)
def test_only_a_server_on_this_machine_has_a_local_port(url, port):
    assert local_port(url) == port


def test_the_memory_of_a_server_is_that_of_the_process_that_listens(tmp_path):
    with simulated_server("openai", MODEL, write_answers(tmp_path, 1)) as server:
        found = ServerProcesses(local_port(server.url))
        rss_gb = read_rss_gb(found)
        assert [process.pid for process in found.processes] == [server.process.pid]
        assert 0.005 < rss_gb < 2
    assert read_rss_gb(found) is None  # the server has ended


def test_children_of_the_listening_process_count_too(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        alone = ServerProcesses(listening.getsockname()[1])
        read_rss_gb(alone)
        assert alone.processes[0].pid == os.getpid()
        with simulated_server("openai", MODEL, write_answers(tmp_path, 1)) as child:
            both = ServerProcesses(alone.port)
            assert read_rss_gb(both) > 0
            assert child.process.pid in [process.pid for process in both.processes]


def test_a_connection_from_a_port_is_no_server_on_it():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        assert read_rss_gb(ServerProcesses(client.getsockname()[1])) is None


def test_a_port_where_nobody_listens_has_no_memory():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert read_rss_gb(ServerProcesses(port)) is None

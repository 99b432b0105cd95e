"""What servers and the machine say of themselves: read, sampled by a process of its own, and made a table."""

import asyncio
import subprocess
import sys
import time
import types
from contextlib import closing
from socket import socket

import httpx
import orjson
import psutil
import pytest

from poc_lib.params import PROJECT_ROOT
from poc_lib.runs import Run, read_events, read_telemetry
from poc_lib.telemetry import sampling, snapshot_counters, telemetry_table
from poc_lib.telemetry.said import ask_server, machine_reader, parse_therm, read_figures, routes_of
from tests.wire import json_pages, raw_server, server_at

# Of vllm-mlx 0.6.0 on Linux and of mlx-vlm 0.7.10, cut.
STATUS = (
    b'{"status":"running","model":"tiny","uptime_s":17.7,"num_running":5,"num_waiting":1,"total_requests_proc'
    b'essed":42,"total_prompt_tokens":3674,"total_completion_tokens":623,"generation_tps":317.7,"metal":{"activ'
    b'e_memory_gb":null,"peak_memory_gb":3.5,"cache_memory_gb":null},"requests":[]}'
)
METRICS = b"# TYPE vllm_mlx_completion_tokens_total counter\nvllm_mlx_completion_tokens_total 156.0\n"
MLX_VLM = b'{"latest":null,"summary":{"requests_completed":7,"in_flight":2,"completion_tokens_total":90}}'
LOADED = [{"name": "other", "context_length": 9}, {"name": "tiny-vlm:latest", "context_length": 4096}]
SAID = {"num_running": 5, "num_waiting": 1, "requests_total": 42, "output_tokens_total": 623}


@pytest.mark.parametrize(
    ("api", "route", "body", "expected"),
    [
        ("openai", "/v1/status", STATUS, SAID),
        ("openai", "/metrics", METRICS, {}),
        ("openai", "/metrics", MLX_VLM, {"num_running": 2, "requests_total": 7, "output_tokens_total": 90}),
        ("openai", "/metrics", b'{"summary":7}', {}),
        ("openai", "/metrics", b"\xff\xfe<html>", {}),
        ("openai", "/v1/status", b'{"num_running":true,"metal":[1],"total_completion_tokens":"623"}', {}),
        ("openai", "/v1/status", b"[1]", {}),
        ("ollama", "/api/ps", orjson.dumps({"models": LOADED}), {"context_length": 4096}),
        ("ollama", "/api/ps", b'{"models":[1,{"name":"tiny-vlm"}]}', {}),
        ("ollama", "/api/ps", b'{"models":7}', {}),
        ("ollama", "/api/ps", b'{"models":null}', {}),
    ],
)  # fmt: skip
def test_what_servers_say_of_themselves_is_read_and_what_is_odd_left_out(api, route, body, expected):
    assert read_figures(server_at("http://x/v1", api=api), f"http://x{route}", body) == expected


def test_routes_begin_at_the_servers_root_without_its_password():
    assert routes_of(server_at("http://ann:pw@x:1/v1/")) == ["http://x:1/v1/status", "http://x:1/metrics"]


@pytest.mark.parametrize(("status", "left"), [(404, 0), (500, 2), (None, 2)])
async def test_a_route_that_a_server_lacks_is_not_asked_again_and_one_that_fails_is(status, left):
    def answer(request: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("down")
        return httpx.Response(status)

    routes = routes_of(server := server_at("http://x/v1"))
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert await ask_server(client, server, routes, 20.0) == {}
    assert len(routes) == left


@pytest.mark.parametrize(
    ("pages", "expected", "n_asked"),
    [
        ({"/v1/status": STATUS, "/metrics": MLX_VLM}, SAID, 1),
        ({"/metrics": MLX_VLM}, {"num_running": 2, "requests_total": 7, "output_tokens_total": 90}, 2),
    ],
)
async def test_a_snapshot_is_the_first_route_that_tells_anything_and_sends_the_key(pages, expected, n_asked):
    async with raw_server(json_pages(pages)) as (url, requests):
        assert await snapshot_counters(server_at(f"{url}/v1"), "sk-1") == expected
    assert [b"authorization: bearer sk-1" in request.lower() for request in requests] == [True] * n_asked


async def test_a_server_that_drips_for_ever_costs_a_snapshot_its_deadline_and_no_more(monkeypatch):
    monkeypatch.setattr("poc_lib.telemetry.SNAPSHOT_TIMEOUT_S", 0.3)
    drip = [b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", *[b" ", 0.05] * 2000]
    async with raw_server(drip) as (url, _), asyncio.timeout(20):
        assert await snapshot_counters(server_at(f"{url}/v1")) == {}


async def test_a_server_that_is_down_has_an_empty_snapshot():
    with closing(socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        assert await snapshot_counters(server_at(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")) == {}


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ("CPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 62\n", 62),
        ("Note: No thermal warning level has been recorded\nNote: No performance warning level", 100),
    ],
)
def test_the_speed_that_macos_allows_is_read(said, share):
    assert parse_therm(said) == {"thermal": share}


@pytest.mark.parametrize(("plugged", "known"), [(None, {}), (True, {"on_battery": False})])
def test_the_machine_is_read_and_what_it_does_not_tell_is_left_out(monkeypatch, plugged, known):
    battery = None if plugged is None else types.SimpleNamespace(power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    figures = machine_reader()()
    assert set(figures) - {"thermal"} == {"memory_available_gb", "swap_used_gb", *known}
    assert known.items() <= figures.items()
    assert 0 < figures["memory_available_gb"] * 1e9 <= psutil.virtual_memory().total


def test_macos_is_asked_for_its_limit_and_not_each_time(tmp_path, monkeypatch):
    program = tmp_path / "pmset"
    program.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho 'CPU_Speed_Limit = 62'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "darwin")
    read = machine_reader()
    assert [read()["thermal"], read()["thermal"]] == [62, 62]
    assert (tmp_path / "asked").read_text() == "asked\n"


async def test_samples_of_all_sources_come_while_the_block_runs_and_end_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("poc_lib.telemetry.TELEMETRY_EVERY_S", 0.1)
    run, start_ns, before = Run(tmp_path, {}), time.perf_counter_ns(), set(psutil.Process().children())
    async with raw_server(json_pages({"/v1/status": STATUS, "/metrics": METRICS})) as (url, requests):
        with sampling(run, [server_at(f"{url}/v1")], sitting=3, start_ns=start_ns, api_key="sk-1"):
            for _ in range(600):
                if {sample["source"] for sample in read_telemetry(run)} == {"server", "machine"}:
                    break
                await asyncio.sleep(0.1)
    table = telemetry_table(read_telemetry(run))
    assert set(table["source"]) == {"server", "machine"}
    assert not [child for child in set(psutil.Process().children()) - before if child.is_running()]
    assert set(table["sitting"]) == {3.0}
    assert table["at_s"].between(0, (time.perf_counter_ns() - start_ns) / 1e9).all()
    assert set(table.loc[table["source"] == "server", "requests_total"]) == {42.0}
    assert b"authorization: bearer sk-1" in requests[0].lower()
    assert read_events(run) == []


@pytest.mark.parametrize(
    ("program", "problem"),
    [("import sys; sys.exit('no spec')", "no spec"), ("import time; time.sleep(600)", None)],
)
def test_a_sampler_that_fails_is_noted_and_one_that_hangs_is_ended(tmp_path, monkeypatch, program, problem):
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n')
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    monkeypatch.setattr("poc_lib.telemetry.STOP_TIMEOUT_S", 1.0 if problem is None else 20.0)
    run = Run(tmp_path, {})
    with sampling(run, [], sitting=0, start_ns=0):
        pass
    noted = [(event["event"], event["problem"]) for event in read_events(run)]
    assert noted == ([] if problem is None else [("telemetry_failed", problem)])


async def test_a_source_that_breaks_off_is_told_by_the_exit_status_and_the_others_go_on():
    async with raw_server(json_pages({"/v1/status": STATUS})) as (url, _):
        server = {"name": "s", "role": "candidate", "url": f"{url}/v1", "api": "openai", "model": "m"}
        spec = {"servers": [server], "sitting": 0, "start_ns": 0, "api_key": None}
        spec |= {"every_s": 0.05, "timeout_s": 9}
        program = (
            "import psutil, runpy; psutil.virtual_memory = lambda: 1 / 0;"
            "runpy.run_module('poc_lib.telemetry', run_name='__main__')"
        )
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=PROJECT_ROOT, stdin=pipe, stdout=pipe, stderr=pipe
        )
        process.stdin.write(orjson.dumps(spec) + b"\n")
        async with asyncio.timeout(60):
            lines = [orjson.loads(await process.stdout.readline()) for _ in range(3)]
            process.stdin.close()
            _, said = await process.communicate()
    assert [line["source"] for line in lines] == ["server"] * 3
    assert (process.returncode, said.splitlines()[-1]) == (1, b"ZeroDivisionError: division by zero")


def test_a_sampler_does_not_outlive_the_process_that_measures(tmp_path):
    program = (
        "import os, sys, pathlib; from poc_lib.runs import Run; from poc_lib.telemetry import sampling\n"
        "with sampling(Run(pathlib.Path(sys.argv[1]), {}), [], sitting=0, start_ns=0):\n"
        "    import psutil; print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == -9
    until_s = time.monotonic() + 30
    while psutil.pid_exists(int(done.stdout)) and psutil.Process(int(done.stdout)).status() != "zombie":
        assert time.monotonic() < until_s
        time.sleep(0.1)


def test_a_table_of_no_samples_has_its_columns_and_what_is_not_known_is_missing():
    assert telemetry_table([])["swap_used_gb"].tolist() == []
    table = telemetry_table([{"source": "machine", "sitting": 0, "at_s": 5, "foreign": 1}])
    assert table["at_s"].tolist() == [5.0]
    assert table[["swap_used_gb", "thermal", "on_battery"]].isna().all(axis=None)
    assert "foreign" not in table

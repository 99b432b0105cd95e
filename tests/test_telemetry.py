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
from poc_lib.telemetry.machine import machine_reader, memory_reader, parse_therm
from poc_lib.telemetry.said import ask_server, read_figures, routes_of
from tests.wire import json_pages, raw_server, server_at

# Of vllm-mlx 0.6.0 on Linux and of mlx-vlm 0.7.10, cut.
STATUS = (
    b'{"status":"running","model":"tiny","uptime_s":17.7,"num_running":5,"num_waiting":1,"total_requests_proc'
    b'essed":42,"total_prompt_tokens":3674,"total_completion_tokens":623,"generation_tps":317.7,"metal":{"activ'
    b'e_memory_gb":null,"peak_memory_gb":3.5,"cache_memory_gb":null},"requests":[]}'
)
METRICS = b"""\
# TYPE vllm_mlx_http_requests_total counter
vllm_mlx_http_requests_total{method="GET",path="/health",status_code="200"} 15.0
# TYPE vllm_mlx_completion_tokens_total counter
vllm_mlx_completion_tokens_total{endpoint="chat_completions",stream="false"} 156.0
vllm_mlx_completion_tokens_total{endpoint="chat_completions",stream="true"} 736.0
"""
MLX_VLM = b'{"latest":null,"summary":{"requests_completed":7,"in_flight":2,"completion_tokens_total":90}}'
LOADED = {"models": [{"name": "other", "size_vram": 9}, {"name": "tiny-vlm:latest", "size_vram": 3.3e9}]}
SAID = {"num_running": 5, "num_waiting": 1, "requests_total": 42, "output_tokens_total": 623}
SAID["mlx_peak_gb"] = 3.5


@pytest.mark.parametrize(
    ("api", "route", "body", "expected"),
    [
        ("openai", "/v1/status", STATUS, SAID),
        ("openai", "/metrics", METRICS, {"answered_output_tokens_total": 892.0}),
        ("openai", "/metrics", METRICS[: METRICS.index(b"vllm_mlx_completion_tokens_total{")], {}),
        ("openai", "/metrics", MLX_VLM, {"num_running": 2, "requests_total": 7, "output_tokens_total": 90}),
        ("openai", "/metrics", b'vllm_mlx_completion_tokens_total{endpoint="x} 1', {}),
        ("openai", "/metrics", b"\xff\xfe<html>", {}),
        ("openai", "/v1/status", b'{"num_running":true,"metal":[1],"total_completion_tokens":"623"}', {}),
        ("openai", "/v1/status", b"[1]", {}),
        ("ollama", "/api/ps", orjson.dumps(LOADED), {"size_vram_gb": 3.3}),
        ("ollama", "/api/ps", b'{"models":[1,{"name":"tiny-vlm","size_vram":1e9}]}', {"size_vram_gb": 1.0}),
        ("ollama", "/api/ps", b'{"models":null}', {}),
    ],
)  # fmt: skip
def test_what_servers_say_of_themselves_is_read_and_what_is_odd_left_out(api, route, body, expected):
    assert read_figures(server_at("http://x/v1", api=api), f"http://x{route}", body) == expected


def test_routes_begin_at_the_servers_root_without_its_password():
    assert routes_of(server_at("http://ann:pw@x:1/v1/")) == ["http://x:1/v1/status", "http://x:1/metrics"]


@pytest.mark.parametrize(
    ("status", "left", "error"),
    [(404, 0, "HTTP 404 at /metrics"), (500, 2, "HTTP 500 at /metrics"), (None, 2, "ConnectError")],
)
def test_a_route_that_a_server_lacks_is_not_asked_again_and_one_that_fails_is(status, left, error):
    def answer(request: httpx.Request) -> httpx.Response:
        if status is None:
            raise httpx.ConnectError("down")
        return httpx.Response(status)

    routes = routes_of(server := server_at("http://x/v1"))
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        assert ask_server(client, server, routes) == {"error": error}
    assert len(routes) == left


async def test_a_snapshot_has_the_figures_of_all_routes_and_sends_the_key():
    async with raw_server(json_pages({"/v1/status": STATUS, "/metrics": METRICS})) as (url, requests):
        figures = await snapshot_counters(server_at(f"{url}/v1"), "sk-1")
    assert figures == SAID | {"answered_output_tokens_total": 892.0}
    assert [b"authorization: bearer sk-1" in request.lower() for request in requests] == [True, True]


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


def test_the_machine_is_read_and_what_it_does_not_tell_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setenv("PATH", str(tmp_path))  # no macmon
    monkeypatch.setattr(psutil, "sensors_battery", lambda: None, raising=False)
    figures = machine_reader()()
    assert set(figures) - {"thermal"} == {"cpu_pct", "memory_available_gb", "swap_used_gb"}
    assert 0 < figures["memory_available_gb"] * 1e9 <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"gpu_usage":[461,0.0215],"gpu_power":0.5}', {"gpu_util_pct": 2.15, "gpu_power_w": 0.5}),
        ('{"gpu_active_ratio":0.09,"gpu_power":0.25}', {"gpu_util_pct": 9.0, "gpu_power_w": 0.25}),
        ('{"gpu_usage":["a","b"]}', {}),
        ("[1]", {}),
        ("", {}),
    ],
)
def test_macmon_is_asked_where_there_is_no_nvidia(tmp_path, monkeypatch, line, expected):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    program = tmp_path / "macmon"
    program.write_text(f"#!{sys.executable}\nprint('''{line}''')\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    figures = machine_reader()()
    assert {key: value for key, value in figures.items() if key.startswith("gpu")} == pytest.approx(expected)


def test_several_gpus_give_the_busiest_and_the_sums_and_one_that_is_silent_is_left_out(monkeypatch):
    def rates(gpu: int) -> types.SimpleNamespace:
        if gpu == 2:
            raise ValueError("not supported")
        return types.SimpleNamespace(gpu=[20, 90][gpu])

    fake = types.SimpleNamespace(
        NVMLError=ValueError, nvmlInit=lambda: None, nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: index, nvmlDeviceGetUtilizationRates=rates,
        nvmlDeviceGetMemoryInfo=lambda gpu: types.SimpleNamespace(used=2_000_000_000),
        nvmlDeviceGetPowerUsage=lambda gpu: 150_000,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    figures = machine_reader()()
    assert (figures["gpu_util_pct"], figures["gpu_memory_gb"], figures["gpu_power_w"]) == (90, 4.0, 300.0)


def test_a_local_servers_memory_is_its_processs_and_another_machines_unknown():
    with closing(socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        ours_gb = memory_reader(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")()
    assert ours_gb == pytest.approx(psutil.Process().memory_info().rss / 1e9, rel=0.5)
    assert memory_reader("http://192.0.2.1:8000/v1")() is None


async def test_samples_of_all_sources_come_while_the_block_runs_and_end_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("poc_lib.telemetry.TELEMETRY_EVERY_S", 0.1)
    run, start_ns, before = Run(tmp_path, {}), time.perf_counter_ns(), set(psutil.Process().children())
    async with raw_server(json_pages({"/v1/status": STATUS, "/metrics": METRICS})) as (url, requests):
        with sampling(run, [server_at(f"{url}/v1")], sitting=3, start_ns=start_ns, api_key="sk-1"):
            for _ in range(600):
                if {sample["source"] for sample in read_telemetry(run)} == {"server", "machine", "process"}:
                    break
                await asyncio.sleep(0.1)
    table = telemetry_table(read_telemetry(run))
    assert set(table["source"]) == {"server", "machine", "process"}
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


def test_a_source_that_breaks_off_is_told_by_the_exit_status():
    spec = {"servers": [], "sitting": 0, "start_ns": "no number"}
    spec |= {"api_key": None, "every_s": 1, "timeout_s": 1}
    command, pipe = [sys.executable, "-m", "poc_lib.telemetry"], subprocess.PIPE
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=pipe, stderr=pipe) as process:
        process.stdin.write(orjson.dumps(spec) + b"\n")
        process.stdin.flush()
        assert any(b"TypeError" in line for line in process.stderr)  # it goes on for the other sources
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 1


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
    table = telemetry_table([{"source": "machine", "sitting": 0, "cpu_pct": 5, "foreign": 1}])
    assert table["cpu_pct"].tolist() == [5.0]
    assert table[["swap_used_gb", "thermal", "on_battery"]].isna().all(axis=None)
    assert "foreign" not in table

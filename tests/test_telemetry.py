"""What servers and the machine say of themselves: read, sampled by a process of its own, and made a table."""

import asyncio
import subprocess
import sys
import time
import types
from dataclasses import asdict

import orjson
import psutil
import pytest

from poc_lib import telemetry
from poc_lib.params import PROJECT_ROOT
from poc_lib.runs import Run, read_events, read_telemetry
from tests.wire import json_pages, raw_server, server_at

# Of vllm-mlx 0.6.0 on Linux and of mlx-vlm 0.7.10, cut.
STATUS = (
    b'{"status":"running","num_running":5,"num_waiting":1,"total_requests_processed":42,'
    b'"total_completion_tokens":623,"generation_tps":317.7,"metal":{"active_memory_gb":null},"requests":[]}'
)
MLX_VLM = b'{"latest":null,"summary":{"requests_completed":7,"in_flight":2,"completion_tokens_total":90}}'
LOADED = [{"name": "other", "context_length": 9}, {"name": "tiny-vlm:latest", "context_length": 4096}]
SAID = {"num_running": 5, "num_waiting": 1, "requests_total": 42, "output_tokens_total": 623}


@pytest.mark.parametrize(
    ("api", "body", "expected"),
    [
        ("openai", STATUS, SAID),
        ("openai", b"# TYPE vllm_mlx_completion_tokens_total counter", {}),
        ("openai", MLX_VLM, {"num_running": 2, "requests_total": 7, "output_tokens_total": 90}),
        ("openai", b'{"summary":7}', {}),
        ("openai", b"\xff\xfe<html>", {}),
        ("openai", b'{"num_running":true,"metal":[1],"total_completion_tokens":"623"}', {}),
        ("openai", b"[1]", {}),
        ("ollama", orjson.dumps({"models": LOADED}), {"context_length": 4096}),
        ("ollama", orjson.dumps({"models": LOADED[:1]}), {}),
        ("ollama", b'{"models":[1,{"name":"tiny-vlm"}]}', {}),
        ("ollama", b'{"models":7}', {}),
        ("ollama", b"{}", {}),
    ],
)
def test_what_servers_say_of_themselves_is_read_and_what_is_odd_left_out(api, body, expected):
    assert telemetry.read_figures(server_at("http://x/v1", api=api), body) == expected


@pytest.mark.parametrize(
    ("pages", "expected", "asked"),
    [
        ({"/v1/status": STATUS, "/metrics": MLX_VLM}, SAID, [b"/v1/status"]),
        ({"/metrics": b'{"summary":{"in_flight":2}}'}, {"num_running": 2}, [b"/v1/status", b"/metrics"]),
    ],
)
async def test_a_snapshot_is_the_first_route_that_tells_anything_and_sends_the_key(pages, expected, asked):
    async with raw_server(json_pages(pages)) as (url, requests):
        assert await telemetry.snapshot_counters(server_at(f"{url}/v1/"), "sk-1") == expected
    assert [request.split()[1] for request in requests] == asked
    assert all(b"authorization: bearer sk-1" in request.lower() for request in requests)


async def test_a_server_that_drips_for_ever_costs_a_snapshot_its_deadline_and_no_more(monkeypatch):
    monkeypatch.setattr("poc_lib.telemetry.DEADLINE_S", 0.3)
    drip = [b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n", *[b" ", 0.05] * 2000]
    async with raw_server(drip) as (url, _), asyncio.timeout(20):
        assert await telemetry.snapshot_counters(server_at(f"{url}/v1")) == {}
    assert await telemetry.snapshot_counters(server_at(f"{url}/v1")) == {}  # it is down now


@pytest.mark.parametrize(
    ("plugged", "said", "expected"),
    [
        (None, "\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 62\n", (None, 62)),
        (True, "Note: No thermal warning level has been recorded\n", (False, 100)),
        (False, "", (True, None)),
    ],
)
def test_the_machine_is_read_and_what_it_does_not_tell_is_missing(
    tmp_path, monkeypatch, plugged, said, expected
):
    (tmp_path / "pmset").write_text(f"#!/bin/sh\nprintf '{said}'\n")
    (tmp_path / "pmset").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sys, "platform", "darwin")
    battery = None if plugged is None else types.SimpleNamespace(power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    figures = telemetry.read_machine()
    assert (figures["on_battery"], figures["thermal"]) == expected
    assert figures["swap_used_gb"] >= 0


async def test_samples_of_all_sources_come_while_the_block_runs_and_end_with_it(tmp_path):
    run, start_ns, before = Run(tmp_path, {}), time.perf_counter_ns(), set(psutil.Process().children())
    async with raw_server(json_pages({"/v1/status": STATUS})) as (url, requests):
        with telemetry.sampling(run, [server_at(f"{url}/v1")], sitting=3, start_ns=start_ns, api_key="sk-1"):
            for _ in range(600):
                if {sample["source"] for sample in read_telemetry(run)} == {"server", "machine"}:
                    break
                await asyncio.sleep(0.1)
    samples = read_telemetry(run)
    assert not [child for child in set(psutil.Process().children()) - before if child.is_running()]
    assert {sample["sitting"] for sample in samples} == {3}
    assert all(0 <= sample["at_s"] <= (time.perf_counter_ns() - start_ns) / 1e9 for sample in samples)
    told = next(sample for sample in samples if sample["source"] == "server")
    assert told.items() >= ({"server": "vllm-mlx"} | SAID).items()
    assert b"authorization: bearer sk-1" in requests[0].lower()
    assert read_events(run) == []


@pytest.mark.parametrize(
    ("program", "problem"),
    [("import sys; sys.exit('no spec')", "no spec"), ("import time; time.sleep(600)", "exit status -9")],
)
def test_a_sampler_that_fails_or_hangs_is_ended_and_noted(tmp_path, monkeypatch, program, problem):
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{program}"\n')
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    monkeypatch.setattr("poc_lib.telemetry.STOP_TIMEOUT_S", 20.0 if problem == "no spec" else 1.0)
    run = Run(tmp_path, {})
    with telemetry.sampling(run, [], sitting=0, start_ns=0):
        pass
    noted = [(event["event"], event["problem"]) for event in read_events(run)]
    assert noted == [("telemetry_failed", problem)]


async def test_a_source_that_breaks_off_is_told_by_the_exit_status_and_the_others_go_on():
    async with raw_server(json_pages({"/v1/status": STATUS})) as (url, _):
        spec = {"sitting": 0, "start_ns": 0, "api_key": None, "servers": [asdict(server_at(f"{url}/v1"))]}
        program = (
            "import psutil, runpy; psutil.swap_memory = lambda: 1 / 0;"
            "runpy.run_module('poc_lib.telemetry', run_name='__main__')"
        )
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=PROJECT_ROOT, stdin=pipe, stdout=pipe, stderr=pipe
        )
        process.stdin.write(orjson.dumps(spec) + b"\n")
        async with asyncio.timeout(60):
            lines = [orjson.loads(await process.stdout.readline()) for _ in range(2)]
            process.stdin.close()
            _, said = await process.communicate()
    assert [line["source"] for line in lines] == ["server"] * 2
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

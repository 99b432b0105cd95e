"""The sampling process: what it writes, that it never piles up, and that it never outlives its parent."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import psutil
import pytest

from poc_lib.errors import SetupProblem
from poc_lib.params import PROJECT_ROOT
from poc_lib.params_reading import validate_params
from poc_lib.telemetry.process import start_sampler, stop_sampler
from poc_lib.telemetry.spec import SamplingSpec, Target, decode_spec, encode_spec
from tests.builders import KEEP_OPEN, http_response, raw_server
from tests.recorded_telemetry import VLLM_METRICS, VLLM_STATUS_IDLE

WAIT_S = 30.0


def sampling_spec(*targets: Target, **changes) -> SamplingSpec:
    values = {"sitting": 3, "run_start_ns": time.perf_counter_ns(), "every_s": 0.1, "timeout_s": 60.0}
    return SamplingSpec(targets, **(values | changes))


def read_lines(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


async def wait_for_samples(path: Path, source: str, n: int) -> list[dict]:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = [sample for sample in read_lines(path) if sample["source"] == source]
        if len(found) >= n:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"no {n} samples of {source} in {WAIT_S} s")


@asynccontextmanager
async def sampler(spec: SamplingSpec, path: Path) -> AsyncIterator[subprocess.Popen]:
    with path.open("ab", buffering=0) as file:
        process = await asyncio.to_thread(start_sampler, spec, file)  # our server answers meanwhile
        try:
            yield process
        finally:
            assert await asyncio.to_thread(stop_sampler, process) is None


def vllm_answer(request: bytes) -> list:
    return [http_response(200, VLLM_STATUS_IDLE if b"/v1/status" in request else VLLM_METRICS)]


async def test_samples_come_in_lines_with_their_moments_in_the_sitting(tmp_path):
    path = tmp_path / "samples"
    async with raw_server(vllm_answer) as server:
        spec = sampling_spec(Target("s", "openai", server.base_url, "tiny"))
        async with sampler(spec, path):
            asked = await wait_for_samples(path, "server", 3)
            hosts = await wait_for_samples(path, "host", 3)
        until_s = (time.perf_counter_ns() - spec.run_start_ns) / 1e9
    for sample in asked:
        assert (sample["sitting"], sample["server"], sample["completion_tokens_total"]) == (3, "s", 39)
        assert 0 < sample["asked_s"] < sample["answered_s"] < until_s
    assert [s["asked_s"] for s in hosts] == sorted(s["asked_s"] for s in hosts)
    assert {"cpu_pct", "memory_available_gb"} <= set(hosts[0])
    assert server.n_connections == 1
    assert server.max_in_flight == 1


async def test_a_server_that_does_not_answer_is_asked_once_and_holds_up_nothing_else(tmp_path):
    path = tmp_path / "samples"
    async with raw_server([KEEP_OPEN]) as stalled, raw_server(vllm_answer) as lively:
        targets = [
            Target(n, "openai", s.base_url, "m") for n, s in (("stalled", stalled), ("lively", lively))
        ]
        async with sampler(sampling_spec(*targets), path):
            await wait_for_samples(path, "host", 8)
            await wait_for_samples(path, "server", 8)
        assert (stalled.n_connections, len(stalled.requests)) == (1, 1)
    ends = [
        sample for sample in read_lines(path) if sample.get("server") == "stalled" and "asked_s" in sample
    ]
    ends = [sample for sample in ends if sample["source"] == "server"]
    assert [(s["error"], "answered_s" in s) for s in ends] == [("no answer before the end", False)]


async def test_an_answer_that_comes_late_is_one_sample_that_says_so(tmp_path):
    path, released = tmp_path / "samples", asyncio.Event()
    async with raw_server(vllm_answer, hold=lambda server: released.wait()) as server:
        spec = sampling_spec(Target("s", "openai", server.base_url, "m"))
        async with sampler(spec, path):
            hosts = await wait_for_samples(path, "host", 5)
            released.set()
            first = (await wait_for_samples(path, "server", 1))[0]
    assert first["asked_s"] <= hosts[1]["asked_s"]
    assert first["answered_s"] > hosts[4]["asked_s"]
    assert server.max_in_flight == 1


async def test_a_server_without_figures_is_asked_no_more(tmp_path):
    path = tmp_path / "samples"
    async with raw_server(lambda request: [http_response(404, b"")]) as server:
        async with sampler(sampling_spec(Target("s", "openai", server.base_url, "m")), path):
            await wait_for_samples(path, "host", 5)
        assert len(server.requests) == 2
    assert sum(sample["source"] == "server" for sample in read_lines(path)) == 1


async def test_the_api_key_is_used_and_written_nowhere(tmp_path):
    path = tmp_path / "samples"
    async with raw_server(vllm_answer) as server:
        spec = sampling_spec(Target("s", "openai", server.base_url, "m"), api_key="secret-key")
        async with sampler(spec, path) as process:
            await wait_for_samples(path, "server", 1)
            assert not any("secret-key" in part for part in psutil.Process(process.pid).cmdline())
    assert b"secret-key" in server.requests[0]
    assert b"secret-key" not in path.read_bytes()
    assert "secret-key" not in repr(spec)


def test_a_killed_parent_leaves_no_sampler_behind(tmp_path):
    code = (
        "import sys, time\nfrom poc_lib.telemetry.process import start_sampler\n"
        "from poc_lib.telemetry.spec import SamplingSpec\n"
        "spec = SamplingSpec((), 0, time.perf_counter_ns(), 0.1, 9.0)\n"
        f"process = start_sampler(spec, open({str(tmp_path / 'samples')!r}, 'ab', buffering=0))\n"
        "print(process.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True) as parent:
        left_behind = psutil.Process(int(parent.stdout.readline()))
        assert left_behind.is_running()
        parent.send_signal(signal.SIGKILL)
        left_behind.wait(WAIT_S)
    assert all(sample["source"] == "host" for sample in read_lines(tmp_path / "samples"))


def test_a_sampler_that_cannot_work_says_why_and_is_over(tmp_path):
    (tmp_path / "samples").touch()
    with (tmp_path / "samples").open("rb") as not_for_writing:
        process = start_sampler(sampling_spec(), not_for_writing)
        process.wait(WAIT_S)
        assert stop_sampler(process) == "exit status 1: OSError: [Errno 9] Bad file descriptor"


def test_perf_counter_counts_from_the_same_zero_in_every_process():
    command = [sys.executable, "-c", "import time; print(time.perf_counter_ns())"]
    before = time.perf_counter_ns()
    there = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert before < there < time.perf_counter_ns()
    assert time.get_clock_info("perf_counter").monotonic


def test_a_spec_survives_its_way_to_the_process():
    spec = sampling_spec(Target("ä", "ollama", "http://localhost:1", "m"), api_key="k")
    assert decode_spec(encode_spec(spec)) == spec
    assert encode_spec(spec).count(b"\n") == 1


def test_the_sampling_process_loads_no_pandas():
    code = "import sys, poc_lib.telemetry.__main__; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, check=True)
    assert done.stdout.strip() == b"False"


@pytest.mark.parametrize("every_s", [-1.0, 0.01])
def test_sampling_that_would_be_a_load_is_refused(every_s):
    with pytest.raises(SetupProblem, match="telemetry_every_s"):
        validate_params({"telemetry_every_s": every_s})

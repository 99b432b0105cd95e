"""Telemetry beside a whole sweep on the simulated servers."""

import asyncio

import psutil

from poc_lib.analysis import analyse_run, write_tables
from poc_lib.runs import read_events, read_replies, read_run, read_telemetry
from poc_lib.session import Session, close_session, open_session
from poc_lib.sweep import measure
from tests.sweeps import quick_params, run_sweep

SLOW_ENOUGH = {"demo_speed": 4.0, "telemetry_every_s": 0.1, "baseline_url": "demo", "n_frames": 6}


def answers(run) -> dict[str, tuple]:
    return {
        r.request_id: (r.text, r.output_tokens, r.finish_reason, r.error_class) for r in read_replies(run)
    }


def events_of(run, name: str) -> list[dict]:
    return [event for event in read_events(run) if event["event"] == name]


def test_a_sweep_is_sampled_and_its_tokens_are_those_that_the_server_counted(outputs):
    params = quick_params(outputs, "sampled", **SLOW_ENOUGH)
    session = run_sweep(params)
    analysis = analyse_run(session.run, params)
    rows = analysis.telemetry.set_index(["server", "concurrency"])

    assert list(rows.index) == [("ollama", 1), ("vllm-mlx", 1), ("vllm-mlx", 4)]
    assert (rows["n_samples"] > 0).all()
    assert (rows["n_machine_samples"] > 0).all()
    assert rows["running_max"].loc["vllm-mlx"].tolist() == [1, 4]
    assert rows.loc[("vllm-mlx", 4), "memory_peak_gb"] == 3.9
    assert rows.loc[("ollama", 1), "memory_source"] == "resident memory of its processes"
    candidate = rows.loc["vllm-mlx"]
    assert (candidate["server_output_tokens"] == candidate["client_output_tokens"]).all()
    assert (candidate["client_output_tokens"] > 0).all()
    assert rows["server_output_tokens"].isna().tolist() == [True, False, False]  # Ollama has no counters

    assert "telemetry.csv" in {path.name for path in write_tables(analysis)}
    assert not events_of(session.run, "telemetry_failed")
    running = [p.info["cmdline"] or [] for p in psutil.process_iter(["cmdline", "ppid"]) if is_ours(p)]
    assert not [line for line in running if "poc_lib.telemetry" in line]


def is_ours(process: psutil.Process) -> bool:
    return process.info["ppid"] == psutil.Process().pid


def test_with_and_without_telemetry_the_answers_are_the_same(outputs):
    params = {"temperature": 0.0, "n_frames": 4}
    sampled = run_sweep(quick_params(outputs, "with-telemetry", telemetry_every_s=0.1, **params)).run
    plain = run_sweep(quick_params(outputs, "without-telemetry", telemetry_every_s=0.0, **params)).run
    assert answers(sampled) == answers(plain)
    assert len(answers(plain)) == 8
    assert read_telemetry(sampled)
    assert not (plain.folder / "telemetry.jsonl").exists()
    assert all(event["counters"] == {} for event in events_of(plain, "cell_ended"))
    assert analyse_run(plain, quick_params(outputs, "x")).telemetry["n_samples"].tolist() == [0, 0]


def test_a_sampler_that_fails_is_noted_and_stops_no_measurement(outputs, monkeypatch):
    monkeypatch.setattr("poc_lib.telemetry.process.encode_spec", lambda spec: b"no spec\n")
    run = run_sweep(quick_params(outputs, "failing-sampler", n_frames=4)).run
    assert len(answers(run)) == 8
    (noted,) = events_of(run, "telemetry_failed")
    assert noted["problem"].startswith("exit status 1: json.decoder.JSONDecodeError")


def test_a_run_goes_on_with_another_sampling_interval(outputs):
    folder = run_sweep(quick_params(outputs, "interval", n_frames=4, telemetry_every_s=0.0)).run.folder
    run_sweep(quick_params(outputs, "interval", n_frames=4, telemetry_every_s=0.5))
    assert len(answers(read_run(folder))) == 8


def test_a_half_written_last_sample_is_set_aside(outputs):
    params = quick_params(outputs, "half-sample", n_frames=4, telemetry_every_s=0.1)
    run = run_sweep(params).run
    n_samples = len(read_telemetry(run))
    with (run.folder / "telemetry.jsonl").open("ab") as file:
        file.write(b'{"sitting":0,"sou')
    (run.folder / "requests.jsonl").unlink()
    run_sweep(params)
    samples = read_telemetry(run)
    assert len(samples) > n_samples
    assert {sample["sitting"] for sample in samples} == {0, 1}
    assert (run.folder / "telemetry.broken.jsonl").read_bytes() == b'{"sitting":0,"sou\n'


async def interrupt_and_measure_again(params) -> Session:
    session = await open_session(params)
    try:
        measuring = asyncio.create_task(measure(session))
        while not (read_replies(session.run) or measuring.done()):  # noqa: ASYNC110 - a file is watched
            await asyncio.sleep(0.02)
        measuring.cancel()
        await asyncio.wait([measuring])
        await measure(session)
    finally:
        close_session(session)
    return session


def test_measuring_again_after_an_interruption_is_another_sitting(outputs):
    params = quick_params(outputs, "interrupted", demo_speed=4.0, telemetry_every_s=0.1)
    run = asyncio.run(interrupt_and_measure_again(params)).run
    # Both count seconds from their own start: as one sitting they would lie on top of each other.
    assert {reply.sitting for reply in read_replies(run)} == {0, 1}
    assert {sample["sitting"] for sample in read_telemetry(run)} == {0, 1}
    telemetry = analyse_run(run, params).telemetry.set_index("concurrency")
    assert telemetry["n_windows"].tolist() == [2, 1]
    assert telemetry["n_windows_counted"].tolist() == [1, 1]

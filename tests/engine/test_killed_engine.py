"""The real vllm-mlx killed in mid-cell: its failures are rows, and the run continues."""

import asyncio
import time
from pathlib import Path
from subprocess import Popen

import pytest

from poc_lib.analysis import analyse
from poc_lib.measure.experiment import run_all
from poc_lib.params import STOP_AFTER_FAILURES, Params
from poc_lib.runs import read_events, read_requests
from tests.engine.servers import SERVED_NAME, vllm_mlx

pytestmark = pytest.mark.engine
N_FRAMES = 24


def kill_in_mid_cell(process: Popen, requests: Path) -> None:
    """Kill the server when a few of its pilot's answers are on file."""
    while not requests.exists() or requests.read_text().count('"request_id":"vllm-mlx/pilot/') < 3:
        time.sleep(0.05)
    process.kill()


async def test_a_server_killed_in_mid_cell_ends_as_rows_and_the_run_continues(model_dir, tmp_path):
    with vllm_mlx(model_dir) as server:
        params = Params(
            candidate_url=server.url, candidate_model=SERVED_NAME, concurrency=[1, 2], max_tokens=16,
            n_frames=N_FRAMES, block_frames=N_FRAMES, proof_frames=0, max_blocks=4, image_width=320,
            outputs_dir=str(tmp_path), run_id="killed",
        )  # fmt: skip
        requests = tmp_path / "killed" / "requests.jsonl"
        killing = asyncio.to_thread(kill_in_mid_cell, server.process, requests)
        run, _ = await asyncio.gather(run_all(params), killing)

    rows, events = read_requests(run), read_events(run)
    pilot = rows[rows["phase"] == "pilot"]
    ours, theirs = (pilot[pilot["role"] == role] for role in ("candidate", "baseline"))
    assert len(theirs) == N_FRAMES
    assert theirs["error_class"].isna().all()
    assert ours["error_class"].isna().sum() >= 3
    assert set(ours["error_class"].dropna()) <= {"connect", "truncated"}
    assert set(ours["concurrency"]) == {1, 2}
    ended = [event for event in events if event["event"] == "cell_ended" and event["role"] == "candidate"]
    assert all(f"{STOP_AFTER_FAILURES} failures in a row" in event["stopped_because"] for event in ended)
    assert ours["error_class"].notna().sum() == sum(event["failed"] for event in ended)

    seen = analyse(run)
    assert seen.verdicts[0].label == "not recommended"
    assert "lost answers at every level" in seen.verdicts[0].headline

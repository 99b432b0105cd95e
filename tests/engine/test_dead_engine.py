"""The real vllm-mlx killed in mid-cell: a few failed rows, and a run that is finished once it is back."""

from collections import Counter
from pathlib import Path

import pytest

from poc_lib.demo import prepare_demo
from poc_lib.runs import read_damage, read_events, read_replies, read_run
from tests.engine.servers import SERVED_NAME, free_port, vllm_mlx_server
from tests.survival.children import LEAN, measuring_child, wait_for, whole_lines
from tests.sweeps import quick_params, run_sweep

pytestmark = pytest.mark.engine

N_FRAMES = 8
BLOCKS = 2
IN_FLIGHT = 2
STOP_AFTER = 2
LIMIT_S = 60


def test_an_engine_that_is_killed_costs_a_few_failures_and_the_run_is_finished_after_a_restart(
    model_dir: Path, tmp_path: Path
):
    database = prepare_demo(tmp_path / "demo-data").database
    port = free_port()
    params = quick_params(
        tmp_path,
        "killed-engine",
        **LEAN,
        database=str(database),
        n_frames=N_FRAMES,
        image_width=320,
        max_tokens=16,
        blocks=BLOCKS,
        concurrency=[IN_FLIGHT],
        stop_after_failures=STOP_AFTER,
        candidate_url=f"http://127.0.0.1:{port}/v1",
        candidate_model=SERVED_NAME,
    )
    requests = tmp_path / "killed-engine" / "requests.jsonl"
    with vllm_mlx_server(model_dir, port=port) as server, measuring_child(params) as child:
        assert wait_for(child, lambda: bool(whole_lines(requests)))
        server.process.kill()
        child.join(LIMIT_S)
        assert child.exitcode == 0

    run = read_run(requests.parent)
    ended = [event for event in read_events(run) if event["event"] == "cell_ended"]
    assert [event["block"] for event in ended] == list(range(BLOCKS))
    assert all(f"{STOP_AFTER} failures in a row" in event["stopped_because"] for event in ended)
    # What is in flight when a cell gives up fails, too.
    assert all(STOP_AFTER <= event["failed"] < STOP_AFTER + IN_FLIGHT for event in ended)
    replies = read_replies(run)
    answered = {reply.request_id: reply.text for reply in replies if reply.error_class is None}
    assert 0 < len(answered) < N_FRAMES
    assert len(replies) - len(answered) == sum(event["failed"] for event in ended)

    with vllm_mlx_server(model_dir, port=port):
        finished = read_replies(run_sweep(params.model_copy(update={"retry_failed": True})).run)
    assert Counter(reply.block for reply in finished) == dict.fromkeys(range(BLOCKS), N_FRAMES)
    assert {reply.error_class for reply in finished} == {None}
    assert answered.items() <= {reply.request_id: reply.text for reply in finished}.items()
    assert read_damage(run).n_sent_again == len(replies) - len(answered)

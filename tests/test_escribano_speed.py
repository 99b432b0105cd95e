import pytest

from poc_lib.escribano import read_past_speed
from tests.schemas import add_rows, make_recording


def _run(path, name, started, stat, metadata='{"vlm_model": "qwen3-vl:4b"}'):
    run = {
        "id": name,
        "recording_id": "r1",
        "run_type": "initial",
        "started_at": started,
        "metadata": metadata,
    }
    add_rows(path, "processing_runs", run)
    base = {"id": f"s-{name}", "run_id": name, "phase": "vlm-batch-inference", "status": "success"}
    add_rows(path, "processing_stats", base | {"started_at": started} | stat)


def test_each_finished_run_gives_seconds_per_frame_newest_first(tmp_path):
    path = make_recording(tmp_path)
    _run(path, "old", "2026-02-01T10:00:00Z", {"duration_ms": 1_456_000, "items_processed": 182})
    _run(path, "new", "2026-03-01T10:00:00Z", {"duration_ms": 10_000, "items_processed": 4}, metadata=None)
    new, old = read_past_speed(path)
    assert (new.s_per_frame, new.model, new.n_frames) == (2.5, None, 4)
    assert (old.s_per_frame, old.model, old.duration_s) == (8.0, "qwen3-vl:4b", 1456.0)
    assert (old.recording_id, old.started_at) == ("r1", "2026-02-01T10:00:00Z")


@pytest.mark.parametrize(
    "stat",
    [
        {"duration_ms": 8000, "items_processed": 4, "phase": "scene-detection"},
        {"duration_ms": 8000, "items_processed": 4, "status": "failed"},
        {"duration_ms": 8000, "items_processed": 4, "status": "running"},
        {"duration_ms": 8000, "items_processed": 0},
        {"duration_ms": 8000, "items_processed": None},
        {"duration_ms": None, "items_processed": 4},
        {"duration_ms": 12, "items_processed": 182},
    ],
)
def test_what_is_no_finished_inference_is_no_speed(tmp_path, stat):
    path = make_recording(tmp_path)
    _run(path, "run", "2026-02-01T10:00:00Z", stat)
    assert read_past_speed(path) == []

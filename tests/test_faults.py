"""Every fault that can be planted in the simulator is seen in the result, as what it is."""

from pathlib import Path

import pandas as pd
import pytest

from tests.sweeps import sweep_and_analyse


def failures_by_class(analysis) -> dict[str, int]:
    return analysis.failures.groupby("error_class")["n"].sum().to_dict()


@pytest.mark.parametrize(
    ("fault", "error_class"),
    [
        ("busy", "busy"),
        ("http_500", "http_status"),
        ("stall", "timeout"),
        ("cut_stream", "truncated"),
        ("malformed_chunk", "malformed"),
        ("stream_error", "server_error"),
        ("empty", "empty"),
    ],
)
def test_a_planted_failure_is_counted_under_its_own_class_and_not_as_speed(outputs, fault, error_class):
    analysis = sweep_and_analyse(outputs, f"fault-{fault}", demo_faults=[f"{fault}:0.5"], timeout_s=0.5)
    counts = failures_by_class(analysis)
    assert set(counts) == {error_class}
    assert counts[error_class] == analysis.speed["n_failed"].sum() > 0
    assert analysis.speed["n_ok"].sum() + counts[error_class] == 16
    assert not analysis.speed["complete"].all()
    assert analysis.criteria.set_index("criterion").loc["no crashes", "met"] is False


def test_a_crashed_server_ends_its_cells_and_what_was_not_sent_is_counted(outputs):
    analysis = sweep_and_analyse(
        outputs, "fault-crash", demo_faults=["crash_after:5"], stop_after_failures=2, n_frames=12
    )
    assert failures_by_class(analysis).keys() <= {"connect", "truncated"}
    assert analysis.speed["n_ok"].sum() < 12
    assert analysis.speed["n_not_sent"].sum() > 0
    assert analysis.verdict.label == "not recommended"


def test_wrong_images_are_proven_by_their_codes_and_show_as_wrong_neighbours(outputs):
    analysis = sweep_and_analyse(
        outputs, "fault-wrong", demo_faults=["wrong_image:0.5"], n_frames=12, canaries=12
    )
    assert analysis.confusion["wrong_neighbours"].sum() > 0
    assert len(analysis.leaks)
    assert analysis.verdict.label == "not recommended"
    assert "the code of another screenshot: a proven mix-up of images" in analysis.verdict.sentence
    assert analysis.criteria.set_index("criterion").loc["no image confusion", "met"] is False


def test_a_replayed_first_image_is_found_and_said_to_be_a_replay(outputs):
    analysis = sweep_and_analyse(
        outputs, "fault-replay", demo_faults=["replay_first:0.4"], n_frames=12, temperature=0.0, canaries=12
    )
    assert (analysis.suspicious["sign"] == "replay").any() or analysis.confusion["duplicates"].sum() > 0
    assert set(analysis.leaks["donor_frame_id"]) <= set(analysis.requests["frame_id"])
    assert analysis.verdict.label == "not recommended"


def test_duplicates_for_frames_that_look_different_are_counted(outputs):
    analysis = sweep_and_analyse(outputs, "fault-duplicate", demo_faults=["duplicate:0.5"], n_frames=12)
    assert analysis.confusion["duplicates"].sum() > 0


@pytest.mark.parametrize("fault", ["truncated", "loop"])
def test_an_answer_cut_at_its_token_limit_is_counted_as_such(outputs, fault):
    analysis = sweep_and_analyse(outputs, f"fault-{fault}", demo_faults=[f"{fault}:0.5"], max_tokens=120)
    assert analysis.speed["n_at_max_tokens"].sum() > 0


def test_without_faults_nothing_fails_and_nothing_is_suspicious(outputs: Path):
    analysis = sweep_and_analyse(outputs, "no-fault", n_frames=12)
    assert analysis.failures.empty
    assert analysis.suspicious.empty
    assert analysis.speed["complete"].all()
    assert analysis.speed["n_at_max_tokens"].sum() == 0
    assert isinstance(analysis.scores, pd.DataFrame)
    assert len(analysis.scores) == 24

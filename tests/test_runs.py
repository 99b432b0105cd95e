"""The run folder: what a crash or a second process may do to it, and what it refuses."""

import os
from pathlib import Path

import pytest

from poc_lib.params import Params
from poc_lib.records import Frame, Identity, Reference, Reply, SetupProblem
from poc_lib.runs import (
    Damage,
    append_event,
    check_folder,
    list_runs,
    lock_folder,
    name_run,
    next_sitting,
    open_run,
    read_damage,
    read_events,
    read_frames,
    read_requests,
    read_run,
    record_servers,
    reply_writer,
    summarize_gaps,
)

REFERENCE = Reference("Editing main.py", "coding", ("Code",), None, None)
FRAME = Frame("f1", 1.5, Path("1.jpg"), look="0" * 16, sha256="ab", label="frame 1", reference=REFERENCE)
FRAMES = [{"frame_id": "f1", "sha256": "ab"}]
FACTS = {"params": Params().model_dump(), "prompt_sha256": "p", "frames": FRAMES}


def reply(number: int, **fields) -> Reply:
    place = f"s/pilot/c1/b0/s0/{number:03d}"
    usual = {"sent_at": "2026-11-20T10:00:00Z", "start_s": float(number), "in_flight": 1, "total_s": 1.0}
    return Reply(place, "s", "candidate", 1, 0, "pilot", "f1", 0, 0, False, **{**usual, **fields})


@pytest.fixture
def run(tmp_path):
    return open_run(tmp_path / "run", FACTS, [FRAME])


def write_replies(run, n: int) -> Path:
    with reply_writer(run) as write:
        for number in range(n):
            write(reply(number))
    return run.folder / "requests.jsonl"


def test_a_reply_comes_back_with_its_gaps_and_unknown_figures_as_missing(run):
    with reply_writer(run) as write:
        write(reply(0, arrivals_s=[0.2, 0.3, 0.6], output_tokens=5, ttft_s=0.2))
    row = read_requests(run).iloc[0]
    assert (row["tpot_s"], row["itl_p50_s"], row["itl_max_s"]) == pytest.approx((0.1, 0.2, 0.3))
    assert row[["prompt_tokens", "code", "error_class"]].isna().all()


def test_tpot_needs_two_chunks_and_two_tokens():
    for arrivals_s, tokens in (([], None), ([0.2], 1), ([0.2, 0.4], None), ([0.2, 0.4], 1)):
        assert summarize_gaps(arrivals_s, tokens)["tpot_s"] is None


@pytest.mark.parametrize(
    ("damage", "n_rows", "n_broken"),
    [
        (lambda data: data[:-20], 2, 1),  # killed in the last line
        (lambda data: data[:-1], 3, 0),  # just before its end
        (lambda data: data[:4], 0, 1),  # in the first line
        (lambda data: data[:200] + data[data.index(b"\n", 200) - 5 :], 2, 1),  # a hole in the first line
        (lambda data: data + b"\0" * 50, 3, 1),  # a power cut
        (lambda data: b"\0\0" + data, 3, 0),  # and more was written
        (lambda data: data[:99] + data[:80] + data, 3, 2),  # two halves before a whole line
        (lambda data: data + b"5\n[1]\n", 3, 2),  # somebody else's
        (lambda data: data[: data.index(b"\n") - 9] + data[data.index(b"\n") + 1 :], 2, 1),  # two lines glued
    ],
)
def test_whole_lines_survive_what_a_crash_leaves_and_nothing_on_file_is_changed(
    run, damage, n_rows, n_broken
):
    path = write_replies(run, 3)
    path.write_bytes(left := damage(path.read_bytes()))
    assert len(read_requests(run)) == n_rows
    with reply_writer(run) as write:
        write(reply(9))
    assert len(read_requests(run)) == n_rows + 1
    assert read_damage(run) == Damage(n_broken, n_doubled=0)
    assert path.read_bytes().startswith(left)


def test_of_a_reply_that_was_written_twice_the_first_counts(run):
    write_replies(run, 2)
    write_replies(run, 2)
    assert len(read_requests(run)) == 2
    assert read_damage(run).n_doubled == 2


def test_a_run_and_its_folder_are_held_by_one_at_a_time_and_the_second_changes_nothing(run):
    path = run.folder / "requests.jsonl"
    path.write_text(left := '{"request_id":"written right n')
    for hold in (lambda: reply_writer(run), lambda: lock_folder(run.folder)):
        with hold():
            path.write_text(left)
            with pytest.raises(SetupProblem, match="another process is measuring"), hold():
                pass
        assert path.read_text() == left
        with hold():
            pass


def test_another_experiment_in_the_folder_is_refused_and_nothing_is_written(run):
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(SetupProblem, match=r"concurrency is .*; temperature is 0\.9, on file 0\.3"):
        check_folder(run.folder, Params(temperature=0.9, concurrency=[1]))
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_what_is_shown_may_change_and_more_blocks_may_be_added(run):
    check_folder(run.folder, Params(note="another", max_blocks=20))
    grown = {**FACTS, "params": Params(max_blocks=20).model_dump()}
    assert open_run(run.folder, grown, [FRAME]).params["max_blocks"] == 20
    assert open_run(run.folder, FACTS, [FRAME]).params["max_blocks"] == 20


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("a\nb", "no folder name"),
        ("a\\b", "no folder name"),
        ("x" * 2000, "no folder name"),
        ("file/below", "is a file"),
    ],
)
def test_impossible_output_folders_are_refused_in_one_line(tmp_path, monkeypatch, folder, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupProblem, match=line):
        check_folder(Path(os.path.abspath(folder)) if "\n" not in folder else tmp_path / folder, Params())


def test_replies_without_a_readable_run_are_not_overwritten(run):
    write_replies(run, 1)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(SetupProblem, match=r"1 replies and no readable run\.json"):
        check_folder(run.folder, Params())


def test_a_run_is_of_one_version_of_each_server(run):
    known = Identity("s", "candidate", "u", "openai", True, software="vllm-mlx", version="0.5.0")
    run = record_servers(run, [known])
    assert record_servers(run, [known]) is run
    newer = Identity("s", "candidate", "u", "openai", True, software="vllm-mlx", version="0.6.0")
    with pytest.raises(SetupProblem, match=r"s has version 0\.6\.0, but this run was begun with 0\.5\.0"):
        record_servers(run, [newer])


def test_lost_frames_are_written_again_and_other_ones_refused(run):
    (run.folder / "frames.jsonl").write_text("")
    with pytest.raises(SetupProblem, match="0 of 1 frames"):
        read_frames(run)
    assert read_frames(open_run(run.folder, FACTS, [FRAME])) == [FRAME]
    assert read_run(run.folder).params == Params().model_dump()
    with pytest.raises(SetupProblem, match="other frames"):
        open_run(run.folder, {**FACTS, "frames": [{"frame_id": "f1", "sha256": "cd"}]}, [FRAME])


def test_sittings_are_counted_also_where_a_crash_lost_their_event(run):
    assert next_sitting(run) == 0
    write_replies(run, 1)
    assert next_sitting(run) == 1
    append_event(run, "sitting_started", sitting=4)
    assert next_sitting(run) == 5
    assert read_events(run)[0]["event"] == "sitting_started"


def test_without_a_run_id_the_newest_run_of_the_same_parameters_goes_on_until_it_is_finished(tmp_path):
    params = Params(outputs_dir=str(tmp_path))
    assert name_run(params)[1] == ""
    run = open_run(tmp_path / "a", {**FACTS, "params": params.model_dump()}, [FRAME])
    named, line = name_run(params)
    assert (named.run_id, line[:31]) == ("a", "continuing run a, which was not")
    assert name_run(params.model_copy(update={"seed": 1}))[1] == ""
    append_event(run, "finished", sitting=0)
    assert name_run(params)[0].run_id != "a"
    assert name_run(named) == (named, "")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"params": 3}', "null", "\ufeff", '{"params": {}, "frames": {}}']
)
def test_foreign_run_files_beside_the_runs_are_passed_over(tmp_path, run, content):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.json").write_text(content)
    assert [found.run_id for found in list_runs(tmp_path)] == ["run"]

import errno
import os
from pathlib import Path

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.runs import (
    files,
    open_run,
    read_damage,
    read_failed_before,
    read_frames_of,
    read_replies,
    read_run,
    reply_writer,
    take_back_failures,
)
from poc_lib.runs.files import append_row, count_broken, read_lines, replace_file, set_aside_broken
from tests.builders import failed, frame, reply
from tests.test_runs import FRAMES, facts

A, B, C = (b'{"event":"%s","at":"10:00"}\n' % name for name in (b"a", b"b", b"c"))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def run(tmp_path):
    return open_run(tmp_path / "run-1", facts(), FRAMES)


@pytest.mark.parametrize(
    ("data", "names", "broken"),
    [
        (A + B, "ab", b""),
        (A + B[:9], "a", B[:9] + b"\n"),
        (A + B[:9] + b"\n" + C, "ac", B[:9] + b"\n"),
        (A + B[:9] + C, "ac", B[:9] + b"\n"),  # the disk was full, then it was not
        (A + b"\0\0\0\0" + C, "ac", b""),  # a power cut
        (A + b"\0\0\n" + C, "ac", b"\0\0\n"),
        (A + b"\xff\xfe garbage\n" + C, "ac", b"\xff\xfe garbage\n"),
        (A + B[:-1], "ab", b""),  # whole but for its line break
        (A[:-1] + B + C, "abc", b""),
        (A + b"42\n[]\nnull\n{}\n" + C, "ac", b"42\n[]\nnull\n{}\n"),
        (A + b"\n\n" + C, "ac", b""),
        (b"", "", b""),
        (b"\0" * 9, "", b"\0" * 9 + b"\n"),
    ],
)
def test_whole_lines_are_read_and_kept_wherever_a_crash_broke_the_file(path, data, names, broken):
    path.write_bytes(data)
    assert "".join(row["event"] for row in read_lines(path)) == names
    n_broken = count_broken(path)
    set_aside_broken(path)
    assert path.read_bytes() == b"".join({"a": A, "b": B, "c": C}[name] for name in names)
    aside = path.with_name("events.broken.jsonl")
    assert (aside.read_bytes() if aside.exists() else b"") == broken
    assert count_broken(path) == n_broken == broken.count(b"\n")
    assert set_aside_broken(path) == 0


def test_a_text_that_looks_like_a_line_is_not_cut(path):
    append_row(path, {"event": 'say {"event":"x"} and {', "of": {"event": "inner"}})
    before = path.read_bytes()
    assert set_aside_broken(path) == 0
    assert path.read_bytes() == before


def test_a_crash_while_lines_are_set_aside_loses_none(path, monkeypatch):
    path.write_bytes(A + B[:9] + b"\n" + C)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "replace_file", crash)
    with pytest.raises(KeyboardInterrupt):
        set_aside_broken(path)
    assert [row["event"] for row in read_lines(path)] == ["a", "c"]


class Scarce:
    """A file on a disk that takes a few bytes more and then none."""

    def __init__(self, file, n_bytes: int):
        self.file, self.left = file, n_bytes

    def fileno(self) -> int:
        return self.file.fileno()

    def write(self, data) -> int:
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        n = self.file.write(data[: self.left])
        self.left -= n
        return n


@pytest.mark.parametrize("n_bytes", [0, 1, 10])
def test_a_row_that_does_not_fit_leaves_no_part_of_itself(path, n_bytes):
    path.write_bytes(A)
    with (
        path.open("ab", buffering=0) as file,
        pytest.raises(SetupProblem, match=r"cannot write events\.jsonl in .*No space left.* MB free there"),
    ):
        files.write_row(Scarce(file, n_bytes), path, {"event": "b"})
    assert path.read_bytes() == A


def test_a_row_that_is_taken_in_parts_is_written_whole(path):
    with path.open("ab", buffering=0) as file:
        one_by_one = Scarce(file, 10_000)
        one_by_one.write = lambda data: file.write(data[:1])
        files.write_row(one_by_one, path, {"event": "b"})
    assert path.read_bytes() == b'{"event":"b"}\n'


def test_a_file_that_cannot_be_replaced_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    replace_file(path, b"old")

    def full(file):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(files, "sync_file", full)
    with pytest.raises(SetupProblem, match=r"cannot write run\.json .* free some space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["run.json"]


def test_a_disk_that_fails_otherwise_is_not_told_to_be_full(tmp_path):
    with pytest.raises(SetupProblem, match=r"No such file or directory, .*see to that disk"):
        append_row(tmp_path / "gone" / "events.jsonl", {"event": "a"})


def test_of_a_request_that_was_written_twice_the_first_counts(run):
    path = run.folder / "requests.jsonl"
    with reply_writer(run) as write:
        for one in (reply("f1", text="first"), failed("f2"), reply("f1", text="second")):
            write(one)
    assert [(one.frame_id, one.text) for one in read_replies(run)] == [("f1", "first"), ("f2", "")]
    assert read_damage(run).n_doubled == 1
    assert path.read_bytes().count(b"\n") == 3


def test_warm_up_requests_of_a_sitting_that_never_began_are_no_doubles(run):
    with reply_writer(run) as write:
        for _ in range(2):
            write(reply("f1", phase="warmup"))
    assert read_damage(run).n_doubled == 0


def test_broken_lines_count_before_and_after_they_are_set_aside(run):
    path = run.folder / "requests.jsonl"
    path.write_bytes(b'{"request_id":"x","tex')
    assert read_damage(run).n_broken == 1
    with reply_writer(run) as write:
        write(reply("f1"))
    path.write_bytes(path.read_bytes() + b"half")
    assert read_damage(run).n_broken == 2


def test_failures_are_taken_back_once_and_kept(run):
    sent = [reply("f1"), failed("f2"), failed("f3", error_class="connect")]
    with reply_writer(run) as write:
        for one in sent:
            write(one)
    assert take_back_failures(run, {"connect", "timeout"}) == 1
    assert read_replies(run) == sent[:2]
    assert read_failed_before(run) == sent[2:]
    assert take_back_failures(run, {"connect"}) == 0
    assert read_damage(run).n_sent_again == 1


def test_a_crash_between_keeping_and_removing_a_failure_doubles_it_nowhere(run, monkeypatch):
    lost = failed("f3", error_class="connect")
    with reply_writer(run) as write:
        write(lost)
    before = (run.folder / "requests.jsonl").read_bytes()
    take_back_failures(run, {"connect"})
    (run.folder / "requests.jsonl").write_bytes(before)  # as if the second step had not been reached
    assert take_back_failures(run, {"connect"}) == 1
    assert read_failed_before(run) == [lost]
    assert read_replies(run) == []


@pytest.mark.parametrize("left", [b"", b"\0\0\0", b'{"run_id": "r", "par', b"[]"])
def test_a_broken_run_json_without_replies_is_no_run_yet(tmp_path, left):
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "run.json").write_bytes(left)
    with pytest.raises(SetupProblem, match="no run in"):
        read_run(folder)
    assert open_run(folder, facts(), FRAMES).facts["run_id"] == "r"
    assert read_run(folder).facts["run_id"] == "r"


def test_replies_of_an_unknown_experiment_are_not_joined(run):
    with reply_writer(run) as write:
        write(reply("f1"))
    (run.folder / "run.json").unlink()
    with pytest.raises(SetupProblem, match=r"holds 1 replies and no readable run\.json"):
        open_run(run.folder, facts(temperature=0.9), FRAMES)
    assert not (run.folder / "run.json").exists()


def test_frames_that_a_crash_lost_are_named_and_written_again(run):
    path = run.folder / "frames.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SetupProblem, match=r"holds [01] of 2 frames"):
        read_frames_of(run)
    open_run(run.folder, facts(), FRAMES)
    assert path.read_bytes() == whole
    assert read_frames_of(run) == FRAMES


def test_a_run_that_is_being_measured_is_not_opened_a_second_time(run):
    with reply_writer(run), pytest.raises(SetupProblem, match="another process is measuring into"):
        open_run(run.folder, facts(), [frame("0012")])

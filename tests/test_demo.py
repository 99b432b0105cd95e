import difflib
import hashlib
import json
import shutil
import sqlite3
import statistics
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from poc_lib.demo import prepare, prepare_demo
from poc_lib.escribano import count_frames, read_frames, read_past_speed, read_recordings, sample_frames

ACTIVITIES = {"debugging", "coding", "review", "meeting", "research", "reading", "terminal", "other"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return prepare_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def frames(demo):
    return read_frames(demo.database, "latest")


@pytest.fixture(scope="module")
def answers(demo):
    return json.loads(demo.answers.read_text())


def _answer(answers, frame):
    return answers[hashlib.sha256(frame.image_path.read_bytes()).hexdigest()]


def _ratio(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio()


def _usable(frames):
    return [frame for frame in frames if frame.reference and not frame.image_problem]


def test_the_latest_recording_has_about_sixty_usable_frames_of_one_size(frames):
    usable = _usable(frames)
    assert 55 <= len(usable) <= 65
    assert {(frame.width, frame.height) for frame in usable} == {(1024, 576)}


def test_the_awkward_rows_of_real_databases_are_there(frames):
    counts = count_frames(frames)
    assert counts["image: missing"] == 3
    reasons = [name for name in counts if name.startswith("no reference: ")]
    assert len(reasons) == 6
    lists = [frame.reference.apps for frame in frames if frame.reference]
    assert lists.count(None) == 2
    assert any("unparsed" in reason for reason in reasons)


def test_some_lists_are_stored_as_plain_text(demo):
    with closing(sqlite3.connect(demo.database)) as connection:
        stored = [
            row[0] for row in connection.execute("SELECT topics FROM observations WHERE topics IS NOT NULL")
        ]
    assert sum(not text.startswith("[") for text in stored) == 2


def test_the_sentinel_is_newest_and_an_older_recording_exists(demo):
    recordings = read_recordings(demo.database)
    assert [recording.n_frames for recording in recordings] == [67, 5]
    with closing(sqlite3.connect(demo.database)) as connection:
        newest = connection.execute(
            "SELECT id FROM recordings ORDER BY datetime(captured_at) DESC"
        ).fetchone()
        hashes = [row[0] for row in connection.execute("SELECT phash FROM frames")]
    assert newest == ("__recorder__",)
    assert len(set(hashes)) > 1
    assert {len(phash) for phash in hashes} == {16}


def test_recorder_frames_are_found_by_their_day(demo):
    frames = read_frames(demo.database, "2026-11-20T11:30Z/2026-11-20T12:30Z")
    assert len(frames) == 8
    assert [frame.reference_problem for frame in frames[-2:]] == [
        "not described yet",
        "the app gave up describing it",
    ]


def test_the_app_was_slower_with_its_older_model(demo):
    newer, older = read_past_speed(demo.database)
    assert newer.s_per_frame < older.s_per_frame
    assert older.model == "qwen3-vl:4b"
    assert newer.model == read_frames(demo.database, "latest")[0].reference.model


def test_every_image_has_an_answer_under_the_hash_of_its_bytes(demo, frames, answers):
    images = list(demo.database.parent.rglob("*.jpg"))
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in images} == answers.keys()
    for frame in frames:
        if not frame.image_problem:
            assert _answer(answers, frame)["frame_id"] == frame.frame_id


def test_answers_hold_closed_activities_and_two_to_four_different_wordings(answers):
    for answer in answers.values():
        wordings = [answer["description"], *answer["variants"]]
        assert answer["activity"] in ACTIVITIES
        assert 2 <= len(answer["variants"]) <= 4
        assert len(set(wordings)) == len(wordings)
        assert not any("|" in wording or "\n" in wording for wording in wordings)
        assert answer["apps"]
        assert answer["topics"]


def test_an_answer_says_the_same_as_the_stored_text_in_other_words(frames, answers):
    ratios = []
    for frame in _usable(frames):
        answer = _answer(answers, frame)
        assert frame.reference.description not in [answer["description"], *answer["variants"]]
        ratios.append(_ratio(answer["description"], frame.reference.description))
    assert sum(0.4 <= ratio <= 0.9 for ratio in ratios) >= 0.8 * len(ratios)


def test_an_answer_is_nearer_to_its_own_reference_than_to_another_frames(frames, answers):
    usable = _usable(frames)
    own = [_ratio(_answer(answers, f)["description"], f.reference.description) for f in usable]
    others = [
        _ratio(_answer(answers, a)["description"], b.reference.description)
        for a, b in zip(usable, usable[20:] + usable[:20], strict=True)
    ]
    assert statistics.median(others) < 0.4 < statistics.median(own)
    assert sum(mine > other for mine, other in zip(own, others, strict=True)) >= 0.95 * len(own)


def test_neighbouring_frames_of_a_window_share_words_but_not_the_description(frames, answers):
    texts = [_answer(answers, frame)["description"] for frame in _usable(frames)]
    assert len(set(texts)) == len(texts)


def test_some_answers_differ_from_the_reference_in_the_closed_fields(frames, answers):
    pairs = [(frame.reference, _answer(answers, frame)) for frame in _usable(frames)]
    other_activity = sum(reference.activity != answer["activity"] for reference, answer in pairs)
    other_apps = sum(
        reference.apps is not None and list(reference.apps) != answer["apps"] for reference, answer in pairs
    )
    assert 1 <= other_activity <= 0.25 * len(pairs)
    assert 1 <= other_apps <= 0.35 * len(pairs)


def test_consecutive_screenshots_of_a_window_are_near_duplicates_but_never_the_same(frames):
    first, second = (Image.open(frame.image_path).convert("L") for frame in frames[:2])
    changed = sum(abs(a - b) > 24 for a, b in zip(first.tobytes(), second.tobytes(), strict=True))
    assert 0 < changed < 0.03 * first.width * first.height


def test_a_second_call_finds_the_same_files_again(demo):
    before = demo.database.stat().st_mtime_ns
    again = prepare_demo(demo.database.parent.parent)
    assert again == demo
    assert demo.database.stat().st_mtime_ns == before


def test_a_rebuild_elsewhere_gives_the_same_answers(demo, answers, tmp_path):
    other = prepare_demo(tmp_path)
    assert json.loads(other.answers.read_text()) == answers
    assert [path.name for path in tmp_path.iterdir()] == [other.database.parent.name]
    chosen = sample_frames(read_frames(other.database, "latest"), 12, "even", 0)
    assert len(chosen) == 12


@pytest.mark.parametrize("lost", ["answers.json", "escribano.db", "contents.json", "image"])
def test_incomplete_data_are_built_again(tmp_path, monkeypatch, lost):
    data = _small_demo(tmp_path, monkeypatch)
    folder = data.database.parent
    (next(folder.rglob("*.jpg")) if lost == "image" else folder / lost).unlink()
    assert _is_whole(prepare_demo(tmp_path))


def test_data_that_were_moved_are_built_again_since_their_paths_are_absolute(tmp_path, monkeypatch):
    _small_demo(tmp_path / "a", monkeypatch)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert _is_whole(prepare_demo(tmp_path / "b"))
    assert not (tmp_path / "a").exists()


def test_a_changed_script_gives_a_folder_of_its_own(tmp_path, monkeypatch):
    first = _small_demo(tmp_path, monkeypatch)
    monkeypatch.setattr(prepare, "SEED", 7)
    second = prepare_demo(tmp_path)
    assert first.database.parent != second.database.parent
    assert _is_whole(first)


def test_a_failed_build_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(shot, clock):
        raise ZeroDivisionError

    monkeypatch.setattr(prepare, "draw_screenshot", fail)
    with pytest.raises(ZeroDivisionError):
        prepare_demo(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _small_demo(folder: Path, monkeypatch):
    """The demo with its first five shots only, which takes a tenth of the time."""
    shots = prepare.read_day()[:5]
    monkeypatch.setattr(prepare, "read_day", lambda: shots)
    return prepare_demo(folder)


def _is_whole(data) -> bool:
    frames = read_frames(data.database, "latest")
    return len(frames) == 5 and len(json.loads(data.answers.read_text())) == 5 and len(_usable(frames)) == 5


def test_all_data_together_stay_small(demo):
    assert sum(path.stat().st_size for path in demo.database.parent.rglob("*") if path.is_file()) < 8e6

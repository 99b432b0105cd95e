"""The demo's data: drawn once, the same everywhere, a real schema with the awkward rows of real files."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from difflib import SequenceMatcher
from io import BytesIO
from itertools import combinations
from pathlib import Path

import imagehash
import pytest
from PIL import Image

from demo.data import MAIN, prepare_demo
from demo.model import look, read_knowledge, say
from poc_lib.client.stamp import draw_codes
from tests.demo_kit import PROMPT, ROOT, demo, encoded, entries, screenshots

LOOKS_DIFFERENT_BITS = 10


def rows(question, database=None):
    with closing(sqlite3.connect(f"file:{database or demo().database}?mode=ro", uri=True)) as connection:
        return connection.execute(question).fetchall()


def test_the_data_are_drawn_once_and_are_the_same_in_every_folder(tmp_path):
    other = prepare_demo(tmp_path)
    question = "SELECT id, timestamp, vlm_description, topics FROM observations"
    drawn_at = other.database.stat().st_mtime_ns
    assert prepare_demo(tmp_path) == other
    assert other.database.stat().st_mtime_ns == drawn_at
    assert other.answers.read_bytes() == demo().answers.read_bytes()
    assert rows(question, other.database) == rows(question)


def test_a_killed_drawing_leaves_nothing_that_is_used(tmp_path):
    code = "import sys, pathlib, demo.data; demo.data.prepare_demo(pathlib.Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT)
    while not list(tmp_path.glob(".drawing-*/demo-*/frames/frame_000005.jpg")):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("demo-*"))


def test_a_moved_folder_is_drawn_again(tmp_path):
    folder = tmp_path / demo().database.parent.name
    folder.mkdir()
    (folder / "complete.txt").write_text(str(demo().database.parent))
    found = prepare_demo(tmp_path).database
    paths = rows("SELECT image_path FROM observations WHERE type = 'visual'", found)
    assert {Path(path).parent for (path,) in paths} == {folder.resolve() / "frames"}


def test_the_schema_is_the_apps():
    columns = {name for (_, name, *_) in rows("PRAGMA table_info(observations)")}
    assert {"image_path", "vlm_description", "vlm_stats", "embedding", "tb_id", "frame_id"} <= columns
    assert not {"source_path", "vlm_model"} & columns
    assert rows("SELECT max(version) FROM _schema_version") == rows("PRAGMA user_version") == [(24,)]
    newest = rows("SELECT id FROM recordings ORDER BY datetime(captured_at) DESC LIMIT 1")
    assert newest == [("__recorder__",)]
    speeds = rows("SELECT duration_ms / items_processed FROM processing_stats ORDER BY duration_ms")
    assert speeds == [(8120,), (2740,)]
    recorder = "frames f JOIN observations o ON o.frame_id = f.id WHERE recording_id IS NULL"
    assert rows(f"SELECT count(*) FROM {recorder}") == [(5,)]


def test_the_main_recording_is_enough_for_a_run_and_has_the_odd_rows_of_real_ones():
    found = rows(
        "SELECT image_path, vlm_description, activity_type, apps FROM observations"
        f" WHERE recording_id = '{MAIN}' AND type = 'visual' ORDER BY timestamp"
    )
    missing = [path for path, *_ in found if not Path(path).is_file()]
    assert len(missing) == 3
    assert len(found) - len(missing) >= 96 + 20  # four blocks of 24 fresh frames, and some to spare
    said = [description for _, description, *_ in found]
    assert said.count(None) == 1
    assert sum(text.startswith(("No description", "Parse error")) for text in said if text) == 2
    assert [activity for _, _, activity, _ in found].count("unknown") == 1
    assert [apps for *_, apps in found].count(None) == 3
    assert [apps for *_, apps in found].count("Chrome, Slack") == 1


def test_most_screenshots_look_different_and_a_continued_one_looks_alike():
    hashes = [imagehash.phash(Image.open(BytesIO(data))) for data in screenshots()[:60]]
    apart = [a - b >= LOOKS_DIFFERENT_BITS for a, b in combinations(hashes, 2)]
    assert sum(apart) / len(apart) > 0.98
    assert hashes[0] - hashes[1] < LOOKS_DIFFERENT_BITS  # the editor, and the editor with a line more


@pytest.mark.parametrize(("width", "quality"), [(1024, 75), (768, 85)])
def test_a_screenshot_is_recognised_and_its_code_read_however_it_was_encoded(width, quality):
    knowledge, codes = read_knowledge(demo().answers), draw_codes(len(entries()), "codes")
    for data, entry, code in list(zip(screenshots(), entries(), codes, strict=True))[::4]:
        image = Image.open(BytesIO(data)).resize((width, width * 9 // 16))
        for shown in (code, None):
            seen, read = look(knowledge, encoded(image, shown, quality), wants_code=shown is not None)
            assert (seen["frame_id"], read) == (entry["frame_id"], shown)


def test_an_unknown_picture_gets_a_description_of_its_own():
    knowledge = read_knowledge(demo().answers)
    images = [Image.new("RGB", (1024, 576), colour) for colour in ("red", "blue")]
    (red, code), (blue, _) = [look(knowledge, encoded(image), wants_code=True) for image in images]
    assert code is None
    assert say(red, PROMPT, None) != say(blue, PROMPT, None)


def test_own_answers_agree_more_with_each_other_than_with_those_to_other_screenshots():
    def likeness(a, b):
        return SequenceMatcher(None, a, b, autojunk=False).ratio()

    def describe(entry, *keys):
        return say(entry, PROMPT, None, *keys).split(" | ")[0].removeprefix("description: ")

    answers = [[describe(entry, entry["frame_id"], i) for i in range(3)] for entry in entries()[::5]]
    own = [likeness(a, b) for same in answers for a, b in combinations(same, 2)]
    assert 0.75 < min(own) < 1
    assert max(likeness(a[0], b[0]) for a, b in combinations(answers, 2)) < 0.75
    stored = dict(rows("SELECT id, vlm_description FROM observations WHERE type = 'visual'"))
    pairs = [(entry["description"], stored[entry["frame_id"]] or "") for entry in entries()]
    assert all(a != b for a, b in pairs)
    assert sum(likeness(a, b) > 0.6 for a, b in pairs) / len(pairs) > 0.9


def test_the_answer_has_the_form_that_the_prompt_asks_for():
    line = say(entries()[0], PROMPT, None, 1)
    assert [part.split(":")[0] for part in line.split(" | ")] == ["description", "activity", "apps", "topics"]
    assert say(entries()[0], f"{PROMPT} | code: <six characters>", "CDFHJK", 1) == f"{line} | code: CDFHJK"
    assert say(entries()[0], "Which application is in front?", None, 1).count(".") >= 2
    assert say(entries()[0], "Describe it, then code: …", None, 1).endswith("\n\ncode: none")

import csv

import pandas as pd
import pytest

from poc_lib.errors import SetupProblem
from poc_lib.labels import LABEL_COLUMNS, read_labels, write_label_template

FRAMES = ["f1", "f2", "f3"]


def read(tmp_path, text, frame_ids=FRAMES, encoding="utf-8", **options):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return read_labels(path, frame_ids, **options)


def test_a_row_becomes_a_label_with_lists_split_at_semicolons(tmp_path):
    header = "frame_id,must_contain,must_not_contain,activity,apps,description"
    labels = read(tmp_path, f"{header}\nf1,a b; c ,,Coding,VS Code;Chrome,x\n")
    assert tuple(labels.columns) == LABEL_COLUMNS
    row = labels.iloc[0]
    assert (row.frame_id, row.must_contain, row.must_not_contain) == ("f1", ("a b", "c"), None)
    assert (row.activity, row.apps, row.description) == ("coding", ("VS Code", "Chrome"), "x")


def test_a_spreadsheets_semicolons_byte_order_mark_and_line_breaks_are_read(tmp_path):
    text = '\ufeffframe_id;must_contain\r\nf1;"a;b"\r\n\r\nf2;"c\nd"\r\n'
    assert read(tmp_path, text)["must_contain"].tolist() == [("a", "b"), ("c\nd",)]


def test_ids_stay_text_and_rows_that_label_nothing_are_left_out(tmp_path):
    labels = read(tmp_path, "frame_id,must_contain\n007,x\nf2,\n", ["007", "f2"])
    assert labels["frame_id"].tolist() == ["007"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column frame_id"),
        ("id,must_contain\nf1,x\n", "no column frame_id"),
        ("frame_id,image_path\nf1,x\n", "only frame_id"),
        ("frame_id,must_contains\nf1,x\n", "unknown column 'must_contains'"),
        ("frame_id,must_contain\nf1,\n", "no label filled in"),
        ("frame_id,must_contain\nf9,x\n", "nothing for this run"),
        ("frame_id,must_contain\nf1,x\nf9,x\n", "did not send: 'f9'"),
        ("frame_id,must_contain\nf1,x\nf1,y\n", "labels 'f1' twice"),
        ("frame_id,must_contain\n,x\n", "line 2: no frame_id"),
        ("frame_id,must_contain\nf1,x,y\n", "line 2: 3 cells under 2 columns"),
        ("frame_id,activity\nf1,browsing\n", "line 2: activity 'browsing'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path, text, message):
    with pytest.raises(SetupProblem, match=message) as problem:
        read(tmp_path, text)
    assert "\n" not in str(problem.value)


def test_labels_of_other_frames_may_be_left_out_on_request(tmp_path):
    text = "frame_id,must_contain\nf1,x\nf9,x\n"
    assert read(tmp_path, text, strict=False)["frame_id"].tolist() == ["f1"]


def test_a_missing_file_and_one_in_another_encoding_are_named(tmp_path):
    with pytest.raises(SetupProblem, match="no label file"):
        read_labels(tmp_path / "none.csv", FRAMES)
    with pytest.raises(SetupProblem, match="not UTF-8"):
        read(tmp_path, "frame_id,must_contain\nf1,Größe\n", encoding="latin-1")


def frames(n):
    rows = [(f"f{i}", float(i), f"{i}.jpg", "stored text") for i in reversed(range(n))]
    return pd.DataFrame(rows, columns=["frame_id", "timestamp_s", "image_path", "ref_description"])


def test_a_template_names_frames_spread_in_time_and_not_what_was_stored(tmp_path):
    path = tmp_path / "labels.csv"
    assert write_label_template(path, frames(9), 3) == ["f1", "f4", "f7"]
    assert "stored text" not in path.read_text(encoding="utf-8-sig")
    first = next(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    assert (first["frame_id"], first["image_path"], first["must_contain"]) == ("f1", "1.jpg", "")


def test_a_template_filled_in_is_read_back(tmp_path):
    path = tmp_path / "labels.csv"
    write_label_template(path, frames(2), 5)
    text = path.read_text(encoding="utf-8-sig").replace("f0,,,,,", "f0,,a;b,,,")
    path.write_text(text, encoding="utf-8-sig")
    assert read_labels(path, ["f0", "f1"])["must_contain"].tolist() == [("a", "b")]


def test_a_template_overwrites_nothing_and_needs_a_frame(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("mine")
    with pytest.raises(SetupProblem, match="is there already"):
        write_label_template(path, frames(2), 1)
    assert path.read_text() == "mine"
    with pytest.raises(SetupProblem, match="at least 1"):
        write_label_template(tmp_path / "other.csv", frames(2), 0)

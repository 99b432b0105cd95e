import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from poc_lib import runs
from poc_lib.errors import SetupProblem
from poc_lib.params import Params
from poc_lib.records import Reference
from poc_lib.runs import (
    append_event,
    hash_file,
    hash_text,
    neutralise_formula,
    newest_run,
    open_run,
    read_events,
    read_frames_of,
    read_replies,
    read_run,
    reply_writer,
    requests_table,
    write_json,
    write_table,
    write_text,
)
from tests.builders import failed, frame, reply

FRAMES = [frame("0012"), frame("f2", reference=None, reference_problem="empty")]


def facts(n_frames=2, prompt="Describe.", **params):
    return {
        "params": Params(**params).model_dump(),
        "prompt_sha256": hash_text(prompt),
        "frames": [{"frame_id": f"f{n}", "sha256": hash_text(str(n))} for n in range(n_frames)],
        "servers": [{"name": "vllm-mlx", "simulated": False}, {"name": "ollama", "simulated": False}],
    }


@pytest.fixture
def run(tmp_path):
    return open_run(tmp_path / "run-1", facts(), FRAMES)


def test_frames_come_back_as_they_were(run):
    assert read_frames_of(run) == FRAMES


def test_no_reference_and_an_empty_list_stay_apart(tmp_path):
    said = frame("f1", reference=Reference("text", None, None, (), None))
    run = open_run(tmp_path / "r", facts(n_frames=1), [said])
    assert read_frames_of(run) == [said]


def test_replies_come_back_as_they_were(run):
    sent = [reply("0012", text='été "x"\n🖥'), failed("f2")]
    with reply_writer(run) as write:
        for one in sent:
            write(one)
    assert read_replies(run) == sent


def test_the_table_keeps_ids_as_text_and_has_every_column(run):
    assert requests_table(run).empty
    assert "ttft_s" in requests_table(run).columns
    with reply_writer(run) as write:
        write(reply("0012"))
    assert requests_table(run)["frame_id"].tolist() == ["0012"]
    assert requests_table(run)["sent_at"].tolist() == ["2026-11-22T10:00:00.000+00:00"]


def test_each_reply_is_on_disk_before_the_next(run):
    with reply_writer(run) as write:
        for n in range(1, 4):
            write(reply(f"f{n}"))
            assert (run.folder / "requests.jsonl").read_bytes().count(b"\n") == n


def test_a_later_sitting_appends(run):
    for frame_id in ("f1", "f2"):
        with reply_writer(run) as write:
            write(reply(frame_id))
    assert [one.frame_id for one in read_replies(run)] == ["f1", "f2"]


def test_a_half_written_last_line_is_set_aside(run):
    with reply_writer(run) as write:
        write(reply("f1"))
    path = run.folder / "requests.jsonl"
    with path.open("ab") as file:
        file.write(b'{"request_id": "vllm')
    assert [one.frame_id for one in read_replies(run)] == ["f1"]
    with reply_writer(run) as write:
        write(reply("f2"))
    assert [one.frame_id for one in read_replies(run)] == ["f1", "f2"]
    assert (run.folder / "requests.broken.jsonl").read_bytes() == b'{"request_id": "vllm\n'


def test_a_half_written_event_is_set_aside(run):
    append_event(run, "sitting_started", sitting=0)
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "cell_')
    append_event(run, "sitting_started", sitting=1)
    assert [event["sitting"] for event in read_events(run)] == [0, 1]


def test_a_second_writer_is_refused_while_the_first_writes(run):
    with reply_writer(run), pytest.raises(SetupProblem, match="another process is measuring into"):
        reply_writer(run).__enter__()
    with reply_writer(run) as write:
        write(reply("f1"))


def test_opening_again_with_the_same_facts_continues_the_run(run):
    before = (run.folder / "run.json").read_bytes()
    again = open_run(run.folder, facts(), FRAMES)
    assert again.facts["created_at"] == run.facts["created_at"]
    assert (run.folder / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"temperature": 0.7}, "temperature is 0.7, on file 0.3"),
        ({"concurrency": [1, 2]}, "concurrency is [1, 2], on file [1, 2, 4, 8]"),
        ({"candidate_model": "other"}, "candidate_model is 'other', on file 'demo-vlm'"),
        ({"prompt": "What is this?"}, "other prompt text than on file"),
        ({"n_frames": 3}, "other frame images than on file"),
    ],
)
def test_another_experiment_is_refused_naming_the_difference(run, changes, difference):
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    with pytest.raises(SetupProblem) as refused:
        open_run(run.folder, facts(**changes), FRAMES)
    assert difference in str(refused.value)
    assert "Choose another run_id" in str(refused.value)
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


@pytest.mark.parametrize(
    "changes",
    [
        {"timeout_s": 5.0},
        {"connect_timeout_s": 1.0},
        {"screenshots": False},
        {"match_threshold": 0.5},
        {"target_tok_per_s": 90.0},
        {"stop_after_failures": 1},
        {"api_key_env": "OTHER"},
        {"outputs_dir": "elsewhere"},
        {"run_id": "run-1"},
    ],
)
def test_what_does_not_change_the_measurement_may_differ(run, changes):
    assert open_run(run.folder, facts(**changes), FRAMES).facts == run.facts


def test_every_free_parameter_is_a_parameter():
    assert set(Params.model_fields) >= runs.FREE_PARAMETERS


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(SetupProblem, match=r"no run in .*nothing: expected a run\.json"):
        read_run(tmp_path / "nothing")


def test_a_start_that_broke_off_before_run_json_is_started_again(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "frames.jsonl").write_text("half")
    assert len(read_frames_of(open_run(tmp_path / "r", facts(), FRAMES))) == 2


def test_the_newest_run_is_found_by_database(tmp_path):
    made_on = [("a", "demo", "2026-01-02"), ("b", "demo", "2026-01-01"), ("c", "x.db", "2026-01-03")]
    for name, database, created in made_on:
        made = facts(database=database) | {"created_at": created}
        open_run(tmp_path / name, made, FRAMES)
    assert newest_run(tmp_path, "demo") == tmp_path / "a"
    assert newest_run(tmp_path, "x.db") == tmp_path / "c"
    assert newest_run(tmp_path, "other.db") is None


def test_one_simulated_server_makes_a_run_simulated(run):
    assert run.simulated is False
    servers = [*run.facts["servers"], {"name": "x", "simulated": True}]
    assert replace(run, facts=run.facts | {"servers": servers}).simulated is True


def test_the_api_key_is_in_no_file_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("POC_API_KEY", "sk-very-secret")
    run = open_run(tmp_path / "r", facts(), FRAMES)
    with reply_writer(run) as write:
        write(reply())
    assert all(b"sk-very-secret" not in path.read_bytes() for path in run.folder.iterdir())
    assert b"POC_API_KEY" in (run.folder / "run.json").read_bytes()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_a_spreadsheet_would_calculate_gets_an_apostrophe(start):
    assert neutralise_formula(f"{start}1+1") == f"'{start}1+1"


@pytest.mark.parametrize("value", ["a=1", "", None, -1.5, ["=x"]])
def test_other_values_stay(value):
    assert neutralise_formula(value) == value


def test_a_table_is_written_without_formulas_and_with_its_numbers(run):
    rows = pd.DataFrame({"text": ["=HYPERLINK(1)", None], "n": [-1, 2], "met": [True, None]})
    path = write_table(run, "rows", rows)
    assert path == run.folder / "tables" / "rows.csv"
    assert path.read_text() == "text,n,met\n'=HYPERLINK(1),-1,True\n,2,\n"
    assert rows["text"].iloc[0] == "=HYPERLINK(1)"


def test_json_is_whole_or_absent(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"path": Path("a"), "nan": float("nan"), 1: "one"})
    assert json.loads(path.read_text()) == {"path": "a", "nan": None, "1": "one"}
    with pytest.raises(TypeError):
        write_json(path, {("a",): 1})
    assert json.loads(path.read_text())["path"] == "a"


def test_hashes_are_sha_256(tmp_path):
    path = write_text(tmp_path / "new" / "a.txt", "abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_file(path) == hash_text("abc") == known

"""Bad input gets one clear line: what was found, what was expected, what to do. Nothing is sent or lost."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from poc_lib.cli import EXIT_PROBLEM, main
from poc_lib.demo import prepare_demo
from poc_lib.errors import SetupProblem
from tests.sweeps import quick_params, run_sweep


@pytest.fixture
def database(tmp_path: Path) -> Path:
    made = prepare_demo(tmp_path / "demo").database
    copy = tmp_path / "escribano.db"
    shutil.copy(made, copy)
    return copy


def problem_of(tmp_path: Path, **changes) -> str:
    with pytest.raises(SetupProblem) as problem:
        run_sweep(quick_params(tmp_path / "outputs", "bad", **changes))
    line = str(problem.value)
    assert "\n" not in line
    assert not list((tmp_path / "outputs").glob("bad/requests.jsonl"))
    return line


def execute(database: Path, *statements: str) -> None:
    with sqlite3.connect(database) as connection:
        for statement in statements:
            connection.execute(statement)


def test_no_database_file(tmp_path):
    assert "missing.db" in problem_of(tmp_path, database=str(tmp_path / "missing.db"))


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "notes.db"
    path.write_text("just text\n" * 100)
    assert "notes.db" in problem_of(tmp_path, database=str(path))


def test_another_schema_names_what_is_missing(tmp_path, database):
    execute(database, "DROP TABLE observations")
    assert "observations" in problem_of(tmp_path, database=str(database))


def test_no_recordings(tmp_path, database):
    execute(database, "DELETE FROM recordings")
    assert "recording" in problem_of(tmp_path, database=str(database))


def test_an_unknown_recording(tmp_path, database):
    assert "no-such-id" in problem_of(tmp_path, database=str(database), recording="no-such-id")


def test_no_usable_frames(tmp_path, database):
    execute(database, "UPDATE observations SET image_path = '/nowhere/frame.jpg'")
    line = problem_of(tmp_path, database=str(database), recover_missing=False)
    assert "missing" in line or "usable" in line


def test_an_unreadable_image_is_not_sent(tmp_path, database):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 not a picture")
    execute(database, f"UPDATE observations SET image_path = '{broken}'")
    line = problem_of(tmp_path, database=str(database), recover_missing=False)
    assert "image" in line


def test_a_server_that_is_down_says_how_to_start_it(tmp_path):
    line = problem_of(tmp_path, candidate_url="http://127.0.0.1:9/v1", candidate_model="m")
    assert "127.0.0.1:9" in line
    assert "vllm-mlx serve" in line


def test_a_wrong_model_name_lists_what_is_served(tmp_path):
    from poc_lib.simulator.process import simulated_server

    answers = prepare_demo(tmp_path / "demo").answers
    with simulated_server("openai", "the-model", answers) as server:
        line = problem_of(tmp_path, candidate_url=server.url, candidate_model="another")
    assert "'another'" in line
    assert "the-model" in line


def test_an_unknown_parameter_names_the_nearest_and_exits_2(tmp_path, capsys):
    params = tmp_path / "params.yaml"
    params.write_text("concurency: [1, 2]\n")
    assert main(["run", "--params", str(params)]) == EXIT_PROBLEM
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "did you mean 'concurrency'" in error


def test_a_check_of_a_machine_that_is_not_ready_says_so_and_exits_1(tmp_path, capsys):
    flags = ["--candidate_url", "http://127.0.0.1:9/v1", "--baseline_url", "", "--n_frames", "2"]
    assert main(["check", *flags, "--output", str(tmp_path / "outputs" / "check")]) == 1
    printed = capsys.readouterr().out
    assert "NOT READY" in printed
    assert "vllm-mlx serve" in printed

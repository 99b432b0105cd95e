import sys
from pathlib import Path

import pytest

from poc_lib import cli
from poc_lib.errors import SetupProblem
from poc_lib.params import Params


def test_a_command_alone_takes_the_defaults():
    assert cli.read_arguments(["run"]) == ("run", Params())


def test_every_parameter_is_a_flag_of_every_command():
    for command in ("run", "check", "report"):
        for name, info in Params.model_fields.items():
            value = info.default
            given = [str(item) for item in value] if isinstance(value, list) else [str(value)]
            switch = f"--{name}" if value else f"--no-{name}"
            flags = [switch] if isinstance(value, bool) else [f"--{name}", *given]
            assert cli.read_arguments([command, *flags]) == (command, Params()), name


def test_a_flag_may_be_written_with_dashes_or_by_its_short_name():
    _, params = cli.read_arguments(
        ["run", "--max-tokens", "9", "--frames", "3", "--concurrent", "1", "2", "--server", "http://h/v1"]
    )
    assert (params.max_tokens, params.n_frames, params.concurrency) == (9, 3, [1, 2])
    assert params.candidate_url == "http://h/v1"


def test_a_yes_or_no_has_two_flags():
    assert cli.read_arguments(["run", "--no-screenshots"])[1].screenshots is False
    assert cli.read_arguments(["run", "--screenshots"])[1].screenshots is True


def test_an_empty_text_and_an_empty_list_can_be_given():
    _, params = cli.read_arguments(["run", "--baseline_url", "", "--demo_faults"])
    assert (params.baseline_url, params.demo_faults) == ("", [])


def test_a_flag_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("n_frames: 5\nseed: 7\n")
    _, params = cli.read_arguments(["run", "--params", str(path), "--n_frames", "6"])
    assert (params.n_frames, params.seed, params.blocks) == (6, 7, 3)


def test_the_output_folder_sets_where_the_run_lies(tmp_path):
    _, params = cli.read_arguments(["run", "--output", str(tmp_path / "a" / "my-run")])
    assert (params.outputs_path, params.run_id) == (tmp_path / "a", "my-run")


def test_a_relative_output_folder_counts_from_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, params = cli.read_arguments(["run", "--output", "my-run"])
    assert params.outputs_path / params.run_id == tmp_path / "my-run"


def test_an_unknown_key_in_the_file_is_an_error(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("n_frame: 5\n")
    with pytest.raises(SetupProblem, match="did you mean 'n_frames'"):
        cli.read_arguments(["run", "--params", str(path)])


@pytest.mark.parametrize(
    "arguments",
    [["run", "--params", "no-such.yaml"], ["run", "--concurrent", "2", "2"], ["check", "--max_tokens", "0"]],
)
def test_a_wrong_set_up_is_one_line_and_status_2(arguments, capsys):
    assert cli.main(arguments) == cli.EXIT_PROBLEM == 2
    said = capsys.readouterr()
    assert said.err.startswith("problem: ")
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize(
    "arguments", [[], ["measure"], ["run", "--no-such-flag", "1"], ["run", "--seed", "x"]]
)
def test_a_wrong_command_line_is_shown_by_the_parser(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m poc_lib" in capsys.readouterr().err


def test_the_arguments_of_the_process_are_the_default(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["poc_lib", "run", "--params", str(Path("no-such.yaml"))])
    assert cli.main() == 2
    assert "no-such.yaml" in capsys.readouterr().err


def test_the_help_names_every_parameter_and_its_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    for name in Params.model_fields:
        assert f"--{name}" in words
    assert "(default: 1 2 4 8)" in words
    assert "(default: None)" not in words


def test_a_template_for_labels_is_written_once_and_never_over_a_filled_one(demo_run, capsys):
    folder = ["--output", str(demo_run)]
    assert cli.main(["labels", *folder]) == 0
    assert "6 frames to label" in capsys.readouterr().out
    header, *rows = (demo_run / "labels.csv").read_text(encoding="utf-8-sig").splitlines()
    assert header.startswith("frame_id,")
    assert len(rows) == 6
    assert cli.main(["labels", *folder]) == 2
    assert "is there already" in capsys.readouterr().err

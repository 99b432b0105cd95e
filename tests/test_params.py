"""Parameters: every wrong one is a line that says what was found and what to do."""

import subprocess
import sys

import pytest

from poc_lib.params import PROJECT_ROOT, Params
from poc_lib.reading import params_from_notebook, read_params_file, validate_params
from poc_lib.records import SetupProblem


def test_there_are_at_most_forty_parameters_each_with_help_and_a_use():
    fields = Params.model_fields.values()
    assert len(fields) <= 40
    assert all(field.description and field.json_schema_extra["use"] for field in fields)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"max_blokcs": 3}, r"unknown parameter 'max_blokcs': did you mean 'max_blocks'\?"),
        ({"temperature": float("inf")}, "temperature' is inf"),
        ({"open_loop_rates": [float("nan")]}, "open_loop_rates.0' is nan"),
        ({"seed": -1}, "seed' is -1"),
        ({"n_frames": 10**30}, "a number of 100 bits"),
        ({"concurrency": []}, "at least 1 item"),
        ({"concurrency": [0]}, "greater than or equal to 1"),
        ({"candidate_name": ""}, "candidate_name"),
        ({"candidate_name": "same", "baseline_name": "same"}, "two servers are called 'same'"),
        ({"run_id": "a/b"}, "without slashes"),
        ({"run_id": "a\nb"}, "line breaks"),
        ({"run_id": "x" * 300}, "120 bytes"),
        ({"servers": [{"name": 3}]}, "lacks model, lacks role, lacks url"),
        ({"servers": [{"name": 3, "role": "candidate", "url": "u", "model": "m"}]}, "called 3"),
        ({"servers": [{"name": "a", "role": "boss", "url": "u", "model": "m"}]}, "role 'boss'"),
        (
            {"servers": [{"name": "a", "role": "candidate", "url": "u", "model": "m", "concurrency": 4}]},
            r"like \[1, 4\]",
        ),
        (
            {"servers": [{"name": "a", "role": "baseline", "url": "u", "model": "m"}]},
            "no server has the role",
        ),
        ({"timeout_s": 0, "seed": "x"}, "seed.*timeout_s"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_found(values, line):
    with pytest.raises(SetupProblem, match=line) as problem:
        validate_params(values)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("note: käse".encode("latin-1"), "not UTF-8"),
        ("note: x".encode("utf-16"), "not UTF-8"),
        (b"recording: 2026-13-45", "not YAML|unknown"),
        (b"[" * 20_000, "not YAML|nested"),
        (b"n_frames: " + b"9" * 5000, "not YAML|digits"),
        (b"seed: 1\nseed: 2", "'seed' is given twice"),
        (b"- 1\n- 2", "holds a list"),
        (b"note: [unclosed", "not YAML"),
        (b"x" * 2_000_000, "2 MB"),
    ],
)
def test_a_wrong_params_file_is_one_line(tmp_path, content, line):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(SetupProblem, match=line) as problem:
        validate_params(read_params_file(path))
    assert "\n" not in str(problem.value)


def test_a_params_file_may_name_a_day_and_lies_below_the_project():
    assert read_params_file("params/demo.yaml")["database"] == "demo"
    with pytest.raises(SetupProblem, match="no params file"):
        read_params_file("params/none.yaml")


def test_yaml_dates_stay_the_text_that_was_written(tmp_path):
    (tmp_path / "p.yaml").write_text("\ufeffrecording: 2026-03-01")
    assert read_params_file(tmp_path / "p.yaml") == {"recording": "2026-03-01"}


@pytest.mark.parametrize(
    ("prompt", "line"),
    [
        ("none", "no prompt file 'none'"),
        ("Describe this screenshot in one line.\nPlease.", "a prompt's text goes into a file"),
        ("~nobody-here/x", "no prompt file"),
        (".", "no prompt file"),
        ("empty.txt", "is empty"),
        ("latin.txt", "not UTF-8"),
    ],
)
def test_a_prompt_that_is_none_is_one_line(tmp_path, monkeypatch, prompt, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("über".encode("latin-1"))
    with pytest.raises(SetupProblem, match=line):
        Params(prompt=prompt).prompt_text()


CELL = 'params_file: str = ""\nseed: int = 0\nmax_blocks: int = 12\n'


def notebook(**names) -> dict:
    return {"In": ["", CELL], "params_file": "", "seed": 0, "max_blocks": 12, **names}


def test_a_notebook_gives_what_its_parameter_cells_set_and_no_name_of_your_own():
    assert params_from_notebook(notebook(seed=3)).seed == 3
    assert params_from_notebook(notebook(server="mine", sead=4, block=[1])) == Params()


def test_the_params_file_fills_in_what_the_notebook_left_at_its_default(tmp_path):
    (tmp_path / "p.yaml").write_text("seed: 7\nmax_blocks: 4\nn_frames: 10")
    params = params_from_notebook(notebook(params_file=str(tmp_path / "p.yaml"), max_blocks=6))
    assert (params.seed, params.max_blocks, params.n_frames) == (7, 6, 10)


def test_papermill_may_set_any_parameter_and_a_misspelt_one_is_an_error():
    injected = "# Parameters\nseed = 0\ncandidate_name = 'x'\n"
    names = notebook(candidate_name="x") | {"In": ["", CELL, injected]}
    assert params_from_notebook(names).candidate_name == "x"
    names = notebook(candidate_nmae="x") | {"In": ["", CELL, "# Parameters\ncandidate_nmae = 'x'\n"]}
    with pytest.raises(SetupProblem, match="did you mean 'candidate_name'"):
        params_from_notebook(names)


def test_an_injected_default_wins_over_the_file(tmp_path):
    (tmp_path / "p.yaml").write_text("seed: 7")
    names = notebook(params_file=str(tmp_path / "p.yaml"))
    assert params_from_notebook(names | {"In": ["", CELL, "# Parameters\nseed = 0\n"]}).seed == 0


def test_a_key_that_no_header_can_carry_is_refused(monkeypatch):
    monkeypatch.setenv("POC_API_KEY", "schlüssel")
    with pytest.raises(SetupProblem, match="beyond ASCII"):
        Params().api_key()
    monkeypatch.setenv("POC_API_KEY", " sk-1\n")
    assert Params().api_key() == "sk-1"


def test_a_password_in_an_address_is_sent_and_never_stored():
    params = validate_params({"candidate_url": "http://me:secret@127.0.0.1:1/v1"})
    assert "secret" not in repr(params.model_dump())
    again = validate_params(params.model_dump())
    assert again.server_list()[1].url == "http://me:secret@127.0.0.1:1/v1"


def test_importing_the_library_loads_no_heavy_package():
    look = (
        "import sys, poc_lib; print(sorted({'pandas', 'matplotlib', 'sklearn', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True
    )
    assert done.stdout.strip() == "[]"

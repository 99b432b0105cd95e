"""Parameters: every wrong one is a line that says what was found and what to do."""

import pytest

from poc_lib.params import Params, params_from_notebook, read_params_file, validate_params
from poc_lib.records import SetupProblem

SERVER = {"name": "a", "role": "candidate", "url": "u", "model": "m"}


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
        ({"n_frames": 10**300}, "n_frames' is 10000+…: "),
        ({"concurrency": []}, "at least 1 item"),
        ({"candidate_name": "same", "baseline_name": "same"}, "two servers are called 'same'"),
        ({"run_id": "a/b"}, "run_id' is 'a/b': a plain folder name"),
        ({"run_id": "a\nb"}, "line breaks"),
        ({"run_id": "x" * 300}, "120 bytes"),
        (
            {"servers": [{"name": 3}]},
            "name' is 3: .*; parameter 'servers.0.role' is missing; .*url.*model",
        ),
        ({"servers": [SERVER | {"role": "boss"}]}, "servers.0.role' is 'boss': .*'candidate' or 'baseline'"),
        ({"servers": [SERVER | {"concurrency": 4}]}, "servers.0.concurrency' is 4: .* list"),
        ({"servers": [SERVER | {"modell": "m"}]}, r"'modell': did you mean 'model'\?"),
        ({"servers": [SERVER | {"role": "baseline"}]}, "no server has the role 'candidate'"),
        ({"candidate_url": "http://me:secret@h" + "x" * 5000}, "candidate_url' is 'http://hx+…: .*4096"),
        ({"candidate_url": "http://me:secret@h/\ud800"}, r"candidate_url' is 'http://h/"),
        ({"servers": ["http://me:secret@h/v1"]}, "servers.0' is 'http://h/v1': Expecting"),
        ({"timeout_s": 0, "seed": "x", "nmae": 1}, "seed.*timeout_s.*unknown parameter 'nmae'"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_found(values, line):
    with pytest.raises(SetupProblem, match=line) as problem:
        validate_params(values)
    assert not [part for part in ("\n", "secret") if part in str(problem.value)]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("note: käse".encode("latin-1"), "in UTF-8: unacceptable character"),
        (b"[" * 20_000, "recursion depth"),
        (b"n_frames: " + b"9" * 5000, "digits"),
        (b"seed: 1\nseed: 2", "'seed' is given twice"),
        (b"- 1\n- 2", "holds a list"),
        (b"note: [unclosed", "not a YAML file of lines 'name: value'"),
        (b"x" * 2_000_000, "2 MB"),
    ],
)
def test_a_wrong_params_file_is_one_line(tmp_path, content, line):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(SetupProblem, match=line) as problem:
        validate_params(read_params_file(path))
    assert "\n" not in str(problem.value)


def test_a_params_file_lies_below_the_project_and_its_dates_stay_the_text_that_was_written(tmp_path):
    assert read_params_file("params/demo.yaml")["database"] == "demo"
    (tmp_path / "p.yaml").write_text("\ufeffrecording: 2026-03-01 10:00:00")
    assert read_params_file(tmp_path / "p.yaml") == {"recording": "2026-03-01 10:00:00"}
    with pytest.raises(SetupProblem, match=r"no params file at .*params/none\.yaml"):
        read_params_file("params/none.yaml")


@pytest.mark.parametrize(
    "prompt", ["none", "Describe this screenshot.\nPlease.", "~nobody-here/x", ".", "empty.txt", "latin.txt"]
)
def test_a_prompt_that_is_none_is_one_line_that_names_the_ready_ones(tmp_path, monkeypatch, prompt):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "latin.txt").write_bytes("über".encode("latin-1"))
    with pytest.raises(SetupProblem, match=r"no prompt file '.*one_line, .*text goes into a file"):
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


def test_what_papermill_injects_wins_over_the_file_and_a_misspelt_name_is_an_error(tmp_path):
    (tmp_path / "p.yaml").write_text("seed: 7")
    injected = "# Parameters\nseed = 0\ncandidate_name = 'x'\n"
    names = notebook(candidate_name="x", params_file=str(tmp_path / "p.yaml")) | {"In": ["", CELL, injected]}
    assert params_from_notebook(names) == Params(candidate_name="x")
    names = notebook(candidate_nmae="x") | {"In": ["%ls", CELL, "# Parameters\ncandidate_nmae = 'x'\n"]}
    with pytest.raises(SetupProblem, match="did you mean 'candidate_name'"):
        params_from_notebook(names)


def test_a_key_that_no_header_can_carry_is_refused(monkeypatch):
    monkeypatch.setenv("POC_API_KEY", "schlüssel")
    with pytest.raises(SetupProblem, match="beyond ASCII"):
        Params().api_key()
    monkeypatch.setenv("POC_API_KEY", " sk-1\n")
    assert Params().api_key() == "sk-1"


@pytest.mark.parametrize("in_list", [False, True])
def test_a_password_in_an_address_is_sent_and_never_stored(in_list):
    url = f"http://me:secret@{in_list}/v1"
    values = {"servers": [SERVER | {"url": url}]} if in_list else {"candidate_url": url, "baseline_url": ""}
    params = validate_params(values)
    assert "secret" not in repr(params.model_dump())
    assert [server.url for server in validate_params(params.model_dump()).server_list()] == [url]


def test_servers_in_a_list_take_the_levels_of_their_role_and_baselines_come_first():
    listed = ['{"name": "b", "role": "baseline", "url": "u", "model": "m", "concurrency": [4, 2, 4]}', SERVER]
    servers = validate_params({"servers": listed[::-1], "concurrency": [16]}).server_list()
    assert [(server.name, server.concurrency, server.api) for server in servers] == [
        ("b", (2, 4), "openai"),
        ("a", (16,), "openai"),
    ]
    assert validate_params({"servers": listed, "level": 8}).server_list()[1].concurrency == (8,)

import ast

import pytest

from poc_lib.errors import SetupProblem
from poc_lib.params import PROJECT_ROOT, Params
from poc_lib.params_reading import (
    new_run_id,
    parameters_cell,
    params_from_notebook,
    read_params,
    validate_params,
)

PARAMS_FILES = sorted((PROJECT_ROOT / "params").glob("*.yaml"))


def problem_of(**values):
    with pytest.raises(SetupProblem) as problem:
        validate_params(values)
    assert "\n" not in str(problem.value)
    return str(problem.value)


def test_the_defaults_are_valid_and_run_the_demo():
    params = validate_params({})
    assert params == Params()
    assert params.uses_demo_data
    assert {server.url for server in params.server_specs()} == {"demo"}


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.stem)
def test_every_ready_params_file_is_valid(path):
    params = validate_params(read_params(path))
    assert params.prompt_text()


def test_there_are_ready_params_files():
    assert {"demo", "escribano", "recorded_baseline"} <= {path.stem for path in PARAMS_FILES}


def test_an_unknown_key_names_the_nearest():
    assert problem_of(concurency=[1]) == "unknown parameter 'concurency': did you mean 'concurrency'?"
    assert problem_of(zzzz=1) == "unknown parameter 'zzzz': see --help for every parameter"


def test_several_problems_come_in_one_line():
    problem = problem_of(n_frames=0, temperature=3.0)
    assert "parameter 'n_frames' is 0" in problem
    assert "parameter 'temperature' is 3.0" in problem


@pytest.mark.parametrize(
    "values",
    [
        {"concurrency": []},
        {"concurrency": [0]},
        {"concurrency": [1, "x"]},
        {"concurrency": 4},
        {"baseline_concurrency": [513]},
        {"sample": "every"},
        {"candidate_api": "grpc"},
        {"max_tokens": 0},
        {"timeout_s": 0},
        {"match_threshold": 1.0},
        {"candidate_name": ""},
        {"blocks": 0},
        {"temperature": float("nan")},
    ],
)
def test_a_value_out_of_range_is_named(values):
    assert next(iter(values)) in problem_of(**values)


def test_levels_are_distinct_and_sorted():
    assert "each level once; got [1, 4, 4]" in problem_of(concurrency=[1, 4, 4])
    assert validate_params({"concurrency": [8, 1, 4]}).concurrency == [1, 4, 8]


@pytest.mark.parametrize("run_id", ["a/b", "../a", "/tmp/a", ".hidden", ".."])
def test_a_run_id_is_a_plain_folder_name(run_id):
    assert "a plain folder name, without slashes" in problem_of(run_id=run_id)


def test_the_two_servers_are_named_apart():
    assert "name them apart" in problem_of(candidate_name="x", baseline_name="x")
    assert validate_params({"candidate_name": "x", "baseline_name": "x", "baseline_url": ""})


def test_the_baseline_comes_first_and_is_left_out_without_its_url():
    assert [server.role for server in Params().server_specs()] == ["baseline", "candidate"]
    assert [server.role for server in Params(baseline_url="").server_specs()] == ["candidate"]


THREE = [
    {"name": "a", "role": "candidate", "url": "http://a/v1", "model": "m", "concurrency": [4, 1]},
    {"name": "b", "role": "baseline", "api": "ollama", "url": "http://b", "model": "m"},
    {"name": "c", "role": "candidate", "url": "http://c/v1", "model": "m"},
]


def test_a_list_of_servers_stands_for_the_two_flat_ones():
    params = validate_params({"servers": THREE, "concurrency": [2], "baseline_concurrency": [1, 3]})
    specs = params.server_specs()
    assert [(spec.name, spec.api, spec.concurrency) for spec in specs] == [
        ("b", "ollama", (1, 3)),
        ("a", "openai", (1, 4)),
        ("c", "openai", (2,)),
    ]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"name": "b"}, "two servers are called 'b'"),
        ({"role": "judge"}, "role 'judge'"),
        ({"api": "grpc"}, "api 'grpc'"),
        ({"modell": "m"}, "has modell"),
        ({"concurrency": [0]}, "expected 1 to 512"),
        ({"concurrency": 4}, "a list of whole numbers"),
    ],
)
def test_a_wrong_server_in_the_list_is_named(change, found):
    assert found in problem_of(servers=[THREE[0] | change, *THREE[1:]])


def test_a_server_without_its_model_or_a_run_without_a_candidate_is_refused():
    assert "lacks model" in problem_of(servers=[{"name": "a", "role": "candidate", "url": "http://a"}])
    assert "no server has the role 'candidate'" in problem_of(servers=THREE[1:2])


def test_parameters_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        Params().seed = 1


def test_a_notebooks_names_become_parameters():
    namespace = {"n_frames": 3, "concurrency": [2], "__name__": "x", "_secret": 1, "In": [""], "analysis": {}}
    params = params_from_notebook(namespace | {"Path": PROJECT_ROOT.__class__})
    assert (params.n_frames, params.concurrency, params.seed) == (3, [2], 0)


def test_a_misspelt_name_among_a_notebooks_is_refused():
    with pytest.raises(SetupProblem, match="unknown parameter 'n_frame': did you mean 'n_frames'"):
        params_from_notebook({"n_frame": 3})


@pytest.mark.parametrize("wrong", [(1, "x"), {"a": 1}, {1, 2}])
def test_a_value_of_a_wrong_type_is_not_passed_over(wrong):
    with pytest.raises(SetupProblem, match="parameter 'n_frames'"):
        params_from_notebook({"n_frames": wrong})


def test_the_notebooks_cell_is_python_and_holds_the_defaults():
    source = parameters_cell()
    ast.parse(source)
    namespace = {}
    exec(source, namespace)
    assert {name: namespace[name] for name in Params.model_fields} == Params().model_dump()
    assert params_from_notebook(namespace) == Params()
    assert all(info.description in source for info in Params.model_fields.values())
    assert all(": " in line.split(" = ")[0] for line in source.splitlines())


def written(tmp_path, text):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    return path


def test_a_day_in_a_params_file_stays_text(tmp_path):
    assert read_params(written(tmp_path, "recording: 2026-03-01\n")) == {"recording": "2026-03-01"}


def test_an_empty_params_file_means_the_defaults(tmp_path):
    assert read_params(written(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [1", "is not YAML"), ("- a\n- b\n", "holds a list"), ("just text", "holds a str")],
)
def test_a_params_file_of_another_form_is_named(tmp_path, text, words):
    with pytest.raises(SetupProblem, match=words) as problem:
        read_params(written(tmp_path, text))
    assert "\n" not in str(problem.value)


def test_a_missing_params_file_is_named(tmp_path):
    with pytest.raises(SetupProblem, match=r"no params file at .*none\.yaml"):
        read_params(tmp_path / "none.yaml")


def test_a_key_that_is_no_text_is_an_unknown_parameter(tmp_path):
    with pytest.raises(SetupProblem, match="unknown parameter '8'"):
        validate_params(read_params(written(tmp_path, "8: x\n")))


def test_the_prompt_is_a_name_or_a_path(tmp_path):
    path = written(tmp_path, "  What is this?\n")
    assert Params(prompt=str(path)).prompt_text() == "What is this?"
    assert "description:" in Params(prompt="one_line").prompt_text()


@pytest.mark.parametrize("prompt", ["no_such", "", "params"])
def test_a_missing_prompt_names_the_known_ones(prompt):
    with pytest.raises(SetupProblem, match="give one of canary, four_questions, one_line"):
        Params(prompt=prompt).prompt_text()


def test_the_api_key_comes_from_the_environment_alone(monkeypatch):
    monkeypatch.setenv("OTHER_KEY", " sk-very-secret\r\n")
    params = Params(api_key_env="OTHER_KEY")
    assert params.api_key() == "sk-very-secret"
    assert "sk-very-secret" not in repr(params) + params.model_dump_json()
    monkeypatch.setenv("OTHER_KEY", "")
    assert params.api_key() is None
    monkeypatch.delenv("OTHER_KEY")
    assert params.api_key() is None


@pytest.mark.parametrize("key", ["sécret", "two\nlines"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(monkeypatch, key):
    monkeypatch.setenv("POC_API_KEY", key)
    with pytest.raises(SetupProblem, match="the key in POC_API_KEY") as problem:
        Params().api_key()
    assert key not in str(problem.value)


def test_a_new_run_id_is_a_valid_one():
    assert validate_params({"run_id": new_run_id(Params())}).run_id.startswith("demo-")
    assert new_run_id(Params(database="x.db")).startswith("run-")


def test_a_relative_outputs_folder_counts_from_the_project(tmp_path):
    assert Params().outputs_path == PROJECT_ROOT / "outputs"
    assert Params(outputs_dir=str(tmp_path)).outputs_path == tmp_path

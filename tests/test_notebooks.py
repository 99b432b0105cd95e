"""The notebooks as sources: thin, in step with the parameters, and runnable from anywhere."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

import poc_lib
from poc_lib.params import PROJECT_ROOT, Params
from poc_lib.params_reading import parameters_cell

NOTEBOOKS = sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb"))
PARAMS_FILES = sorted((PROJECT_ROOT / "params").glob("*.yaml"))
QUICK = {"n_frames": 4, "concurrency": [1, 2], "demo_speed": 20.0, "warmup_requests": 1}


def read_notebook(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_of(path: Path) -> list[str]:
    return [cell.source for cell in read_notebook(path).cells if cell.cell_type == "code"]


def parameters_of(path: Path) -> str:
    tagged = [c for c in read_notebook(path).cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    return tagged[0].source


def test_there_are_the_four_notebooks():
    assert [path.stem for path in NOTEBOOKS] == ["accuracy", "benchmark", "report", "setup_check"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebooks_parameters_are_those_of_the_library(path):
    assert parameters_of(path) == parameters_cell()


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.stem)
def test_a_params_file_names_only_parameters_of_every_notebook(path):
    known = {node.target.id for node in ast.parse(parameters_cell()).body}
    assert known == set(Params.model_fields)
    assert set(yaml.safe_load(path.read_text())) <= known


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_defines_nothing_and_prints_nothing(path):
    sources = [source for source in code_of(path) if source != parameters_cell()]
    lines = [line for source in sources for line in source.splitlines()]
    assert not [line for line in lines if line.startswith(("def ", "class ", "async def ", "print("))]
    assert len(sources) <= 20


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_and_names_what_it_reads_and_what_is_next(path):
    notebook = read_notebook(path)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert prose.startswith("# ")
    for heading in ("## Parameters", "## Result", "## Limits", "## Next"):
        assert heading in prose


def test_notebooks_import_only_what_the_library_exports():
    used = set()
    for path in NOTEBOOKS:
        for source in code_of(path):
            tree = ast.parse(source, mode="exec") if "await" not in source else None
            imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)] if tree else []
            used |= {alias.name for node in imports for alias in node.names}
    assert used == set(poc_lib.__all__)
    assert all(callable(getattr(poc_lib, name)) for name in poc_lib.__all__)


@pytest.mark.parametrize("name", ["benchmark", "accuracy", "report"])
def test_a_notebook_alone_runs_from_any_working_directory(name, tmp_path):
    out = tmp_path / "elsewhere" / f"{name}.ipynb"
    out.parent.mkdir()
    parameters = {**QUICK, "outputs_dir": str(tmp_path / "outputs")}
    papermill.execute_notebook(
        PROJECT_ROOT / "notebooks" / f"{name}.ipynb",
        out,
        parameters=parameters,
        progress_bar=False,
        cwd=tmp_path,
    )
    runs = [path.parent for path in (tmp_path / "outputs").glob("*/run.json")]
    assert len(runs) == 1
    assert (runs[0] / "requests.jsonl").read_bytes().count(b"\n") > 8
    assert "SIMULATED" in out.read_text()


def test_a_misspelt_key_stops_a_notebook_under_plain_papermill(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'concurrency'"):
        papermill.execute_notebook(
            PROJECT_ROOT / "notebooks" / "benchmark.ipynb",
            tmp_path / "out.ipynb",
            parameters={"concurency": [1]},
            progress_bar=False,
        )


def test_papermill_writes_into_a_run_folder_that_does_not_exist_yet(tmp_path):
    shutil.copy(PROJECT_ROOT / "notebooks" / "accuracy.ipynb", tmp_path)
    command = [sys.executable, "-m", "papermill", "--prepare-only", "accuracy.ipynb"]
    subprocess.run([*command, "outputs/new-run/accuracy.ipynb"], cwd=tmp_path, check=True)
    written = json.loads((tmp_path / "outputs" / "new-run" / "accuracy.ipynb").read_text())
    assert written["nbformat"] == 4

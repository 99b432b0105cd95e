import runpy

from papermill.iorw import papermill_io

import poc_lib.papermill_io
from poc_lib.papermill_io import RunFolderHandler


def test_papermill_asks_the_handler_for_paths_below_outputs():
    assert isinstance(papermill_io.get_handler("outputs/run-1/a.ipynb"), RunFolderHandler)
    assert not isinstance(papermill_io.get_handler("elsewhere/a.ipynb"), RunFolderHandler)


def test_the_missing_folder_is_made(tmp_path):
    handler = RunFolderHandler()
    handler.cwd(str(tmp_path))
    handler.write("{}", "outputs/new/run/a.ipynb")
    assert (tmp_path / "outputs/new/run/a.ipynb").read_text() == "{}"
    handler.write("[]", "outputs/new/run/a.ipynb")
    assert handler.read("outputs/new/run/a.ipynb") == "[]"


def test_relative_paths_count_from_where_papermill_was_started(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    handler = runpy.run_path(poc_lib.papermill_io.__file__)["run_folder_handler"]
    monkeypatch.chdir("/")
    handler.write("{}", "outputs/new/run/a.ipynb")
    assert (tmp_path / "outputs/new/run/a.ipynb").is_file()

import json
import platform
import subprocess
from types import SimpleNamespace

import psutil
import pytest

from poc_lib import host
from poc_lib.host import read_git_commit, read_host, read_versions


def test_the_host_is_described_and_can_be_stored():
    found = read_host()
    assert found["python"] == platform.python_version()
    assert found["memory_gb"] >= found["memory_available_gb"] > 0
    assert found["cores"] >= 1
    assert found["chip"]
    assert json.loads(json.dumps(found)) == found


def test_the_hosts_name_is_not_among_its_facts(monkeypatch):
    monkeypatch.setattr(platform, "node", lambda: "annas-macbook")
    assert "annas-macbook" not in json.dumps(read_host())


@pytest.mark.parametrize(
    ("battery", "expected"),
    [
        (None, None),
        (SimpleNamespace(power_plugged=True), False),
        (SimpleNamespace(power_plugged=False), True),
        (SimpleNamespace(power_plugged=None), None),
    ],
)
def test_the_power_source_is_known_or_not(monkeypatch, battery, expected):
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert read_host()["on_battery"] is expected


def test_versions_are_those_installed():
    versions = read_versions()
    assert set(versions) == set(host.PACKAGES)
    assert versions["httpx"][0].isdigit()


def git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_the_commit_is_marked_when_the_tree_has_changes(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a")
    commit = read_git_commit(tmp_path)
    assert len(commit) == 12
    (tmp_path / "a").write_text("b")
    assert read_git_commit(tmp_path) == f"{commit}, with uncommitted changes"


def test_outside_a_checkout_there_is_no_commit(tmp_path):
    assert read_git_commit(tmp_path) is None


def test_a_missing_program_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert read_git_commit(tmp_path) is None

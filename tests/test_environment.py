"""Conda users get the versions that are tested, and no lock file names a package host."""

import re

import pytest

from poc_lib.params import PROJECT_ROOT

LOCKS = ("requirements.lock", "requirements-engine.lock", "constraints.txt")


def pins(name: str) -> list[str]:
    lines = (PROJECT_ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line.rstrip(" \\") for line in lines if re.match(r"[A-Za-z0-9]", line)]


def test_conda_installs_the_locked_versions():
    assert pins("constraints.txt") == pins("requirements.lock")
    environment = (PROJECT_ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in environment
    assert "--editable ." in environment


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_host(name):
    assert len(pins(name)) > 50
    assert "://" not in (PROJECT_ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LOCKS[:2])
def test_every_locked_package_is_hashed(name):
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (PROJECT_ROOT / name).read_text(encoding="utf-8"))
    assert all("--hash=sha256:" in block for block in blocks if "==" in block)

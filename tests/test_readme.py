"""What the README tells people to type works as it is written."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest

from poc_lib.cli import read_arguments
from poc_lib.params import PROJECT_ROOT, Params, validate_params

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
TYPED = re.sub(r"\\\n\s*", "", README)


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python -m poc_lib ([^`|\n]+)", TYPED))))
def test_every_command_of_the_tool_is_understood(command):
    given, values, problems = read_arguments(shlex.split(command.replace(" --help", "")))
    assert problems == []
    if given.command != "matrix":
        assert isinstance(validate_params(values), Params)


def test_every_flag_that_is_named_exists():
    flags = set(re.findall(r"`--(\w+)", README)) - {"disable"}
    assert flags <= {*Params.model_fields, "quick", "help"}
    assert flags


def test_every_target_of_make_exists():
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)", README, re.MULTILINE))
    assert targets >= {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets), targets


def test_every_file_and_link_exists():
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link}
    files = links | set(re.findall(r"`((?:params|docs|notebooks)/[\w./-]+)`", README))
    assert len(files) > 10
    assert [name for name in files if not (PROJECT_ROOT / name).exists()] == []


def test_papermill_writes_the_report_that_the_next_step_opens(tmp_path):
    """The README's two papermill lines, with the demo's few frames in place of an hour of real servers."""
    lines = [line for line in TYPED.splitlines() if line.startswith("papermill ")]
    assert len(lines) == 2
    few = shlex.split("-p n_frames 8 -p max_blocks 2 -p proof_frames 2 -p block_frames 8")
    run_id = f"readme-{tmp_path.name}"
    folder = PROJECT_ROOT / "outputs" / run_id
    try:
        for line in lines:
            line = line.replace("params/escribano.yaml", "params/demo.yaml").replace("my-run", run_id)
            command = [sys.executable, "-m", *shlex.split(line), *(few if "benchmark" in line else [])]
            done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr[-2000:]
            assert "unknown parameter" not in done.stderr
        assert "<h1" in (folder / "report.html").read_text(encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)

"""A matrix of runs over three worker processes, of which one is killed in mid-run."""

import subprocess
import sys
import time

import orjson
import psutil
import yaml

from poc_lib.params import PROJECT_ROOT
from tests.lean import LEAN


def test_a_lost_worker_is_a_failed_run_that_the_same_command_finishes(tmp_path):
    axes = {"image_width": [0, 768, 512]}
    params = LEAN | {"database": "demo", "outputs_dir": str(tmp_path), "matrix": axes}
    (tmp_path / "matrix.yaml").write_text(yaml.safe_dump(params))
    command = [sys.executable, "-m", "poc_lib", "matrix", "--params", str(tmp_path / "matrix.yaml")]
    first = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True)
    victim = None
    while victim is None:
        time.sleep(0.1)
        assert first.poll() is None
        for requests in tmp_path.glob("matrix/*/requests.jsonl"):
            if requests.read_bytes().count(b'"phase":"pilot"') >= 3:
                victim = requests.parent
                for process in psutil.Process(first.pid).children(recursive=True):
                    if str(requests) in [file.path for file in process.open_files()]:
                        process.kill()
    told = first.communicate()[0]
    assert first.returncode == 1
    assert f"{victim.name}: its worker was lost" in told
    page = (tmp_path / "matrix" / "matrix.md").read_text()
    assert "its worker was lost" in page
    n_before = (victim / "requests.jsonl").read_bytes().count(b"\n")
    second = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout
    rows = (tmp_path / "matrix" / "matrix.csv").read_text().splitlines()
    assert len(rows) == 1 + 3
    replies = [orjson.loads(line) for line in (victim / "requests.jsonl").read_bytes().splitlines()]
    assert {reply["sitting"] for reply in replies[:n_before]} == {0}
    assert {reply["sitting"] for reply in replies[n_before:]} == {1}

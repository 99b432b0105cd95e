"""The command line as people use it: stopped in a terminal, mistyped, started twice, asked for help."""

import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import orjson
import pexpect
import psutil
import pytest

from poc_lib import cli
from poc_lib.params import PROJECT_ROOT
from poc_lib.runs import lock_folder, read_damage, read_events, read_run
from tests.demo_kit import demo
from tests.lean import LEAN, is_measuring, whole_lines

WAIT_S = 300


def stop_in_terminal(arguments, is_time, stop):
    """A command stopped in a terminal when it is time: its exit status, what it says, what it leaves."""
    options = {"cwd": str(PROJECT_ROOT), "encoding": "utf-8", "timeout": WAIT_S, "dimensions": (40, 400)}
    child = pexpect.spawn(sys.executable, ["-m", "poc_lib", *arguments], **options)
    while not is_time(started := psutil.Process(child.pid).children(recursive=True)):
        assert child.isalive(), child.read()
        time.sleep(0.01)
    child.sendintr() if stop == signal.SIGINT else child.kill(stop) if stop else started[0].kill()
    said = re.sub(r"\r\x1b\[K[^\r\n]*|\^C", "", child.read())
    child.close()
    _, left = psutil.wait_procs(started, timeout=30)
    for process in left:
        process.kill()
    return child.exitstatus, [line for line in said.splitlines() if line and ".ipynb" not in line], left


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for runs, its name with a space in it, and a params file of a run of seconds."""
    folder = tmp_path_factory.mktemp("my runs")
    (folder / "demo-data").symlink_to(demo().database.parent.parent)
    (folder / "lean.yaml").write_text(orjson.dumps(LEAN).decode())
    return folder


@pytest.fixture(scope="module")
def stopped(place):
    """A run that was stopped four times, each time in another way; how it went each time."""
    folder, command = place / "the run", ["run", "--params", str(place / "lean.yaml")]
    command += ["--output", str(folder), "--note", "it's mine"]
    stops = [  # when, and by which signal; None: kill -9 of the kernel
        (lambda processes: is_measuring(folder, sitting=0), signal.SIGINT),
        (lambda processes: len(processes) >= 3, None),  # a kernel and two servers
        (lambda processes: processes, signal.SIGHUP),  # a kernel that is starting
        (lambda processes: (folder / "accuracy.ipynb").exists(), signal.SIGTERM),
    ]
    ways = []
    for is_time, stop in stops:
        before = whole_lines(folder / "requests.jsonl")
        status, said, left = stop_in_terminal(command, is_time, stop)
        ways.append((status, said, left))
        assert whole_lines(folder / "requests.jsonl")[: len(before)] == before
        assert said[-1].startswith("  python -m poc_lib run " if stop else "the same command"), said
        command = shlex.split(said[-1])[3:] if stop else command
    return ways


@pytest.fixture
def folder(place, stopped):
    return place / "the run"


@pytest.mark.parametrize(
    ("way", "status", "line"),
    [
        (0, 130, "stopped by SIGINT; what was answered is on file"),
        (1, 1, "problem in setup_check: the notebook's kernel was killed"),
        (2, 129, "stopped by SIGHUP; what was answered is on file"),
        (3, 143, "stopped by SIGTERM; what was answered is on file"),
    ],
)
def test_a_stopped_command_says_so_in_a_line_and_how_to_go_on_and_leaves_nothing(stopped, way, status, line):
    found, (said, _), left = stopped[way]
    assert (found, said.startswith(line), left) == (status, True, [])


def test_the_commands_that_it_gave_brought_the_run_to_its_end(folder):
    run = read_run(folder)
    assert [event["event"] for event in read_events(run)].count("finished") == 1
    assert read_damage(run).n_doubled == 0
    assert run.params["note"] == "it's mine"


def test_report_ends_with_the_levels_the_verdict_and_the_page(folder, capfd):
    assert cli.main(["report", "--output", str(folder)]) == 0
    said = capfd.readouterr().out
    assert re.search(r"vllm-mlx +8 +confirm", said)
    assert ": vllm-mlx at 8 in flight is " in said
    assert said.splitlines()[-1] == f"report: {folder / 'report.html'}"


def test_runs_are_listed_and_pages_written_again(folder, capsys):
    assert cli.main(["runs", "--outputs_dir", str(folder.parent)]) == 0
    assert re.match(r"the run +20\d\d-", capsys.readouterr().out)
    assert cli.main(["pages", "--output", str(folder)]) == 0
    assert str(folder / "pages" / "benchmark.html") in capsys.readouterr().out


def test_check_prints_what_it_found_and_its_state(place, capsys):
    assert cli.main(["check", "--params", str(place / "lean.yaml"), "--outputs_dir", str(place)]) == 0
    *lines, state = capsys.readouterr().out.splitlines()
    assert state.startswith("READY")
    assert any(line.startswith("✓ servers: vllm-mlx: found SIMULATED") for line in lines)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_experiment_in_the_folder_is_refused_and_not_a_byte_of_it_changes(place, folder, capsys):
    before, command = contents(folder), ["run", "--params", str(place / "lean.yaml"), "--output", str(folder)]
    assert cli.main([*command, "--temperature", "0.9"]) == 2
    assert "is another experiment: temperature is 0.9, on file 0.3" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_second_command_is_refused_before_it_asks_any_server(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server, lock_folder(tmp_path / "x"):
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        assert cli.main(["run", "--output", str(tmp_path / "x"), "--candidate_url", url]) == 2
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()
    assert capsys.readouterr().err.startswith("problem: another process is measuring into ")


REFUSED = [  # arguments, and what the one line says, all of it
    (["rnu"], ["invalid choice: 'rnu' (choose from"]),
    ([], ["required: command"]),
    (["run", "--seed"], ["argument --seed: expected one argument"]),
    (["run", "--params", "no-such.yaml"], ["no params file at"]),
    (["run", "--candidate_mod", "x"], ["unknown flag '--candidate_mod': did you mean '--candidate_model'?"]),
    (["report", "--screnshots"], ["unknown flag '--screnshots': did you mean '--screenshots'?"]),
    (["run", "--seed", "9" * 30], ["'seed' is"]),
    (
        ["run", "--servers", "{", "--seed", "-1", "--candidate_mod", "x", "--output", "FILE"],
        ["'servers.0' is '{'", "'seed' is '-1'", "did you mean '--candidate_model'?", "is a file"],
    ),
    (["run", "--recording", "2026-13-45"], ["'2026-13-45' is not a day or a time window"]),
    (["run", "--n_frames", "1000000000"], ["'n_frames' is '1000000000'"]),
    (["run", "--output", "FILE/x"], ["is a file: choose a folder"]),
    (["run", "--output", "/proc/x"], ["/proc"]),
    (["run", "--servers", '{"name": "x"}'], ["'servers.0.role' is missing"]),
    (["run", "--max_blocks", "100000000"], ["this plan may send ", "start it with --yes"]),
    (["run", "--demo_faults", "swop"], ["demo_faults: 'swop' is unknown: did you mean 'swap'?"]),
    (["run", "--output", "FILE"], ["is a file: choose a folder"]),
    (["run", "--output", "/"], ["parameter 'run_id' is '/': a plain folder name"]),
    (["run", "--output", "TMP/a\nb"], ["parameter 'run_id' is 'a\\nb'"]),
    (["run", "--candidate_url", "localhost:8000"], ["localhost:8000"]),
    (["run", "--baseline_url", "http://127.0.0.1:1"], ["ollama does not answer at http://127.0.0.1:1"]),
    (["pages", "--run_id", "none", "--outputs_dir", "TMP"], ["no run in"]),
    (
        ["run", "--n_frmaes", "3", "--seed", "x", "--level", "-1", "--database", "/no.db", "--prompt", "none",
         "--labels", "no.csv", "--candidate_url", "http://127.0.0.1:1/v1", "--params", "none.yaml"],
        ["'--n_frames'?", "'seed' is 'x'", "'level' is '-1'", "/no.db does not exist", "no prompt file",
         "no labels file no.csv", "vllm-mlx does not answer at", "no params file"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "parts"), REFUSED)
def test_what_is_wrong_is_refused_in_one_line_all_at_once_before_anything_starts(
    arguments, parts, tmp_path, capsys
):
    (tmp_path / "file").write_text("mine")
    places = {"FILE": str(tmp_path / "file"), "TMP": str(tmp_path)}
    arguments = [re.sub("^(FILE|TMP)", lambda found: places[found[1]], argument) for argument in arguments]
    assert cli.main(arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n"), said.err[:9]) == ("", 1, "problem: ")
    assert [part for part in parts if part not in said.err] == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_help_is_grouped_and_loads_nothing_heavy():
    look = "import sys; sys.argv[1:] = ['run', '--help']\ntry: from poc_lib import __main__\nfinally: "
    look += "print({'pandas', 'httpx', 'papermill', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    headings = [line for line in done.stdout.splitlines() if re.fullmatch(r"[a-z]+:", line)]
    assert headings == ["options:", "server:", "frames:", "experiment:", "report:", "advanced:"]
    assert done.stdout.splitlines()[-1] == "set()"

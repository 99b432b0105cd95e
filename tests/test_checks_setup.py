"""The whole check, on the embedded demo and with everything that can be wrong."""

import json

import pytest

from poc_lib import checks
from poc_lib.checks import check_setup, checks_table, read_state
from poc_lib.checks.check import Check, ok, problem, setup_problem, warning
from poc_lib.checks.setup import SetupCheck
from poc_lib.cli import main
from poc_lib.demo import prepare_demo
from poc_lib.errors import SetupProblem
from poc_lib.simulator import simulated_server
from tests.sweeps import quick_params
from tests.test_checks_kit import assert_reads_well, one

PROBE = "vllm-mlx: answers depend on the image"
SERVER = "vllm-mlx: server and model"


NOBODY = "http://127.0.0.1:9/v1"


@pytest.fixture(scope="module")
def candidate(outputs):
    """The URL of one simulated server for all tests that need none of their own."""
    with simulated_server(
        "openai", "demo-vlm", prepare_demo(outputs / "demo-data").answers, speed=20
    ) as server:
        yield server.url


def check(outputs, **changes):
    """The checklist, and the state that is on file."""
    setup = check_setup(quick_params(outputs, "check", **({"n_frames": 2} | changes)))
    for line in setup.checks:
        assert_reads_well(line)
    on_file = json.loads((outputs / "check" / "setup_check.json").read_bytes())
    assert on_file["state"] == read_state(setup)
    assert [line["about"] for line in on_file["checks"]] == [line.about for line in setup.checks]
    return setup


def problems_of(setup):
    return [line.about for line in setup.checks if line.state == "problem"]


def test_the_room_exports_what_notebook_and_command_line_use():
    assert set(checks.__all__) == {"Check", "SetupCheck", "check_setup", "checks_table", "read_state"}


def test_a_healthy_pair_of_servers_is_ready(outputs):
    setup = check(outputs, baseline_url="demo")
    assert problems_of(setup) == []
    assert read_state(setup).startswith("READY")
    assert one(setup.checks, PROBE).state == "ok"
    assert one(setup.checks, "ollama: answers depend on the image").state == "ok"
    assert "ollama (simulated) and vllm-mlx (simulated)" in one(setup.checks, "memory").found
    assert [identity.name for identity in setup.identities] == ["ollama", "vllm-mlx"]
    assert [reply.error_class for reply in setup.replies] == [None, None]
    assert list(checks_table(setup)) == ["about", "state", "found", "to_do"]


def test_a_server_that_is_down_is_one_problem_and_exits_1(outputs, capsys):
    setup = check(outputs, candidate_url=NOBODY, candidate_model="m")
    assert problems_of(setup) == [SERVER]
    flags = ["--candidate_url", NOBODY, "--baseline_url", "", "--n_frames", "2"]
    assert main(["check", *flags, "--output", str(outputs / "check")]) == 1
    said = capsys.readouterr().out
    assert "NOT READY" in said
    assert "`vllm-mlx serve demo-vlm --mllm" in said


def test_a_server_without_batching_is_a_problem_for_several_in_flight(outputs):
    answers = prepare_demo(outputs / "demo-data").answers
    with simulated_server("openai", "demo-vlm", answers, speed=20, simple=True) as server:
        assert problems_of(check(outputs, candidate_url=server.url)) == ["vllm-mlx: continuous batching"]
        assert problems_of(check(outputs, candidate_url=server.url, concurrency=[1])) == []
        renamed = check(outputs, candidate_url=server.url, candidate_model="another", concurrency=[1])
    assert problems_of(renamed) == [SERVER]
    assert one(renamed.checks, SERVER).to_do == "set candidate_model to demo-vlm"


def test_a_cache_that_replays_the_first_image_is_called_a_replay(outputs):
    setup = check(outputs, demo_faults=["replay_first:1"], temperature=0.0)
    assert problems_of(setup) == [PROBE]
    assert "a cache replays another image" in one(setup.checks, PROBE).found


def test_a_prompt_that_is_missing_or_no_text_is_a_line_and_the_rest_is_checked(outputs, candidate, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"Schildere \xe4hnlich")
    for prompt in ("no-such-prompt", str(tmp_path / "latin.txt")):
        setup = check(outputs, candidate_url=candidate, prompt=prompt)
        assert problems_of(setup) == ["prompt and key"]
        assert one(setup.checks, SERVER).state == "ok"
        assert setup.replies == []


def test_a_key_that_cannot_be_sent_is_a_line(outputs, candidate, monkeypatch):
    monkeypatch.setenv("POC_API_KEY", "geheim–ß")
    setup = check(outputs, candidate_url=candidate)
    assert problems_of(setup) == ["prompt and key"]
    assert "geheim" not in str(setup.checks)


def test_a_database_that_is_not_there_is_a_line_and_the_servers_are_asked_with_a_drawn_picture(
    outputs, candidate
):
    setup = check(outputs, candidate_url=candidate, database="/no/such/escribano.db")
    assert problems_of(setup) == ["frames"]
    assert [reply.error_class for reply in setup.replies] == [None]
    assert one(setup.checks, PROBE).state == "ok"


def test_simulated_servers_that_do_not_start_are_a_line(outputs):
    setup = check(outputs, demo_faults=["no_such_fault:1"])
    assert problems_of(setup) == ["simulated servers"]


def test_images_that_could_be_recovered_are_looked_for_when_recovery_is_off(outputs):
    line = one(check(outputs, candidate_url=NOBODY, recover_missing=False).checks, "images")
    assert (line.state, "3 of 67 are missing or broken" in line.found) == ("warning", True)


def test_a_folder_that_cannot_be_written_is_a_line(outputs, monkeypatch):
    def refuse(path, value):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("poc_lib.checks.setup.write_json", refuse)
    setup = check_setup(quick_params(outputs, "check", n_frames=2, candidate_url=NOBODY))
    assert "outputs" in problems_of(setup)


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], "READY"),
        ([ok("a", "b")], "READY"),
        ([ok("a", "b"), warning("a", "b", "c")], "READY WITH WARNINGS"),
        ([problem("a", "b", "c"), warning("a", "b", "c")], "NOT READY"),
    ],
)
def test_the_worst_line_is_the_state(lines, state):
    assert read_state(SetupCheck(host={}, versions={}, checks=lines)) == state


@pytest.mark.parametrize(
    ("message", "found", "to_do"),
    [
        ("no file at C: give a path", "no file at C", "give a path"),
        ("a: b: do this", "a: b", "do this"),
        ("all is lost", "all is lost", "mend this and check again"),
        ("", "SetupProblem", "mend this and check again"),
    ],
)
def test_a_problem_is_split_at_its_last_colon(message, found, to_do):
    assert setup_problem("x", SetupProblem(message)) == Check("x", "problem", found, to_do)


def test_memory_is_asked_for_when_every_server_has_loaded_its_model(outputs, candidate, monkeypatch):
    answered = []

    async def note(facts, api_key):
        answered.extend(server.reply is not None for server in facts)

    monkeypatch.setattr("poc_lib.checks.setup.ask_memory", note)
    baseline = {"baseline_url": candidate, "baseline_api": "openai"}
    check(outputs, candidate_url=candidate, **baseline)
    assert answered == [True, True]

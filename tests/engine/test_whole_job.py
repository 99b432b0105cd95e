"""The tool on real servers with a model that reads: what its check, its proof and its verdict say of them."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from subprocess import Popen
from types import SimpleNamespace

import pytest

from poc_lib.analysis import Analysis, analyse
from poc_lib.checks import check_setup, read_state
from poc_lib.cli import main
from poc_lib.client.stamp import judge_code
from poc_lib.measure.experiment import run_all
from poc_lib.metrics import READS_ENOUGH, STEPS
from poc_lib.params import STOP_AFTER_FAILURES, Params
from tests.engine.servers import HOST, READER, SERVED_NAME, free_port, mlx_vlm, random_model, vllm_mlx

pytestmark = pytest.mark.engine
LEVELS = [1, 2, 4, 8]
ASKED = {"max_tokens": 48, "temperature": 0.0}  # the reader's answers have up to 43
NO_BATCHING = "found continuous batching off, expected it on"
CASES = {  # the server's options (None: it is down), the model asked for, problems that must be named
    "in order": ({}, SERVED_NAME, []),
    "down": (None, SERVED_NAME, ["does not answer at"]),
    "another name": ({}, "qwen3-vl-4b", ["serves no model 'qwen3-vl-4b', but tiny"]),
    "without batching": ({"batching": False}, SERVED_NAME, [NO_BATCHING]),
    "text only": ({"images": False}, SERVED_NAME, ["without vision", "one answer to two images"]),
    "text only, said to see": ({"images": True}, SERVED_NAME, ["one answer to two images"]),
    "replaying": ({"version": "0.5.0"}, SERVED_NAME, ["its prefix cache on", "the other image's code"]),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_check_names_what_is_wrong_with_a_server_and_nothing_else(case, tmp_path_factory):
    options, name, problems = CASES[case]
    text_only = tmp_path_factory.getbasetemp() / "text"
    model = random_model(text_only, "tiny-text") if case.startswith("text only") else READER
    down = SimpleNamespace(url=f"http://{HOST}:{free_port()}/v1")
    with nullcontext(down) if options is None else vllm_mlx(model, **options) as server:
        params = Params(
            candidate_url=server.url, candidate_model=name, concurrency=[1, 4], n_frames=24, **ASKED
        )
        setup = await check_setup(params.model_copy(update={"baseline_url": ""}))
    found = [finding for finding in setup.findings if finding.state == "problem"]
    assert len(found) == len(problems), found
    assert all(any(words in finding.text for finding in found) for words in problems), found
    assert all(finding.to_do for finding in found)
    assert read_state(setup) == ("NOT READY" if problems else "READY, with warnings")  # there is no baseline
    if case == "in order":
        [codes] = [finding for finding in setup.findings if finding.about == "proof"]
        assert "found both codes read" in codes.text
        assert any("vllm-mlx 0.6.0" in finding.text for finding in setup.findings)


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Analysis]:
    """A function that runs the tool on servers, as its command line does, on frames 1,024 px wide."""
    outputs = tmp_path_factory.mktemp("outputs")

    def run(run_id: str, *servers: tuple, **values: object) -> Analysis:
        values["servers"] = [
            {"name": name, "role": role, "url": server.url, "model": server.model, "concurrency": levels}
            for name, role, server, levels in servers
        ]
        file = outputs / f"{run_id}.yaml"
        file.write_text(json.dumps({"n_frames": 48, "block_frames": 8, **ASKED, **values}))
        assert main(["run", "--params", str(file), "--output", str(outputs / run_id)]) == 0
        return analyse(outputs / run_id)

    return run


@pytest.fixture(scope="module")
def sound(measure: Callable[..., Analysis]) -> Analysis:
    """0.6.0 with continuous batching against itself without."""
    with vllm_mlx(READER) as batching, vllm_mlx(READER, batching=False) as simple:
        servers = ("vllm-mlx", "candidate", batching, LEVELS), ("simple", "baseline", simple, [1])
        return measure("sound", *servers, max_blocks=6)


@pytest.fixture(scope="module")
def replayed(measure: Callable[..., Analysis]) -> Analysis:
    """0.5.0 with its prefix cache, as it starts by default."""
    with vllm_mlx(READER, version="0.5.0") as server:
        return measure("replayed", ("vllm-mlx", "candidate", server, [1, 4]), max_blocks=4)


def test_the_sound_server_answers_every_frame_with_its_own_code_at_every_level(sound):
    answers, levels = sound.answers, sound.levels
    assert answers["error_class"].isna().all()
    assert (answers["finish_reason"] == "stop").all()
    assert set(levels.loc[levels["role"] == "candidate", "concurrency"]) == set(LEVELS)
    assert (levels["n_proof"] >= 24).all()
    assert (levels["n_code_own"] >= READS_ENOUGH * levels["n_proof"]).all()
    assert levels["n_code_own"].sum() >= 0.95 * levels["n_proof"].sum()
    assert levels["n_code_other"].sum() == 0
    assert (answers["sign"] != "").sum() <= 0.05 * len(answers)


def test_its_proof_is_met_and_its_verdict_is_the_highest_step_that_the_interval_reaches(sound):
    [verdict], levels = sound.verdicts, sound.levels
    chosen = levels[(levels["role"] == "candidate") & (levels["concurrency"] == verdict.level)].iloc[0]
    assert verdict.proof == "met"
    assert chosen["mixup_upper"] <= 0.02
    said = f"none of {chosen['n_code_own']} at {verdict.level} in flight, which leaves up to"
    assert any(said in reason for reason in verdict.reasons)
    assert not verdict.simulated
    assert verdict.n_blocks in (4, 6)
    assert verdict.low < verdict.speedup < verdict.high
    reached = ["not recommended" if verdict.high < STEPS[0][0] else "inconclusive"]
    reached += [label for step, label in STEPS if verdict.low >= step]
    assert verdict.label == reached[-1]
    assert verdict.decided or verdict.more_blocks > 0  # a busy machine is noisy; two cores gain little
    assert f"{verdict.low:.2f} to {verdict.high:.2f}" in verdict.headline


def test_every_cells_output_tokens_are_those_that_the_server_counted(sound):
    started, ended = (
        [event for event in sound.events if event["event"] == f"cell_{what}"] for what in ("started", "ended")
    )
    assert len(ended) > 2 * len(LEVELS)
    cells = sound.answers.groupby(["server", "phase", "concurrency", "block"])
    for start, end in zip(started, ended, strict=True):
        rows = cells.get_group((end["server"], end["phase"], end["concurrency"], end["block"]))
        rise = {name: value - start["counters"][name] for name, value in end["counters"].items()}
        assert rise["requests_total"] == len(rows)
        assert rise["output_tokens_total"] == rows["output_tokens"].sum()


def test_the_replaying_server_is_proven_and_every_donor_is_named(replayed):
    mixed = replayed.answers[replayed.answers["proof"] == "other"]
    assert len(mixed) >= 0.5 * (replayed.answers["proof"] != "").sum()
    sent = replayed.answers.set_index("request_id")
    for row in mixed.itertuples():
        donor = sent.loc[row.donor_request]
        assert (donor["code"], donor["frame_id"]) == (row.code_read, row.donor_frame)
        assert donor["start_s"] < row.start_s
        assert judge_code(row.text, row.code, [donor["code"]]).whose == "other"


def test_its_verdict_says_how_many_and_what_to_do_whatever_the_speed(replayed):
    [verdict], levels, folder = replayed.verdicts, replayed.levels, replayed.run.folder
    said = f"{levels['n_code_other'].sum()} of {levels['n_proof'].sum()} answers were about another image"
    assert (verdict.label, verdict.proof, verdict.decided) == ("not recommended", "mixed up", True)
    assert all(words in verdict.headline for words in (said, "`--disable-prefix-cache`", "0.6.0"))
    assert "vllm-mlx 0.5.0" in " ".join(verdict.reasons)
    assert json.loads((folder / "run.json").read_text())["servers"][0]["version"] == "0.5.0"
    problems = [finding for finding in replayed.findings if finding.state == "problem"]
    assert {"servers", "proof"} <= {finding.about for finding in problems}
    for name in ("report.html", "report.md"):
        page = (folder / name).read_text(encoding="utf-8")
        assert said in page
        assert "--disable-prefix-cache" in page
        assert "SIMULATED" not in page


def test_without_its_prefix_cache_it_is_clean_and_so_is_another_server(measure):
    with vllm_mlx(READER, "--disable-prefix-cache", version="0.5.0") as careful, mlx_vlm(READER) as other:
        servers = ("0.5.0", "candidate", careful, [1, 4]), ("mlx-vlm", "candidate", other, [1, 4])
        seen = measure("clean", *servers, max_blocks=0, proof_frames=12)
    levels = seen.levels
    assert len(levels) == 4
    assert levels["n_code_other"].sum() == 0
    assert (levels["n_code_own"] >= READS_ENOUGH * levels["n_proof"]).all()
    assert {verdict.label for verdict in seen.verdicts} == {"pilot only: no verdict"}
    problems = {finding.about for finding in seen.findings if finding.state == "problem"}
    assert not problems & {"servers", "proof"}


def kill_in_mid_cell(process: Popen, requests: Path) -> None:
    """Kill the server when a few of its pilot's answers are on file."""
    while not requests.exists() or requests.read_text().count('"request_id":"vllm-mlx/pilot/') < 3:
        time.sleep(0.05)
    process.kill()


async def test_a_server_killed_in_mid_cell_ends_as_rows_and_the_run_continues(tmp_path):
    n_frames = 24
    with vllm_mlx(READER) as server:
        params = Params(
            candidate_url=server.url, candidate_model=SERVED_NAME, concurrency=[1, 2], proof_frames=0,
            n_frames=n_frames, block_frames=n_frames, max_blocks=4, image_width=320, max_tokens=16,
            outputs_dir=str(tmp_path), run_id="killed",
        )  # fmt: skip
        requests = tmp_path / "killed" / "requests.jsonl"
        killing = asyncio.to_thread(kill_in_mid_cell, server.process, requests)
        run, _ = await asyncio.gather(run_all(params), killing)
    seen = analyse(run)
    pilot = seen.answers[seen.answers["phase"] == "pilot"]
    lost, baseline = (pilot[pilot["role"] == role] for role in ("candidate", "baseline"))
    assert len(baseline) == n_frames
    assert baseline["error_class"].isna().all()
    assert lost["error_class"].isna().sum() >= 3
    assert set(lost["error_class"].dropna()) <= {"connect", "truncated"}
    assert set(lost["concurrency"]) == {1, 2}
    ended = [
        event for event in seen.events if event["event"] == "cell_ended" and event["role"] == "candidate"
    ]
    assert all(f"{STOP_AFTER_FAILURES} failures in a row" in event["stopped_because"] for event in ended)
    assert lost["error_class"].notna().sum() == sum(event["failed"] for event in ended)
    assert seen.verdicts[0].label == "not recommended"
    assert "lost answers at every level" in seen.verdicts[0].headline

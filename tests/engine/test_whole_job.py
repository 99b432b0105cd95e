"""The whole job on real engines with a model that reads: mix-ups are proven, sound servers are cleared."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from poc_lib.analysis import Analysis, analyse
from poc_lib.cli import main
from poc_lib.client.stamp import judge_code
from poc_lib.metrics import READS_ENOUGH, STEPS
from poc_lib.runs import read_events
from tests.engine.servers import mlx_vlm, vllm_mlx

pytestmark = pytest.mark.engine
LEVELS = [1, 2, 4, 8]
N_FRAMES = 48
MAX_TOKENS = 48  # the reader's answers have up to 43


@pytest.fixture(scope="module")
def measure(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Analysis]:
    """A function that runs the tool on servers, as its command line does, on frames 1,024 px wide."""
    outputs = tmp_path_factory.mktemp("outputs")

    def run(run_id: str, servers: Sequence[tuple], **values: object) -> Analysis:
        values["servers"] = [
            {"name": name, "role": role, "url": server.url, "model": server.model, "concurrency": levels}
            for name, role, server, levels in servers
        ]
        values |= {"n_frames": N_FRAMES, "block_frames": 8, "max_tokens": MAX_TOKENS, "temperature": 0.0}
        (outputs / f"{run_id}.yaml").write_text(json.dumps(values))
        flags = ["--params", str(outputs / f"{run_id}.yaml"), "--output", str(outputs / run_id)]
        assert main(["run", *flags]) == 0
        return analyse(outputs / run_id)

    return run


@pytest.fixture(scope="module")
def sound(reader_dir: Path, measure: Callable[..., Analysis]) -> Analysis:
    """0.6.0 with continuous batching against itself without."""
    with vllm_mlx(reader_dir) as batching, vllm_mlx(reader_dir, batching=False) as simple:
        servers = [("vllm-mlx", "candidate", batching, LEVELS), ("simple", "baseline", simple, [1])]
        return measure("sound", servers, max_blocks=6)


@pytest.fixture(scope="module")
def replayed(reader_dir: Path, measure: Callable[..., Analysis]) -> Analysis:
    """0.5.0 with its prefix cache, as it starts by default."""
    with vllm_mlx(reader_dir, version="0.5.0") as server:
        return measure("replayed", [("vllm-mlx", "candidate", server, [1, 4])], max_blocks=4)


def test_the_sound_server_answers_every_frame_with_its_own_code_at_every_level(sound):
    answers, levels = sound.answers, sound.levels
    assert answers["error_class"].isna().all()
    assert (answers["finish_reason"] == "stop").all()
    assert answers["output_tokens"].between(20, MAX_TOKENS).all()
    assert set(levels.loc[levels["role"] == "candidate", "concurrency"]) == set(LEVELS)
    assert (levels["n_proof"] >= 24).all()
    assert (levels["n_code_own"] >= READS_ENOUGH * levels["n_proof"]).all()
    assert levels["n_code_own"].sum() >= 0.95 * levels["n_proof"].sum()
    assert levels["n_code_other"].sum() == 0
    assert (answers["sign"] != "").sum() <= 0.05 * len(answers)


def test_its_proof_is_met_and_the_bound_is_said(sound):
    [verdict], levels = sound.verdicts, sound.levels
    chosen = levels[(levels["role"] == "candidate") & (levels["concurrency"] == verdict.level)].iloc[0]
    assert verdict.proof == "met"
    assert chosen["mixup_upper"] <= 0.02
    said = f"none of {chosen['n_code_own']} at {verdict.level} in flight, which leaves up to"
    assert any(said in reason for reason in verdict.reasons)
    assert not verdict.simulated


def test_its_verdict_is_the_highest_step_that_the_interval_reaches(sound):
    [verdict] = sound.verdicts
    assert verdict.n_blocks in (4, 6)
    assert verdict.low < verdict.speedup < verdict.high
    reached = ["not recommended" if verdict.high < STEPS[0][0] else "inconclusive"]
    reached += [label for step, label in STEPS if verdict.low >= step]
    assert verdict.label == reached[-1]
    assert verdict.decided or verdict.more_blocks > 0  # a busy machine is noisy; two cores gain little
    assert f"{verdict.low:.2f} to {verdict.high:.2f}" in verdict.headline


def test_every_cells_output_tokens_are_those_that_the_server_counted(sound):
    events = read_events(sound.run)
    cells = [
        {**event, "before": start["counters"]}
        for start, event in zip(
            [event for event in events if event["event"] == "cell_started"],
            [event for event in events if event["event"] == "cell_ended"],
            strict=True,
        )
    ]
    assert len(cells) > 2 * len(LEVELS)
    for cell in cells:
        keys = ["server", "phase", "concurrency", "block"]
        rows = sound.answers[(sound.answers[keys] == [cell[key] for key in keys]).all(axis=1)]
        rise = {name: value - cell["before"][name] for name, value in cell["counters"].items()}
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
    [verdict], levels = replayed.verdicts, replayed.levels
    n_mixed, n_shown = levels["n_code_other"].sum(), levels["n_proof"].sum()
    assert (verdict.label, verdict.proof, verdict.decided) == ("not recommended", "mixed up", True)
    assert f"{n_mixed} of {n_shown} answers were about another image" in verdict.headline
    assert "`--disable-prefix-cache`" in verdict.headline
    assert "0.6.0" in verdict.headline
    assert "vllm-mlx 0.5.0" in " ".join(verdict.reasons)
    assert json.loads((replayed.run.folder / "run.json").read_text())["servers"][0]["version"] == "0.5.0"
    problems = [finding for finding in replayed.findings if finding.state == "problem"]
    assert {"servers", "proof"} <= {finding.about for finding in problems}
    for name in ("report.html", "report.md"):
        page = (replayed.run.folder / name).read_text(encoding="utf-8")
        assert f"{n_mixed} of {n_shown} answers were about another image" in page
        assert "--disable-prefix-cache" in page
        assert "SIMULATED" not in page


def test_without_its_prefix_cache_it_is_clean_and_so_is_another_server(reader_dir, measure):
    with (
        vllm_mlx(reader_dir, "--disable-prefix-cache", version="0.5.0") as careful,
        mlx_vlm(reader_dir) as other,
    ):
        servers = [("0.5.0", "candidate", careful, [1, 4]), ("mlx-vlm", "candidate", other, [1, 4])]
        seen = measure("clean", servers, max_blocks=0, proof_frames=12)
    levels = seen.levels
    assert len(levels) == 4
    assert levels["n_code_other"].sum() == 0
    assert (levels["n_code_own"] >= READS_ENOUGH * levels["n_proof"]).all()
    assert {verdict.label for verdict in seen.verdicts} == {"pilot only: no verdict"}
    assert not [
        finding for finding in seen.findings if (finding.about, finding.state) == ("proof", "problem")
    ]

"""The whole job through the command line against the real vllm-mlx: nothing in it is simulated."""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from poc_lib.cli import main
from poc_lib.demo import prepare_demo
from poc_lib.records import Reply
from poc_lib.runs import read_events, read_replies, read_run
from tests.engine.asking import Target
from tests.engine.counters import Counters, read_metrics, read_status
from tests.engine.known import VLLM_MLX
from tests.engine.servers import vllm_mlx_server

pytestmark = pytest.mark.engine

N_FRAMES = 6
LEVELS = (1, 4)
MAX_TOKENS = 24
PAGES = {"setup_check.html", "benchmark.html", "accuracy.html", "report.html", "report.md"}


@dataclass(frozen=True)
class Job:
    """A finished run and what the server counted meanwhile."""

    exit_status: int
    folder: Path
    by_status: Counters
    by_metrics: Counters
    replies: list[Reply]

    @property
    def measured(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.phase == "measure"]


@pytest.fixture(scope="module")
def job(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """One run on the demo's screenshots, sent to a server of its own, whose counters nobody else moves."""
    outputs = tmp_path_factory.mktemp("outputs")
    folder = outputs / "real"
    with vllm_mlx_server(model_dir) as server:
        target = Target(VLLM_MLX, server.url, server.model)
        exit_status = main(["run", *flags_of(target, prepare_demo(outputs / "demo-data").database, folder)])
        by_status, by_metrics = (asyncio.run(read(target)) for read in (read_status, read_metrics))
    return Job(exit_status, folder, by_status, by_metrics, read_replies(read_run(folder)))


def flags_of(target: Target, database: Path, folder: Path) -> list[str]:
    """The command line of the run."""
    flags = {
        "--database": database,
        "--candidate_url": target.url,
        "--candidate_model": target.model,
        "--baseline_url": "",
        "--n_frames": N_FRAMES,
        "--max_tokens": MAX_TOKENS,
        "--image_width": 320,
        "--output": folder,
    }
    return [str(word) for pair in flags.items() for word in pair] + ["--concurrent", *map(str, LEVELS)]


def test_the_job_ends_well_with_every_frame_answered_at_every_level(job):
    assert job.exit_status == 0
    assert [reply for reply in job.replies if reply.error_class] == []
    assert len(job.measured) == N_FRAMES * len(LEVELS)
    assert all(reply.text.strip() and reply.output_tokens == MAX_TOKENS for reply in job.measured)


def test_nothing_of_the_run_claims_to_be_simulated(job):
    servers = json.loads((job.folder / "run.json").read_text())["servers"]
    assert [(server["software"], server["simulated"]) for server in servers] == [("vllm-mlx", False)]
    assert not any(reply.simulated for reply in job.replies)
    pages = [page for page in job.folder.rglob("*") if page.name in PAGES]
    assert {page.name for page in pages} == PAGES
    assert [page.name for page in pages if "SIMULATED" in page.read_text(encoding="utf-8")] == []


def test_different_images_got_different_answers(job):
    texts = defaultdict(set)
    for reply in job.measured:
        texts[reply.frame_id].add(reply.text.strip())
    assert len(texts) == N_FRAMES
    frames = list(texts)
    shared = [(a, b) for n, a in enumerate(frames) for b in frames[:n] if texts[a] & texts[b]]
    assert shared == []


def test_each_cells_rows_add_up_to_the_servers_own_counters(job):
    counted = {name: dict(read_counters_of(job.folder, name)) for name in ("cell_started", "cell_ended")}
    assert set(counted["cell_ended"]) == set(LEVELS)
    for level, after in counted["cell_ended"].items():
        rows = [reply for reply in job.measured if reply.concurrency == level]
        rise = {name: value - counted["cell_started"][level][name] for name, value in after.items()}
        assert rise["requests_total"] == len(rows)
        output_tokens = sum(reply.output_tokens for reply in rows)
        assert rise["completion_tokens_total"] == rise["answered_completion_tokens_total"] == output_tokens
        prompt_tokens = sum(reply.prompt_tokens for reply in rows)
        assert rise["prompt_tokens_total"] == rise["answered_prompt_tokens_total"] == prompt_tokens


def read_counters_of(folder: Path, event_name: str) -> list[tuple[int, dict]]:
    """The totals that the run asked the server for at each cell's start or end, by the cell's level."""
    return [
        (event["concurrency"], {name: n for name, n in event["counters"].items() if name.endswith("_total")})
        for event in read_events(read_run(folder))
        if event["event"] == event_name
    ]


def test_over_the_whole_run_the_server_answered_the_rows_and_what_the_setup_check_asked(job):
    sums = [sum(getattr(reply, name) for reply in job.replies) for name in ("prompt_tokens", "output_tokens")]
    checked = job.by_status - Counters(len(job.replies), *sums)
    assert job.by_status == job.by_metrics
    assert 0 < checked.output_tokens <= checked.requests * MAX_TOKENS

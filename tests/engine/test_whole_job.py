"""The whole job through the command line against real vllm-mlx servers: nothing in it is simulated."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from poc_lib.cli import main
from poc_lib.demo import prepare_demo
from poc_lib.records import Reply
from poc_lib.runs import read_events, read_replies, read_run
from tests.engine.asking import Heard, Target, ask, stream_body
from tests.engine.counters import Counters, read_metrics, read_status, wait_until_settled
from tests.engine.known import VLLM_MLX
from tests.engine.servers import vllm_mlx_server

pytestmark = pytest.mark.engine

N_FRAMES = 4
N_CANARIES = 2
LEVELS = (1, 3)
BLOCKS = 2
RATE_PER_S = 1.5
MAX_TOKENS = 16
PROMPT = "What is on the screen?"
PAGES = {"setup_check.html", "benchmark.html", "accuracy.html", "report.html", "report.md"}


@dataclass(frozen=True)
class Job:
    """A finished run, and what the candidate counted meanwhile and answered right after."""

    exit_status: int
    folder: Path
    by_status: Counters
    by_metrics: Counters
    asked_after: Heard
    replies: list[Reply]

    def of(self, *phases: str) -> list[Reply]:
        """The candidate's replies in these phases, all by default."""
        candidates = [reply for reply in self.replies if reply.role == "candidate"]
        return [reply for reply in candidates if not phases or reply.phase in phases]

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / "tables" / f"{name}.csv")


@pytest.fixture(scope="module")
def job(
    model_dir: Path, start_server: Callable[[str], Target], tmp_path_factory: pytest.TempPathFactory
) -> Job:
    """One run on the demo's screenshots; the candidate is a server whose counters nobody else moves."""
    outputs = tmp_path_factory.mktemp("outputs")
    folder = outputs / "real"
    with vllm_mlx_server(model_dir) as server:
        target = Target(VLLM_MLX, server.url, server.model)
        database = prepare_demo(outputs / "demo-data").database
        prompt = outputs / "prompt.txt"
        prompt.write_text(PROMPT, encoding="utf-8")  # a short one: its prefill is most of the time
        flags = flags_of(target, start_server("vllm-mlx-simple"), database, folder)
        exit_status = main(["run", *flags, "--prompt", str(prompt)])
        asyncio.run(wait_until_settled(target))
        by_status, by_metrics = (asyncio.run(read(target)) for read in (read_status, read_metrics))
        asked_after = asyncio.run(ask(target, stream_body(target)))
    return Job(exit_status, folder, by_status, by_metrics, asked_after, read_replies(read_run(folder)))


def flags_of(candidate: Target, baseline: Target, database: Path, folder: Path) -> list[str]:
    """The command line of the run."""
    flags = {
        "--database": database,
        "--candidate_url": candidate.url,
        "--candidate_model": candidate.model,
        "--baseline_name": "vllm-mlx-simple",
        "--baseline_api": "openai",
        "--baseline_url": baseline.url,
        "--baseline_model": baseline.model,
        "--n_frames": N_FRAMES,
        "--max_tokens": MAX_TOKENS,
        "--image_width": 320,
        "--temperature": 0,
        "--blocks": BLOCKS,
        "--canaries": N_CANARIES,
        "--repeat_image_frames": 2,
        "--open_loop_rates": RATE_PER_S,
        "--output": folder,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    return [*words, "--canary_aborts", "--concurrent", *map(str, LEVELS)]


def test_the_job_ends_well_with_every_frame_answered_in_every_cell(job):
    assert job.exit_status == 0
    assert [reply for reply in job.of() if reply.error_class not in (None, "aborted")] == []
    cells = Counter((reply.concurrency, reply.block) for reply in job.of("measure"))
    assert cells == {(level, block): N_FRAMES for level in LEVELS for block in range(BLOCKS)}
    assert all(reply.text.strip() and reply.output_tokens == MAX_TOKENS for reply in job.of("measure"))
    phases = {reply.phase for reply in job.of()}
    assert phases == {"warmup", "measure", "repeat_image", "canary", "canary_abort", "open_loop"}


def test_nothing_of_the_run_claims_to_be_simulated(job):
    servers = json.loads((job.folder / "run.json").read_text())["servers"]
    assert [(server["software"], server["simulated"]) for server in servers] == [("vllm-mlx", False)] * 2
    assert not any(reply.simulated for reply in job.replies)
    pages = [page for page in job.folder.rglob("*") if page.name in PAGES]
    assert {page.name for page in pages} == PAGES
    assert [page.name for page in pages if "SIMULATED" in page.read_text(encoding="utf-8")] == []


def test_different_images_got_different_answers(job):
    texts = defaultdict(set)
    for reply in job.of("measure"):
        texts[reply.frame_id].add(reply.text.strip())
    assert len(texts) == N_FRAMES
    frames = list(texts)
    shared = [(a, b) for n, a in enumerate(frames) for b in frames[:n] if texts[a] & texts[b]]
    assert shared == []


def test_every_speed_and_every_speedup_has_an_interval(job):
    speed = job.table("speed")
    assert list(speed["blocks"]) == [BLOCKS] * 3
    for name in ("frames_per_s", "output_tok_per_s"):
        assert (speed[f"{name}_low"] < speed[name]).all()
        assert (speed[name] < speed[f"{name}_high"]).all()
    of_candidate = speed[speed["role"] == "candidate"]
    assert len(of_candidate) == len(LEVELS)
    assert (of_candidate["speedup_frames_low"] < of_candidate["speedup_frames"]).all()
    assert (of_candidate["speedup_frames"] < of_candidate["speedup_frames_high"]).all()


def test_a_model_that_reads_no_code_makes_the_canaries_not_usable_and_proves_nothing(job):
    canaries = job.table("canaries")
    assert set(canaries["phase"]) == {"canary", "canary_abort"}
    assert set(canaries["outcome"]) == {"not usable"}
    assert canaries["why_not_usable"].str.startswith("canaries not usable with this model").all()
    assert canaries["leak_rate"].isna().all()
    assert job.table("leaks").empty
    assert "canaries not usable with this model" in (job.folder / "report.md").read_text(encoding="utf-8")


def test_what_was_given_up_is_a_row_of_its_own_class_and_the_others_were_answered(job):
    given_up = [reply for reply in job.of() if reply.error_class == "aborted"]
    assert {reply.phase for reply in given_up} == {"canary_abort"}
    assert {reply.concurrency for reply in given_up} == set(LEVELS)
    assert all(reply.error_message.startswith("given up ") for reply in given_up)
    assert len(given_up) < len(job.of("canary_abort"))
    assert job.table("canaries")["n_failed"].sum() == 0


def test_after_requests_were_given_up_the_server_answers_as_before(job):
    assert (job.asked_after.status, job.asked_after.error) == (200, None)
    assert job.asked_after.text.strip()
    assert job.asked_after.done
    ids = [reply.frame_id for reply in job.of("open_loop")]  # the open loop comes after the aborts
    assert len(ids) == len(set(ids)) == N_FRAMES


def test_an_open_loop_keeps_when_each_request_was_due(job):
    rows = job.of("open_loop")
    assert {(reply.rate_per_s, reply.arrivals) for reply in rows} == {(RATE_PER_S, "poisson")}
    assert all(reply.due_s <= reply.start_s for reply in rows)
    loops = job.table("open_loop").set_index("server")
    assert loops.loc["vllm-mlx", ["n_due", "n_sent", "n_ok"]].tolist() == [N_FRAMES] * 3


def test_each_cells_rows_add_up_to_the_servers_own_counters(job):
    counted = {name: read_counters_of(job.folder, name) for name in ("cell_started", "cell_ended")}
    # What was given up is counted late, so not in its own cell, and may be in the next, the open loop.
    cells = [cell for cell in counted["cell_ended"] if cell[0] not in ("canary_abort", "open_loop")]
    assert len(cells) == len(LEVELS) * BLOCKS + 2 + len(LEVELS)
    for cell in cells:
        rows = [reply for reply in job.of(cell[0]) if (reply.concurrency, reply.block) == cell[1:]]
        before, after = counted["cell_started"][cell], counted["cell_ended"][cell]
        rise = {name: value - before[name] for name, value in after.items()}
        assert rise["requests_total"] == len(rows)
        output_tokens = sum(reply.output_tokens for reply in rows)
        assert rise["completion_tokens_total"] == rise["answered_completion_tokens_total"] == output_tokens
        prompt_tokens = sum(reply.prompt_tokens for reply in rows)
        assert rise["prompt_tokens_total"] == rise["answered_prompt_tokens_total"] == prompt_tokens


def read_counters_of(folder: Path, event_name: str) -> dict[tuple[str, int, int], dict]:
    """The totals that the run asked the candidate for at each cell's start or end, by the cell."""
    return {
        (event["phase"], event["concurrency"], event["block"]): {
            name: n for name, n in event["counters"].items() if name.endswith("_total")
        }
        for event in read_events(read_run(folder))
        if event["event"] == event_name and event["role"] == "candidate"
    }


def test_over_the_whole_run_the_server_answered_the_rows_and_the_untimed_requests(job):
    answered = [reply for reply in job.of() if reply.error_class is None]
    sums = [sum(getattr(reply, name) for reply in answered) for name in ("prompt_tokens", "output_tokens")]
    beside = job.by_status - Counters(len(answered), *sums)
    n_cells = len(LEVELS) * BLOCKS + 2 * len(LEVELS) + 2  # each warmed by one request, the repetition is not
    assert n_cells <= beside.requests
    assert 0 < beside.output_tokens <= beside.requests * MAX_TOKENS

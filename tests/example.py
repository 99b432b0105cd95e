"""A plausible run in memory, from its requests on: no server, no clock, and no file but pictures if asked."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from PIL import Image

from poc_lib import metrics
from poc_lib.params import Params
from poc_lib.records import Finding, Frame, Reference, Reply
from poc_lib.runs import Run

SHOWN = {  # what the app stored about a frame -> what the servers say of it
    "Editing parser.py in VS Code while a test fails": "Editing parser.py in VS Code, one test fails",
    "Reading the pandas changelog in Chrome": "Reading release notes of pandas in Chrome",
    "Running pytest in a terminal": "Running pytest in iTerm, two failures",
    "Writing to Ada in Mail about the release": "Writing a mail to Ada on the release",
}
SEEN, SAID = list(SHOWN), list(SHOWN.values())
ALONE_S, PREFILL_S = 0.40, 0.12
GAIN = {1: 1.2, 2: 1.8, 4: 2.4, 8: 3.2, 16: 3.3}  # the candidate's frames/s; those of the baseline: 1
CODES = "ACEFHJKLMNPRTUVWXY34679"


def example_frames(n: int = 24, folder: Path | None = None) -> list[Frame]:
    """n frames that look different; with a folder, each has a picture there."""
    draw, frames = np.random.default_rng(7), []
    for i in range(n):
        path = (folder or Path("no-such-folder")) / f"{i}.jpg"
        if folder:
            Image.effect_noise((640, 360), 60).convert("RGB").save(path)
        seen = Reference(f"{SEEN[i % 4]}, page {i}", "coding", ("VS Code",), ("tests",), "qwen3-vl:4b")
        look = f"{int(draw.integers(2**63)):016x}"
        label = f"frame {i + 1} · 09:{i % 60:02}"
        frames.append(Frame(f"f{i}", 60.0 * i, path, reference=seen, look=look, label=label))
    return frames


def example_cell(
    server: str, role: str, phase: str, level: int, block: int, frames: list[Frame]
) -> list[dict]:
    """The requests of one cell in closed loop, in an order drawn for it."""
    draw = np.random.default_rng([level, block, len(phase), len(server)])
    pace_s = ALONE_S / (GAIN[level] if role == "candidate" else 1.0) * draw.normal(1, 0.03)
    rows = []
    for i, frame in enumerate(draw.permutation(np.array(frames, dtype=object))):
        number, total_s = int(frame.frame_id[1:]), pace_s * level * draw.lognormal(0, 0.05)
        code = "".join(draw.choice(list(CODES), 6)) if phase == "proof" else None
        text = f"description: {SAID[number % 4]}, page {number} | activity: coding | apps: [VS Code] | "
        text += f"topics: [tests]{' | code: ' * bool(code)}{code or ''}"
        request_id = f"{server}/{phase}/c{level}/b{block}/s0/{i:03}"
        reply = Reply(
            request_id, server, role, level, block, phase, frame.frame_id, 0, i % level, True,
            "2026-11-27T09:00:00+00:00", 100.0 * block + i * pace_s, min(level, i + 1), total_s, position=i,
            code=code, ttft_s=PREFILL_S + 0.25 * total_s, prompt_tokens=900, output_tokens=30,
            finish_reason="stop", text=text, lag_s=0.001,
        )  # fmt: skip
        row = {name: getattr(reply, name) for name in Reply.__slots__ if name != "arrivals_s"}
        rows.append(row | {"tpot_s": 0.01, "itl_p50_s": 0.01, "itl_max_s": 0.03})
    return rows


def example_requests(
    frames: list[Frame], levels: tuple[int, ...] = (1, 4, 8), n_blocks: int = 6
) -> pd.DataFrame:
    """A pilot with proof cells, and n_blocks of the baseline and the candidate's highest level."""
    rows = []
    for server, role, tried in (("ollama", "baseline", (1,)), ("vllm-mlx", "candidate", levels)):
        for level in tried:
            rows += example_cell(server, role, "pilot", level, 0, frames)
            rows += example_cell(server, role, "proof", level, 0, frames)
        for block in range(n_blocks):
            rows += example_cell(server, role, "confirm", tried[-1], block, frames)
            rows += example_cell(server, role, "proof", tried[-1], block + 1, frames)
    return pd.DataFrame(rows)


def analysis_of(
    requests: pd.DataFrame, frames: list[Frame], folder: Path | None = None, **params: object
) -> SimpleNamespace:
    """What analysis.analyse gives for these requests; the chosen levels are those that were confirmed."""
    cells = requests[["server", "concurrency", "phase", "block", "sitting"]].drop_duplicates()
    events = [{"event": "cell_ended", "not_sent": 0, **cell} for cell in cells.to_dict("records")]
    answers = metrics.judge_answers(requests, frames, events)
    chosen = answers[answers["phase"] == "confirm"].groupby("server")["concurrency"].max()
    chosen = chosen.astype(int).to_dict()
    levels = metrics.summarize_levels(answers, chosen)
    servers = answers.groupby("server", sort=False)[["role", "simulated"]].first()
    baseline = next(iter(servers.index[servers["role"] == "baseline"]), "ollama")
    verdicts, tables, findings, looks = [], [pd.DataFrame()], [], []
    for name in sorted(servers.index[servers["role"] == "candidate"]):
        pair = name, chosen.get(name, 0), baseline, chosen.get(baseline, 1)
        blocks = metrics.summarize_blocks(answers, *pair)
        verdict = metrics.decide(blocks, levels, answers, name, baseline, chosen, max_blocks=12)
        findings += metrics.criteria(verdict, blocks, levels, answers)
        verdicts.append(verdict)
        tables.append(blocks)
        for n in range(4, len(blocks) + 1, 2):
            found = metrics.estimate(blocks["log_ratio"].head(n), 12)
            look = {"event": "look", "candidate": name, "n_blocks": n, "decided": found.decided}
            looks.append(look | {"speedup": found.speedup, "low": found.low, "high": found.high})
    findings += metrics.proof_findings(answers, levels)
    findings.append(Finding("fairness", "note", "Answers are equally long: 30 tokens both."))
    added = "The client added 9 % to the first token."
    findings.append(Finding("instrument", "warning", added, "Use another machine."))
    facts = {"created_at": "2026-11-27T09:00:00+00:00", "edition": 2, "host": {"chip": "Example CPU"}}
    facts["servers"] = servers.assign(version="0.6.0").rename_axis("name").reset_index().to_dict("records")
    facts["params"] = Params(run_id="example").model_dump()
    return SimpleNamespace(
        run=Run(folder or Path("example"), facts), params=Params(**params), events=events + looks,
        frames={frame.frame_id: frame for frame in frames}, answers=answers, levels=levels,
        blocks=pd.concat(tables, ignore_index=True), findings=findings, verdicts=verdicts,
        telemetry=None, compared=pd.DataFrame(),
    )  # fmt: skip


def example_analysis(folder: Path | None = None, n_frames: int = 24, n_blocks: int = 6) -> SimpleNamespace:
    """A run that ended in a recommendation; its folder holds nothing but pictures."""
    frames = example_frames(n_frames, folder)
    return analysis_of(example_requests(frames, n_blocks=n_blocks), frames, folder)

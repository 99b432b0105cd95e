"""Requests tables as the simulator's servers would give them, made in process, with faults planted.

The texts and the draws of faults are the simulator's own; only time is made up (waves of prefills), since a
real simulated server takes its time. The same seed gives the same table.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import pandas as pd
from PIL import Image

from poc_lib.confusion import hash_distance, visual_hash
from poc_lib.demo import prepare_demo
from poc_lib.escribano import read_frames
from poc_lib.records import Reply
from poc_lib.simulator.answers import (
    Answer,
    Saying,
    made_up_answer,
    pick_saying,
    read_answers,
    say,
    split_pieces,
)
from poc_lib.simulator.faults import Fault, draw_faults
from poc_lib.simulator.texts import DUPLICATE_SHA256, LOOP_PIECES, REPLAY_PREFILL_SHARE
from poc_lib.simulator.timing import TIMINGS, draw, jittered, prefill_seconds

LEVELS = (1, 2, 4, 8)
MAX_TOKENS = 1024
STOCK_PHRASE = Saying("The user is working on a computer with several windows open.", "other", (), ())


@dataclass(frozen=True, slots=True)
class Stage:
    """The frames of a run, as analysis.frames_table gives them, and what the model may say about each."""

    frames: pd.DataFrame
    answers: dict[str, Answer]  # by frame_id


@dataclass(frozen=True, slots=True)
class Plan:
    """One run to be made."""

    seed: int
    blocks: int = 1
    fault: str | None = None  # a name of the simulator's, or replay_previous
    share: float = 0.0  # of the requests
    level: int | None = None  # the only level at which it is planted; None: at every level
    model: str = "usual"  # how the model answers: usual, terse, stock phrases, deterministic, reworded
    levels: tuple[int, ...] = LEVELS
    baseline: bool = True


@dataclass(slots=True)
class _State:
    """What a server remembers from cell to cell."""

    counts: Counter = field(default_factory=Counter)
    first: str | None = None
    sent: list[str] = field(default_factory=list)
    now_s: float = 0.0


def read_stage(folder: Path) -> Stage:
    """All usable frames of the demo's recording, with stored references and the simulator's answers."""
    data = prepare_demo(folder)
    frames = [f for f in read_frames(data.database, "latest") if f.reference and f.image_path.is_file()]
    by_hash = read_answers(data.answers)
    answers = {f.frame_id: by_hash[hashlib.sha256(f.image_path.read_bytes()).hexdigest()] for f in frames}
    rows = [
        {
            "frame_id": f.frame_id,
            "timestamp_s": f.timestamp_s,
            "ref_description": f.reference.description,
            "ref_activity": f.reference.activity,
            "phash": visual_hash(Image.open(f.image_path)),
            "image_path": str(f.image_path),
        }
        for f in frames
    ]
    return Stage(pd.DataFrame(rows), answers)


def draw_stage(stage: Stage, n_frames: int, seed: int) -> Stage:
    """This many of the stage's frames, drawn by seed, in order of time."""
    frames = stage.frames.sample(n_frames, random_state=seed).sort_values("timestamp_s")
    return replace(stage, frames=frames.reset_index(drop=True))


def with_wrong_references(stage: Stage, share: float, seed: int) -> Stage:
    """The stage with this share of the stored references moved round among themselves."""
    frames = stage.frames.copy()
    chosen = [i for i in frames.index if draw("wrong reference", seed, frames["frame_id"][i]) < share]
    texts = list(frames.loc[chosen, "ref_description"])
    frames.loc[chosen, "ref_description"] = pd.Series(texts[1:] + texts[:1], index=chosen, dtype=object)
    return replace(stage, frames=frames)


def without_references(stage: Stage) -> Stage:
    """The stage as a database shows it whose descriptions were lost."""
    return replace(stage, frames=stage.frames.assign(ref_description=None))


CLEAN = {
    "usual": (Plan(0), lambda stage, seed: stage),
    "terse model": (Plan(0, model="terse"), lambda stage, seed: stage),
    "5 % stock phrases": (Plan(0, model="stock phrases"), lambda stage, seed: stage),
    "temperature 0": (Plan(0, model="deterministic"), lambda stage, seed: stage),
    "temperature 0, reworded under load": (Plan(0, model="reworded"), lambda stage, seed: stage),
    "10 % wrong references": (Plan(0), lambda stage, seed: with_wrong_references(stage, 0.1, seed)),
    "no stored references": (Plan(0), lambda stage, seed: without_references(stage)),
    "no references, 5 % stock phrases": (
        Plan(0, model="stock phrases"),
        lambda stage, seed: without_references(stage),
    ),
    "no baseline": (Plan(0, baseline=False), lambda stage, seed: stage),
}


def plant_run(stage: Stage, plan: Plan) -> pd.DataFrame:
    """The requests table of a run: a row a reply, with two columns more that no server would tell.

    ``planted``: the fault that hit the request, None: none did. ``text_of``: the frame whose text it got.
    """
    rows: list[dict] = []
    servers = [("ollama", "baseline", "ollama", (1,))] * plan.baseline
    servers += [("vllm-mlx", "candidate", "openai", plan.levels)]
    now_s = 0.0
    for server, role, api, levels in servers:
        state = _State(now_s=now_s)
        for block in range(plan.blocks):
            for level in levels if block % 2 == 0 else levels[::-1]:
                cell = {"server": server, "role": role, "concurrency": level, "block": block}
                rows += _cell_rows(stage, plan, state, api, cell)
        now_s = state.now_s
    return pd.DataFrame(rows)


def _cell_rows(stage: Stage, plan: Plan, state: _State, api: str, cell: dict) -> Iterator[dict]:
    frame_ids, level = list(stage.frames["frame_id"]), cell["concurrency"]
    for start in range(0, len(frame_ids), level):
        wave = frame_ids[start : start + level]
        state.first = state.first or wave[0]
        timing, prefill_s, made = TIMINGS[api], 0.0, []
        for frame_id in wave:
            count = state.counts[frame_id]
            state.counts[frame_id] += 1
            fault = _fault_of(plan, cell, frame_id, count)
            source = _source(plan, state, fault, frame_id, wave, count)
            if source == frame_id and fault in ("wrong_image", "replay_first", "replay_previous"):
                fault = None  # its own text: nothing was planted
            one_s = jittered(prefill_seconds(timing, [(1024, 576)]), timing, plan.seed, frame_id, count)
            prefill_s += one_s * (REPLAY_PREFILL_SHARE if (fault or "").startswith("replay") else 1.0)
            pieces, finish = _pieces(stage, plan, fault, source, (level, plan.seed, api, frame_id, count))
            made.append((frame_id, fault, source, pieces, finish))
            state.sent.append(frame_id)
        for slot, (frame_id, fault, source, pieces, finish) in enumerate(made):
            step_s = timing.step_base_s + level * timing.step_member_s
            yield _row(cell, state.now_s, slot, frame_id, prefill_s, step_s, pieces, finish) | {
                "planted": fault,
                "text_of": source,
            }
        state.now_s += prefill_s + max(len(one[3]) for one in made) * step_s


def _fault_of(plan: Plan, cell: dict, frame_id: str, count: int) -> str | None:
    hit = cell["role"] == "candidate" and plan.level in (None, cell["concurrency"])
    if not (plan.fault and hit):
        return None
    drawn = draw_faults([Fault(plan.fault, plan.share)], plan.seed, frame_id, count)
    return drawn[0].name if drawn else None


def _source(
    plan: Plan, state: _State, fault: str | None, frame_id: str, wave: list[str], count: int
) -> str | None:
    """The frame whose text a request gets."""
    if fault == "wrong_image":
        others = sorted(set(wave) - {frame_id}) or sorted(set(state.sent) - {frame_id}) or [frame_id]
        return others[int(draw("other", plan.seed, frame_id, count) * len(others))]
    if fault == "replay_first":
        return state.first
    if fault == "replay_previous":
        return state.sent[-1] if state.sent else frame_id
    return None if fault == "duplicate" else frame_id


def _pieces(
    stage: Stage, plan: Plan, fault: str | None, source: str | None, keys: tuple
) -> tuple[list[str], str]:
    """The answer's tokens and its finish reason."""
    answer = made_up_answer(DUPLICATE_SHA256) if source is None else stage.answers[source]
    pieces = split_pieces(say(_saying(plan, answer, *keys), one_line=True))
    half = pieces[: max(1, len(pieces) // 2)]
    if fault == "truncated":
        return half, "length"
    if fault == "loop":
        again = half[-LOOP_PIECES:]
        return (half + again * MAX_TOKENS)[:MAX_TOKENS], "length"
    return pieces, "stop"


def _saying(plan: Plan, answer: Answer, level: int, *keys: object) -> Saying:
    if plan.model == "stock phrases" and draw("stock", *keys) < 0.05:
        return STOCK_PHRASE
    as_ever = plan.model == "reworded" and (level == 1 or draw("as ever", *keys) < 0.7)
    said = pick_saying(answer, 0.0 if as_ever or plan.model == "deterministic" else 0.3, *keys)
    if plan.model == "terse":
        words = f"The user is {said.activity} in {(said.apps or ('an app',))[0]}."
        return replace(said, description=words)
    return said


def _row(
    cell: dict,
    now_s: float,
    slot: int,
    frame_id: str,
    ttft_s: float,
    step_s: float,
    pieces: list,
    finish: str,
) -> dict:
    name = f"{cell['server']}/measure/c{cell['concurrency']}/b{cell['block']}/{frame_id}"
    reply = Reply(
        **cell,
        request_id=name,
        phase="measure",
        frame_id=frame_id,
        sitting=0,
        slot=slot,
        simulated=True,
        sent_at="2026-11-22T10:00:00+00:00",
        start_s=now_s + slot * 1e-4,
        in_flight=slot + 1,
        total_s=ttft_s + len(pieces) * step_s,
        ttft_s=ttft_s,
        output_tokens=len(pieces) + (finish == "stop"),
        prompt_tokens=600,
        finish_reason=finish,
        text="".join(pieces),
        http_status=200,
    )
    return asdict(reply)


def looks_different(stage: Stage, a: str, b: str | None, bits: int) -> bool:
    """Whether two frames' images differ by at least so many bits; a text of no frame differs from all."""
    if not isinstance(b, str):
        return True
    hashes = dict(zip(stage.frames["frame_id"], stage.frames["phash"], strict=True))
    return hash_distance(hashes[a], hashes[b]) >= bits

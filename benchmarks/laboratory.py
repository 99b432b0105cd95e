"""What codes and signs find of planted mix-ups, and whom they accuse wrongly.

    .venv/bin/python -m benchmarks.laboratory --runs 40 --clean-runs 200

Prints Markdown tables. No server runs: rows are made up as the shortest default run leaves them (a pilot of
four levels, four confirmation blocks, 24 frames a cell, proof cells), and judged by the library.
A quarter of the frames look like the one before; a code is missed by one character, by two, or whole.
"""

import argparse
import itertools
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from poc_lib.client.stamp import ALPHABET, draw_codes
from poc_lib.metrics import COLUMNS, binomial_bounds, judge_answers, proof_findings, summarize_levels
from poc_lib.records import Frame, Reference

LEVELS, CHOSEN, N_FRAMES, PER_CELL, BLOCKS = (1, 2, 4, 8), 8, 192, 24, 4
READERS = (1.0, 0.9, 0.7)  # share of the codes that a model reads without a mistake
FAULTS = {  # what is planted, in which share of the candidate's requests
    "swap 1 %": ("swap", 0.01),
    "swap 5 %": ("swap", 0.05),
    "swap 20 %": ("swap", 0.2),
    "first image replayed, 20 %": ("first", 0.2),
    "previous image replayed, 20 %": ("previous", 0.2),
    "leak after an abort, 50 %": ("leak", 0.5),
    "one answer for all": ("fixed", 1.0),
}
WORDS = {
    "app": ("VS Code", "Terminal", "Safari", "Slack", "Figma", "Preview", "Mail", "Notes"),
    "activity": ("coding", "terminal", "reading", "meeting", "review", "research", "debugging", "other"),
    "project": ("harbor-tides", "orchard-web", "ferry-api", "moss-atlas", "quill-press", "tern-radio"),
    "thing": ("parser", "invoice", "timetable", "migration", "notebook", "changelog", "gateway", "ledger"),
    "detail": ("rounding", "retries", "indexing", "paging", "caching", "logging", "sorting", "locking"),
    "n": range(30),
}
FORMS = (
    "The user is fixing {detail} in {thing}_{n}.py of the {project} project in {app}.",
    "{app} shows {thing}_{n}.py of {project}, where the user is working on {detail}.",
    "A person works on {detail} in the file {thing}_{n}.py ({project}), open in {app}.",
)
SAID = "description: {} | activity: {activity} | apps: [{app}] | topics: [{project}]"
FIXED = SAID.format("A blank grey desktop waits for input", activity="other", app="Finder", project="desk")


@dataclass(frozen=True)
class Plan:
    """What is planted in one run."""

    fault: str = ""  # swap, first, previous, leak or fixed; "": nothing
    share: float = 0.0
    level: int | None = None  # the only level it is planted at; None: every one
    reader: float = 1.0
    terse: bool = False  # the candidate's descriptions are one word


@dataclass
class World:
    """A recording's frames, what there is to say about each, and the rows of a run."""

    plan: Plan
    seed: int
    pick: random.Random
    frames: list[Frame] = field(default_factory=list)
    scenes: dict[str, dict] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    own: dict[str, str] = field(default_factory=dict)  # request -> the answer to its own image
    planted: dict[str, str] = field(default_factory=dict)  # request -> the request whose answer it got
    now_s: float = 0.0


def say(world: World, row: dict) -> str:
    """The answer to a request's own image, its code as the reader reads it."""
    scene, pick, code = world.scenes[row["frame_id"]], world.pick, row["code"]
    terse = world.plan.terse and row["role"] == "candidate"
    text = scene["activity"] if terse else pick.choice(FORMS).format(**scene)
    text = SAID.format(text, **scene)
    if code and pick.random() >= world.plan.reader:
        wrong = pick.sample(range(len(code)), pick.choices((1, 2, 0), (0.6, 0.25, 0.15))[0])
        misread = (pick.choice(ALPHABET.replace(c, "")) if i in wrong else c for i, c in enumerate(code))
        code = "".join(misread) if wrong else "none"
    return f"{text} | code: {code}" if code else text


def add_cell(world: World, server: str, level: int, phase: str, block: int) -> None:
    """A cell of one wave after the other, in drawn order."""
    key = {"server": server, "concurrency": level, "phase": phase, "block": block, "sitting": 0}
    key |= {"role": "baseline" if server == "ollama" else "candidate"}
    frames = random.Random(f"{world.seed}/{phase}/{block}").sample(world.frames, PER_CELL)
    taken = [row["code"] for row in world.rows if row["code"]]
    codes = draw_codes(PER_CELL, f"{key}", taken) if phase.startswith("proof") else [None] * PER_CELL
    cell: list[dict] = []
    for i, (frame, code) in enumerate(zip(frames, codes, strict=True)):
        row = {**key, "request_id": f"{server}/{phase}/c{level}/b{block}/s0/{i:03d}", "position": i}
        row |= {"frame_id": frame.frame_id, "code": code, "error_class": None, "finish_reason": "stop"}
        row |= {"start_s": world.now_s + i % level * 1e-3, "total_s": 1 + world.pick.random()}
        row["text"] = world.own[row["request_id"]] = say(world, row)
        cell.append(row)
        world.now_s += 2.0 * (i % level == level - 1)
    for i, row in enumerate(cell):
        if phase == "proof_abort" and i % 3 == 1:
            row |= {"error_class": "aborted", "text": ""}
        elif donor := pick_donor(world, cell, i):
            world.planted[row["request_id"]] = donor
            row["text"] = world.own.get(donor, FIXED)
    world.rows += cell
    world.events.append({**key, "event": "cell_ended", "not_sent": 0})


def pick_donor(world: World, cell: list[dict], i: int) -> str | None:
    """The request whose answer the cell's i-th request gets; None: its own."""
    plan, row, level = world.plan, cell[i], cell[i]["concurrency"]
    hit = row["role"] == "candidate" and plan.level in (None, level) and world.pick.random() < plan.share
    if plan.fault == "leak":
        hit &= row["phase"] == "proof_abort" and i % 3 == 2
    if not hit or plan.fault in ("fixed", "leak"):
        return (cell[i - 1]["request_id"] if plan.fault == "leak" else "none's") if hit else None
    kind = row["server"], row["code"] is None
    same = [other for other in world.rows if (other["server"], other["code"] is None) == kind]
    before, wave = same + cell[:i], cell[i - i % level : i - i % level + level]
    others = {"swap": wave if level > 1 else before, "first": before[:1], "previous": before[-1:]}[plan.fault]
    others = [other["request_id"] for other in others if other["frame_id"] != row["frame_id"]]
    return world.pick.choice(others) if others else None


def make_run(plan: Plan, seed: int) -> World:
    """The rows of a default run; every fourth frame looks and reads like the one before, but for a detail."""
    world = World(plan, seed, random.Random(f"{seed}/{plan}"))
    pick, look, scene = world.pick, 0, {}
    for i in range(N_FRAMES):
        if i % 4 == 3:
            look, scene = look ^ 1 << pick.randrange(64), scene | {"detail": pick.choice(WORDS["detail"])}
        else:
            look, scene = pick.getrandbits(64), {name: pick.choice(words) for name, words in WORDS.items()}
        world.scenes[f"f{i:03d}"] = scene
        stored = Reference(pick.choice(FORMS).format(**scene), scene["activity"], (scene["app"],), (), None)
        world.frames.append(Frame(f"f{i:03d}", float(i), Path(), look=f"{look:016x}", reference=stored))
    for server, level in [("ollama", 1), *(("vllm", level) for level in LEVELS)]:
        for phase in ("pilot", "proof", "proof_abort")[: 3 if plan.fault == "leak" else 2]:
            add_cell(world, server, level, phase, 0)
    for block in range(BLOCKS):
        add_cell(world, "ollama", 1, "confirm", block)
        add_cell(world, "vllm", CHOSEN, "confirm", block)
        add_cell(world, "vllm", CHOSEN, "proof", 1 + block)
        if block % 2 == 0:
            add_cell(world, "ollama", 1, "proof", 1 + block)
    return world


def judge_run(plan: Plan, seed: int) -> dict[str, int]:
    """What was found in one run, against what was planted."""
    world = make_run(plan, seed)
    rows = pd.DataFrame(world.rows).reindex(columns=list(COLUMNS)[: list(COLUMNS).index("complete")])
    rows = rows.astype(dict.fromkeys(("code", "text", "error_class"), "str"))
    answers = judge_answers(rows, world.frames, world.events)
    levels = summarize_levels(answers, {"vllm": CHOSEN, "ollama": 1})
    blamed = {(f.server, f.level) for f in proof_findings(answers, levels) if f.state == "problem"}
    at = {("vllm", level) for level in LEVELS if plan.fault and plan.level in (None, level)}
    donor = answers["request_id"].map(world.planted)
    hit, proven, signed = donor.notna(), answers["proof"] == "other", answers["sign"] != ""
    found = {
        "stamped": hit & answers["code"].notna(),
        "plain": hit & answers["code"].isna(),
        "proven": proven & hit,
        "right donor": proven & (answers["donor_request"] == donor),
        "false proofs": proven & ~hit,
        "signs": signed & hit,
        "false signs": signed & ~hit,
    }
    sure = {"by codes": (proven & hit).any(), "by either": blamed & at, "elsewhere": blamed - at}
    return {k: int(v.sum()) for k, v in found.items()} | {k: int(bool(v)) for k, v in sure.items()}


def sum_runs(plan: Plan, n_runs: int, jobs: int = 1) -> dict[str, int]:
    """The counts of so many runs, added up."""
    with ProcessPoolExecutor(jobs) as pool:
        found = (pool.map if jobs > 1 else map)(partial(judge_run, plan), range(n_runs))
        return pd.DataFrame(list(found)).sum().to_dict()


def of(count: float, n: float) -> str:
    """A count with its share."""
    return f"{count:.0f} of {n:.0f} ({count / n:.0%})" if n else "-"


def main() -> None:
    """Print a table of runs in which nothing is planted, and one of every fault, place and reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40, help="runs of each planted fault, place and reader")
    parser.add_argument("--clean-runs", type=int, default=200, help="runs without a fault, of each reader")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    asked = parser.parse_args()
    clean, planted = [], []
    for reader, terse in (*((reader, False) for reader in READERS), (1.0, True)):
        n = sum_runs(Plan(reader=reader, terse=terse), asked.clean_runs, asked.jobs)
        low, high = binomial_bounds(int(n["elsewhere"]), asked.clean_runs)
        row = {"descriptions": "one word" if terse else "a sentence", "codes read": f"{reader:.0%}"}
        row |= {"runs": asked.clean_runs, "false proofs": n["false proofs"]}
        row |= {"runs with a false alarm": f"{n['elsewhere']} ({low:.1%} to {high:.1%})"}
        clean.append(row | {"answers with a false sign": n["false signs"]})
    print(pd.DataFrame(clean).to_markdown(index=False, disable_numparse=True), flush=True)
    for name, level, reader in itertools.product(FAULTS, (CHOSEN, None), READERS):
        n = sum_runs(Plan(*FAULTS[name], level, reader), asked.runs, asked.jobs)
        place = "every level" if level is None else f"{level} in flight"
        row = {"planted": name, "at": place, "codes read": f"{reader:.0%}"}
        row |= {"proven, of stamped ones hit": of(n["proven"], n["stamped"])}
        row |= {"right donor": of(n["right donor"], n["proven"])}
        row |= {"with a sign, of others hit": of(n["signs"], n["plain"])}
        row |= {"runs found by codes": of(n["by codes"], asked.runs)}
        row |= {"by codes or signs": of(n["by either"], asked.runs), "false proofs": n["false proofs"]}
        planted.append(row | {"runs blaming elsewhere": n["elsewhere"]})
    print(pd.DataFrame(planted).to_markdown(index=False, disable_numparse=True))


if __name__ == "__main__":
    main()

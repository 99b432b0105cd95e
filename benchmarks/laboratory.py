"""What codes and signs find of planted mix-ups, and whom they accuse wrongly.

    .venv/bin/python -m benchmarks.laboratory --runs 20 --clean-runs 200

Prints Markdown tables. No server runs: replies are made up row by row, as a default run would leave them (a
pilot of four levels, four confirmation blocks, 24 frames a cell, with their proof cells), and judged by the
library. Texts come from small vocabularies, a quarter of the frames look like the one before, and a reader
that misses a code gets one or two characters wrong, or names none.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd

from poc_lib.client.stamp import ALPHABET, draw_codes
from poc_lib.metrics import binomial_bounds, judge_answers, proof_findings, summarize_levels
from poc_lib.records import Frame, Reference

LEVELS, CHOSEN, N_FRAMES, PER_CELL, BLOCKS = (1, 2, 4, 8), 8, 192, 24, 4
READERS = (1.0, 0.9, 0.7)  # share of the codes that a model reads without a mistake
FAULTS = {  # what is planted -> share of the candidate's requests
    "swap 1 %": ("swap", 0.01),
    "swap 5 %": ("swap", 0.05),
    "swap 20 %": ("swap", 0.2),
    "replay of the first": ("first", 0.2),
    "replay of the previous": ("previous", 0.2),
    "leak after an abort": ("leak", 0.5),
    "one answer for all": ("fixed", 1.0),
}
APPS = "VS Code,Terminal,Safari,Slack,Figma,Preview,Mail,Notes".split(",")
ACTIVITIES = "coding,terminal,reading,meeting,review,research,other,debugging".split(",")
PROJECTS = (
    "harbor-tides orchard-web ferry-api moss-atlas quill-press tern-radio lark-ledger fjord-maps".split()
)
THINGS = "parser invoice timetable migration notebook changelog dataset floorplan gateway ledger".split()
DETAILS = "rounding retries indexing encoding paging caching logging sorting locking parsing".split()
FORMS = (
    "The user is fixing {detail} in {thing}_{n}.py of the {project} project in {app}.",
    "{app} shows {thing}_{n}.py of {project}, where the user is working on {detail}.",
    "A person works on {detail} in the file {thing}_{n}.py ({project}), open in {app}.",
)


@dataclass(frozen=True)
class Plan:
    """What is planted in one run."""

    fault: str = ""  # swap, first, previous, leak or fixed; "": nothing
    share: float = 0.0
    level: int | None = None  # the only level it is planted at; None: every one
    reader: float = 1.0
    terse: bool = False  # the candidate says "coding" and no more


@dataclass
class World:
    """The frames of a recording, what a server says about each, and the rows of a run."""

    plan: Plan
    pick: random.Random
    frames: list[Frame] = field(default_factory=list)
    scenes: dict[str, dict] = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    planted: dict[str, str] = field(default_factory=dict)  # request -> the request whose answer it got
    now_s: float = 0.0


def draw_world(plan: Plan, seed: int) -> World:
    """The frames, of which a quarter look and read like the one before, but for a detail."""
    world = World(plan, random.Random(f"{seed}/{plan}"))
    pick, look, scene = world.pick, 0, {}
    for i in range(N_FRAMES):
        frame_id = f"f{i:03d}"
        if i % 4 == 3:
            look ^= 1 << pick.randrange(64)
            scene = scene | {"detail": pick.choice(DETAILS)}
        else:
            look, scene = pick.getrandbits(64), {"app": pick.choice(APPS), "project": pick.choice(PROJECTS)}
            scene |= {"thing": pick.choice(THINGS), "detail": pick.choice(DETAILS), "n": pick.randrange(30)}
            scene |= {"activity": pick.choice(ACTIVITIES)}
        world.scenes[frame_id] = scene
        stored = Reference(pick.choice(FORMS).format(**scene), scene["activity"], (scene["app"],), (), None)
        world.frames.append(Frame(frame_id, float(i), Path(frame_id), look=f"{look:016x}", reference=stored))
    return world


def say(world: World, row: dict) -> str:
    """The answer to a request's own image, its code as well as the reader reads it."""
    scene, pick = world.scenes[row["frame_id"]], world.pick
    terse = world.plan.terse and row["role"] == "candidate"
    text = scene["activity"] if terse else pick.choice(FORMS).format(**scene)
    text = f"description: {text} | activity: {scene['activity']} | apps: [{scene['app']}] | topics: [{scene['project']}]"
    return f"{text} | code: {read_code(row['code'], world)}" if row["code"] else text


def read_code(code: str, world: World) -> str:
    """What the reader makes of a code."""
    if world.pick.random() < world.plan.reader:
        return code
    n_wrong = world.pick.choices((1, 2, 0), (0.6, 0.25, 0.15))[0]
    wrong = world.pick.sample(range(len(code)), n_wrong)
    read = "".join(
        world.pick.choice(ALPHABET.replace(c, "")) if i in wrong else c for i, c in enumerate(code)
    )
    return read if n_wrong else "none"


def add_cell(world: World, server: str, level: int, phase: str, block: int) -> None:
    """A cell of one wave after the other, in drawn order."""
    role = "baseline" if server == "ollama" else "candidate"
    key = {"server": server, "role": role, "concurrency": level, "phase": phase, "block": block, "sitting": 0}
    frames = random.Random(f"{world.plan}/{phase}/{block}").sample(world.frames, PER_CELL)
    codes = draw_codes(PER_CELL, f"{key}", world.codes) if phase.startswith("proof") else [None] * PER_CELL
    world.codes += [code for code in codes if code]
    name, cell = f"{server}/{phase}/c{level}/b{block}/s0", []
    for i, (frame, code) in enumerate(zip(frames, codes, strict=True)):
        row = {
            **key,
            "request_id": f"{name}/{i:03d}",
            "frame_id": frame.frame_id,
            "position": i,
            "code": code,
        }
        row |= {"slot": i % level, "start_s": world.now_s + i % level * 1e-3, "in_flight": i % level + 1}
        row |= {"total_s": 1 + world.pick.random(), "error_class": None, "finish_reason": "stop"}
        cell.append(row | {"text": say(world, row)})
        if i % level == level - 1:
            world.now_s += 2.0
    own = {row["request_id"]: row["text"] for row in (*world.rows, *cell)}
    for i, row in enumerate(cell):
        if phase == "proof_abort" and i % 3 == 1:
            row |= {"error_class": "aborted", "text": ""}
        elif donor := pick_donor(world, cell, i):
            world.planted[row["request_id"]] = donor
            fixed = "description: A blank grey desktop waits for input | activity: other | apps: [Finder] | topics: [none]"
            row["text"] = own.get(donor, fixed)
    world.rows += cell
    world.events.append({**key, "event": "cell_ended", "not_sent": 0})


def pick_donor(world: World, cell: list[dict], i: int) -> str | None:
    """The request whose answer the cell's i-th request gets; None: its own."""
    plan, row, level = world.plan, cell[i], cell[i]["concurrency"]
    hit = row["role"] == "candidate" and plan.level in (None, level) and world.pick.random() < plan.share
    rows = (*world.rows, *cell[:i])
    before = [one for one in rows if one["server"] == row["server"] and bool(one["code"]) == bool(row["code"])]
    if not (plan.fault and hit and (before or level > 1)):
        return None
    if plan.fault == "fixed":
        return "fixed"
    if plan.fault == "leak":
        aborted = row["phase"] == "proof_abort" and i % 3 == 2
        return cell[i - 1]["request_id"] if aborted else None
    wave = [one for one in cell[i - i % level : i - i % level + level] if one is not row]
    choices = {"swap": wave or before, "first": before[:1], "previous": before[-1:]}[plan.fault]
    others = [one for one in choices if one["frame_id"] != row["frame_id"]]
    return world.pick.choice(others)["request_id"] if others else None


def make_run(plan: Plan, seed: int) -> World:
    """The rows of a default run."""
    world = draw_world(plan, seed)
    phases = ("pilot", "proof", "proof_abort") if plan.fault == "leak" else ("pilot", "proof")
    for server, level in [("ollama", 1), *(("vllm", level) for level in LEVELS)]:
        for phase in phases if server == "vllm" else phases[:2]:
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
    unknown = [
        "error_message",
        "rate_per_s",
        "due_s",
        "headers_s",
        "ttft_s",
        "tpot_s",
        "itl_p50_s",
        "itl_max_s",
    ]
    unknown += [
        "lag_s",
        "prompt_tokens",
        "output_tokens",
        "server_load_s",
        "server_prefill_s",
        "server_decode_s",
    ]
    rows = pd.DataFrame(world.rows).assign(reasoning_chars=0, arrivals="closed", simulated=True)
    rows = rows.assign(**dict.fromkeys(unknown, float("nan")))
    rows = rows.astype(dict.fromkeys(("code", "text", "error_class"), "str"))
    answers = judge_answers(rows, world.frames, world.events)
    levels = summarize_levels(answers, {"vllm": CHOSEN, "ollama": 1})
    donor = answers["request_id"].map(world.planted)
    proven = answers["proof"] == "other"
    at = set(LEVELS) if plan.level is None else {plan.level}
    blamed = {(one.server, one.level) for one in proof_findings(answers, levels) if one.state == "problem"}
    here = answers["concurrency"].isin(at) & (answers["server"] == "vllm")
    return {
        "planted": int(donor.notna().sum()),
        "provable": int((donor.notna() & answers["code"].notna()).sum()),
        "proven": int((proven & donor.notna()).sum()),
        "right donor": int((proven & (answers["donor_request"] == donor)).sum()),
        "false proofs": int((proven & donor.isna()).sum()),
        "signs": int(((answers["sign"] != "") & donor.notna()).sum()),
        "false signs": int(((answers["sign"] != "") & donor.isna()).sum()),
        "found by codes": int((proven & here).any()),
        "found": int(any(server == "vllm" and level in at for server, level in blamed)),
        "blamed elsewhere": int(any(server == "ollama" or level not in at for server, level in blamed)),
        "alarm": int(bool(blamed)),
    }


def sum_runs(plan: Plan, n_runs: int, jobs: int = 1) -> dict[str, int]:
    """The counts of so many runs, added up."""
    if jobs == 1:
        found = [judge_run(plan, seed) for seed in range(n_runs)]
    else:
        with ProcessPoolExecutor(jobs) as pool:
            found = list(pool.map(partial(judge_run, plan), range(n_runs)))
    return pd.DataFrame(found).sum().to_dict()


def planted_rows(n_runs: int, jobs: int, readers: Sequence[float]) -> Iterator[dict]:
    """One row a fault, place and reader."""
    for name, (fault, share) in FAULTS.items():
        for level in (CHOSEN, None):
            for reader in readers:
                n = sum_runs(Plan(fault, share, level, reader), n_runs, jobs)
                yield {
                    "planted": name,
                    "at": "every level" if level is None else f"{level} in flight",
                    "reader": f"{reader:.0%}",
                    "proven, of stamped ones hit": of(n["proven"], n["provable"]),
                    "right donor": of(n["right donor"], n["proven"]),
                    "signs, of plain ones hit": of(n["signs"], n["planted"] - n["provable"]),
                    "runs found by codes": of(n["found by codes"], n_runs),
                    "by codes or signs": of(n["found"], n_runs),
                    "false proofs": n["false proofs"],
                    "blamed elsewhere": n["blamed elsewhere"],
                }


def clean_rows(n_runs: int, jobs: int, readers: Sequence[float]) -> Iterator[dict]:
    """Runs in which nothing is planted, with a model that tells what it sees and with a terse one."""
    for terse in (False, True):
        for reader in readers:
            n = sum_runs(Plan(reader=reader, terse=terse), n_runs, jobs)
            low, high = binomial_bounds(n["alarm"], n_runs)
            yield {
                "answers": "one word" if terse else "a sentence",
                "reader": f"{reader:.0%}",
                "runs": n_runs,
                "false proofs": n["false proofs"],
                "runs with a false alarm": f"{n['alarm']} ({low:.1%} to {high:.1%})",
                "answers with a sign": n["false signs"],
            }


def of(count: float, n: float) -> str:
    """A count in words, with its share."""
    return f"{count:.0f} of {n:.0f} ({count / n:.0%})" if n else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="runs of each planted fault, place and reader")
    parser.add_argument("--clean-runs", type=int, default=200, help="runs without a fault, of each reader")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    asked = parser.parse_args()
    for title, rows in (
        ("Nothing planted", clean_rows(asked.clean_runs, asked.jobs, READERS)),
        ("Planted", planted_rows(asked.runs, asked.jobs, READERS)),
    ):
        print(
            f"## {title}\n\n{pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)}\n",
            flush=True,
        )


if __name__ == "__main__":
    main()

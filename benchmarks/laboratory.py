"""What the checks of the answers find and whom they accuse wrongly: planted faults, and clean runs.

    .venv/bin/python -m benchmarks.laboratory --clean-runs 200 --runs 15 --jobs 2

Prints Markdown tables. Runs are made in process (planted_runs.py) from the demo's screenshots, the
simulator's answers and its draws of faults; the last table's runs go through real simulated servers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest

from benchmarks.planted_runs import (
    CLEAN,
    Plan,
    Stage,
    draw_stage,
    looks_different,
    plant_run,
    read_stage,
)
from poc_lib.confusion import LOOKS_DIFFERENT_BITS, ConfusionTables, examine_confusion
from poc_lib.health import score_health, summarize_health

RIGHT_CAUSE = {
    "wrong_image": "wrong image",
    "replay_first": "replay of the first answer",
    "replay_previous": "replay of the previous answer",
    "duplicate": "duplicate",
}
HEALTH_FLAG = {"truncated": "truncated", "loop": "looping"}
SHARES = (0.01, 0.05, 0.2)
N_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the checks made of one run."""

    n_planted: int  # requests that were hit
    n_visible: int  # of these, got the text of an image that looks different
    found: bool  # suspicion at a level where the fault was planted
    blamed_elsewhere: bool  # suspicion at a level or server where it was not
    n_listed: int  # answers listed as suspicious where the fault was planted
    n_right_answer: int  # of these, visibly hit
    n_right_cause: int  # of these, put down to what was planted


def judge_run(stage: Stage, requests: pd.DataFrame, plan: Plan) -> Outcome:
    """Hold what was found in a planted run against what was planted."""
    tables = examine_confusion(requests, stage.frames)
    hit = requests[requests["planted"].notna()]
    visible = {
        _key(row): row.planted
        for row in hit.itertuples()
        if looks_different(stage, row.frame_id, row.text_of, LOOKS_DIFFERENT_BITS)
    }
    at = set(plan.levels) if plan.level is None else {plan.level}
    accused = _accused(tables) if plan.fault else set()
    here = {key for key in accused if key[0] == "candidate" and key[1] in at}
    listed = tables.suspicious[tables.suspicious["state"] == "suspicion"]
    listed = [row for row in listed.itertuples() if (row.role, row.concurrency) in here]
    right = [row for row in listed if _key(row) in visible]
    cause = RIGHT_CAUSE.get(plan.fault)
    return Outcome(
        n_planted=len(hit),
        n_visible=len(visible),
        found=bool(here),
        blamed_elsewhere=bool((accused or _accused(tables)) - here),
        n_listed=len(listed),
        n_right_answer=len(right),
        n_right_cause=sum(row.cause == cause for row in right),
    )


def clean_table(
    stage: Stage, n_runs: int, blocks: int, names: Iterable[str] = tuple(CLEAN), n_jobs: int = 1
) -> pd.DataFrame:
    """Runs without any fault, by kind of model and references: how many raise an alarm anywhere."""
    rows = []
    for name in names:
        found = _each(partial(_clean_run, stage, name, blocks), range(n_runs), n_jobs)
        alarms = sum(alarm for alarm, _ in found)
        rows.append(
            {
                "clean runs": name,
                "blocks": blocks,
                "n": n_runs,
                "with an alarm": alarms,
                "share (95 %)": _share(alarms, n_runs),
                "answers with a sign, per run": f"{sum(signs for _, signs in found) / n_runs:.1f}",
            }
        )
    return pd.DataFrame(rows)


def _clean_run(stage: Stage, name: str, blocks: int, seed: int) -> tuple[bool, int]:
    plan, change = CLEAN[name]
    drawn = change(draw_stage(stage, N_FRAMES, seed), seed)
    tables = examine_confusion(plant_run(drawn, replace(plan, seed=seed, blocks=blocks)), drawn.frames)
    return bool(_accused(tables)), len(tables.suspicious)


def grid_table(stage: Stage, plans: Iterable[Plan], n_runs: int, n_jobs: int = 1) -> pd.DataFrame:
    """Each plan with ``n_runs`` seeds: what was planted, whether it was found there, and who was blamed."""
    return pd.DataFrame(
        [_grid_row(plan, _each(partial(_planted_run, stage, plan), range(n_runs), n_jobs)) for plan in plans]
    )


def _planted_run(stage: Stage, plan: Plan, seed: int) -> Outcome:
    drawn, seeded = draw_stage(stage, N_FRAMES, seed), replace(plan, seed=seed)
    return judge_run(drawn, plant_run(drawn, seeded), seeded)


def _each(make: Callable[[int], Any], seeds: Iterable[int], n_jobs: int) -> list:
    if n_jobs == 1:
        return [make(seed) for seed in seeds]
    with ProcessPoolExecutor(n_jobs) as pool:
        return list(pool.map(make, seeds, chunksize=5))


def health_table(stage: Stage, plans: Iterable[Plan], n_runs: int) -> pd.DataFrame:
    """Planted truncations and loops: answers flagged, flagged wrongly, runs where the level stands out."""
    rows = []
    for plan in plans:
        hits = flagged = wrongly = stands_out = with_hits = 0
        for drawn, seeded in _seeded(stage, plan, n_runs):
            requests = plant_run(drawn, seeded)
            scores = score_health(requests, drawn.frames)
            planted = requests["planted"].notna().to_numpy()
            flag = scores[HEALTH_FLAG[plan.fault]].to_numpy(dtype=bool)
            hits, flagged = hits + planted.sum(), flagged + (flag & planted).sum()
            wrongly += (~scores["healthy"].to_numpy(dtype=bool) & ~planted).sum()
            with_hits += bool(planted.any())
            level = summarize_health(scores).set_index(["role", "concurrency"]).loc[("candidate", plan.level)]
            stands_out += bool(level["unhealthy_p_value"] <= 0.01)
        rows.append(
            {
                **_named(plan, n_runs),
                "planted, per run": f"{hits / n_runs:.1f}",
                "flagged": f"{flagged} of {hits}",
                "sound answers flagged": int(wrongly),
                "level stands out (p ≤ 1 %)": f"{stands_out} of {with_hits} runs",
            }
        )
    return pd.DataFrame(rows)


def served_table(folder: Path, faults: Iterable[str]) -> pd.DataFrame:
    """One run per fault through real simulated servers, as the command line would measure it."""
    from benchmarks.served_runs import serve_run  # the whole tool; the other tables need only the checks

    return pd.DataFrame(
        [
            _served_row(fault, serve_run(folder, f"served-{i}", fault, N_FRAMES))
            for i, fault in enumerate(faults)
        ]
    )


def _served_row(fault: str, served: Any) -> dict:
    tables = examine_confusion(served.requests, served.frames)
    health = score_health(served.requests, served.frames)
    sick = health[~health["healthy"].astype(bool)]
    causes = tables.suspicious[tables.suspicious["state"] == "suspicion"]["cause"].value_counts()
    problems = sick["problems"].value_counts()
    hit = [row["fault"] is not None for row in served.planted]
    return {
        "demo_faults": fault or "none",
        "hit, of all requests": f"{sum(hit)} of {len(hit)}",
        "suspicion at": _levels_line(_accused(tables)),
        "causes": "; ".join(f"{n} × {cause}" for cause, n in causes.items()) or "none",
        "not sound at": _levels_line(set(zip(sick["role"], sick["concurrency"], strict=True))),
        "problems": "; ".join(f"{n} × {name}" for name, n in problems.items()) or "none",
    }


def _grid_row(plan: Plan, outcomes: list[Outcome]) -> dict:
    visible = [one for one in outcomes if one.n_visible]
    listed = sum(one.n_listed for one in outcomes)
    right = sum(one.n_right_answer for one in outcomes)
    return {
        **_named(plan, len(outcomes)),
        "planted, per run": f"{statistics.mean(one.n_planted for one in outcomes):.1f}",
        "of these visible": f"{statistics.mean(one.n_visible for one in outcomes):.1f}",
        "found, of runs with one visible": _of(sum(one.found for one in visible), len(visible)),
        "listed": listed,
        "rightly": _of(right, listed),
        "right cause": _of(sum(one.n_right_cause for one in outcomes), right),
        "runs with others blamed": sum(one.blamed_elsewhere for one in outcomes),
    }


def _named(plan: Plan, n_runs: int) -> dict:
    where = "every level" if plan.level is None else f"{plan.level} in flight"
    where += "" if plan.baseline else ", no baseline"
    return {
        "planted": plan.fault,
        "share": f"{plan.share:.0%}",
        "at": where,
        "blocks": plan.blocks,
        "runs": n_runs,
    }


def _seeded(stage: Stage, plan: Plan, n_runs: int) -> Iterator[tuple[Stage, Plan]]:
    for seed in range(n_runs):
        yield draw_stage(stage, N_FRAMES, seed), replace(plan, seed=seed)


def _accused(tables: ConfusionTables) -> set[tuple[str, int]]:
    rows = tables.summary[tables.summary["state"] == "suspicion"]
    return set(zip(rows["role"], rows["concurrency"], strict=True))


def _key(row) -> tuple:
    return row.server, row.concurrency, row.block, row.frame_id


def _levels_line(keys: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{role} {level}" for role, level in sorted(keys)) or "no level"


def _of(count: int, n: int) -> str:
    return f"{count} of {n} ({count / n:.0%})" if n else "–"


def _share(count: int, n: int) -> str:
    ends = binomtest(count, n).proportion_ci(method="exact")
    return f"{count / n:.1%} ({ends.low:.1%} to {ends.high:.1%})"


def planted_grid() -> list[Plan]:
    """Every fault × share at one level, in one block and in three."""
    return [
        Plan(0, blocks=blocks, fault=fault, share=share, level=4)
        for fault in RIGHT_CAUSE
        for blocks in (1, 3)
        for share in SHARES
    ]


def special_plans() -> list[Plan]:
    """At level 1, at every level, and a level that is confused as a whole."""
    return [
        *(Plan(0, fault=fault, share=0.2, level=1) for fault in RIGHT_CAUSE),
        *(Plan(0, fault=fault, share=0.2) for fault in RIGHT_CAUSE),
        Plan(0, fault="replay_first", share=1.0, level=4),
        Plan(0, fault="replay_first", share=1.0),
        Plan(0, fault="replay_first", share=1.0, baseline=False),
    ]


def _print(title: str, make: Callable[[], pd.DataFrame]) -> None:
    print(f"## {title}\n\n{make().to_markdown(index=False, disable_numparse=True)}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clean-runs", type=int, default=200, help="clean runs of each kind")
    parser.add_argument("--runs", type=int, default=15, help="runs of each planted fault")
    parser.add_argument(
        "--no-servers", action="store_true", help="leave out the runs through simulated servers"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes that make runs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stage = read_stage(Path(folder))
        n_clean, jobs = asked.clean_runs, asked.jobs
        _print("Clean runs", lambda: clean_table(stage, n_clean, 1, n_jobs=jobs))
        _print("Clean runs, three blocks", lambda: clean_table(stage, n_clean, 3, ["usual"], jobs))
        _print("Planted at 4 in flight only", lambda: grid_table(stage, planted_grid(), asked.runs, jobs))
        _print(
            "At level 1, at every level, whole levels",
            lambda: grid_table(stage, special_plans(), asked.runs, jobs),
        )
        sick = [Plan(0, fault=fault, share=share, level=4) for fault in HEALTH_FLAG for share in SHARES]
        _print("Answer health", lambda: health_table(stage, sick, asked.runs))
        if not asked.no_servers:
            names = ("wrong_image", "replay_first", "duplicate", *HEALTH_FLAG)
            faults = ["", *(f"{name}:0.2@4" for name in names)]
            _print("Through simulated servers", lambda: served_table(Path(folder), faults))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    main()

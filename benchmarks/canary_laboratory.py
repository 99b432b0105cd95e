"""What canaries prove of planted leaks, and whom they accuse wrongly, through real simulated servers.

    .venv/bin/python -m benchmarks.canary_laboratory --runs 10 --clean-runs 40 --jobs 2

Prints Markdown tables. Each run opens a session of its own, with its own server process and seed, and sends
the canary phases only: 12 of the demo's screenshots and the canaries, 1 and then 4 in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pandas as pd
from scipy.stats import binomtest

from poc_lib.canary import is_canary, judge_canaries, list_leaks, summarize_canaries
from poc_lib.canary.judging import MISREAD_ONE
from poc_lib.canary.summary import LEAKED, NO_LEAK, READS_LESS, UNUSABLE, mixed_up_high, upper_bound
from poc_lib.demo import prepare_demo
from poc_lib.params import Params
from poc_lib.params_reading import validate_params
from poc_lib.runs import requests_table
from poc_lib.session import close_session, open_session
from poc_lib.sweep import measure

LEVELS = (1, 4)
PLANTED_AT = 4
FROM = 2  # in flight: at the level of 4, often only 2 or 3 requests stand at the server when one starts
N_FRAMES = 12
ABORT_SPEED = 8.0  # slow enough that a client can go away in mid-answer


@dataclass(frozen=True, slots=True)
class Setting:
    """What the runs of one row of a table have in common."""

    fault: str = ""  # NAME:SHARE@FROM; empty: a sound server
    canaries: int = 12
    aborts: bool = False  # also the phase canary_abort
    speed: float = 20.0

    @property
    def planted_in(self) -> str:
        """The only phase in which the fault can show."""
        return "canary_abort" if self.fault.startswith("leak_on_abort") else "canary"


@dataclass(frozen=True, slots=True)
class Found:
    """What the canaries made of one run."""

    n_planted: int  # requests that were hit
    n_provable: int  # of these, whole answers with the text of a canary not their own
    n_proven: int  # of these, listed as leaks with the right donor
    n_leaks: int  # all that was listed
    n_right: int  # of these, planted, with the right donor
    leak_here: bool  # a leak in the phase and at the level where the fault was planted
    leak_elsewhere: bool
    n_canaries_hit: int  # answered canaries, there, that were hit
    n_canaries: int  # answered canaries, there
    n_judged: int  # answers there that named a code
    n_misread: int  # in the whole run
    outcomes: tuple[str, ...]  # of every phase and level
    outcome: str  # there
    bound: float  # leak_rate_high there: of answers that named a code
    careful_bound: float  # mixed_up_high there: codes not read count as mixed up


def serve_canaries(folder: Path, setting: Setting, seed: int) -> tuple[pd.DataFrame, list[dict]]:
    """The requests of the canary phases of one run, and the candidate's GET /simulator/planted."""
    return asyncio.run(_serve(folder, setting, seed))


async def _serve(folder: Path, setting: Setting, seed: int) -> tuple[pd.DataFrame, list[dict]]:
    session = await open_session(_params(folder, setting, seed))
    session.cells = [cell for cell in session.cells if cell.phase.startswith("canary")]
    try:
        await measure(session)
        async with httpx.AsyncClient(trust_env=False) as client:
            url = session.servers[0].url.removesuffix("/v1") + "/simulator/planted"
            planted = (await client.get(url)).json()
    finally:
        close_session(session)
    return requests_table(session.run), planted


def _params(folder: Path, setting: Setting, seed: int) -> Params:
    name = setting.fault.replace(":", "-").replace("@", "-at-") or "clean"
    values = {"outputs_dir": str(folder), "run_id": f"{name}-{setting.canaries}-{setting.aborts}-{seed}"}
    values |= {"n_frames": N_FRAMES, "concurrency": list(LEVELS), "blocks": 1, "baseline_url": ""}
    values |= {"canaries": setting.canaries, "canary_aborts": setting.aborts, "repeat_image_frames": 0}
    values |= {"warmup_requests": 0, "warmup_per_cell": 0, "telemetry_every_s": 0.0}
    faults = [setting.fault] if setting.fault else []
    return validate_params(values | {"seed": seed, "demo_speed": setting.speed, "demo_faults": faults})


def examine_run(setting: Setting, requests: pd.DataFrame, planted: Sequence[dict]) -> Found:
    """Hold what the canaries found against what the server planted."""
    rows = _with_planted(requests, planted)
    hit = rows[rows["fault"].notna()]
    told = {_place(row): row.answered for row in hit.itertuples()}
    provable = {_place(row) for row in hit.itertuples() if _shows_another_code(row)}
    leaks = [(_place(row), row.donor_frame_id) for row in list_leaks(requests).itertuples()]
    right = {place for place, donor in leaks if told.get(place) == donor}
    where = (setting.planted_in, PLANTED_AT)
    summary = summarize_canaries(requests).set_index(["phase", "concurrency"])
    here = summary.loc[where]
    return Found(
        n_planted=len(hit),
        n_provable=len(provable),
        n_proven=len(provable & right),
        n_leaks=len(leaks),
        n_right=sum(told.get(place) == donor for place, donor in leaks),
        leak_here=any(place[:2] == where for place, _ in leaks),
        leak_elsewhere=any(place[:2] != where for place, _ in leaks),
        n_canaries_hit=sum(_is_answered_canary(row) and _place(row)[:2] == where for row in hit.itertuples()),
        n_canaries=int(here["n_canaries"]),
        n_judged=int(here["n_judged"]),
        n_misread=int((judge_canaries(requests)["judgement"] == MISREAD_ONE).sum()),
        outcomes=tuple(summary["outcome"]),
        outcome=here["outcome"],
        bound=float(here["leak_rate_high"]),
        careful_bound=mixed_up_high(here),
    )


def _with_planted(requests: pd.DataFrame, planted: Sequence[dict]) -> pd.DataFrame:
    """The requests, each with what was planted: the n-th about an image here is the n-th there."""
    rows = requests.sort_values("start_s", kind="stable")
    told = pd.DataFrame(planted)[["frame_id", "fault", "answered"]]
    rows, told = (table.assign(nth=table.groupby("frame_id").cumcount()) for table in (rows, told))
    return rows.merge(told, on=["frame_id", "nth"], how="left", validate="one_to_one")


def _place(row) -> tuple[str, int, str]:
    return row.phase, row.concurrency, row.frame_id


def _shows_another_code(row) -> bool:
    donor = row.answered if isinstance(row.answered, str) else ""
    return is_canary(donor) and donor != row.frame_id and pd.isna(row.error_class)


def _is_answered_canary(row) -> bool:
    return is_canary(row.frame_id) and pd.isna(row.error_class)


def make_runs(folder: Path, setting: Setting, n_runs: int, n_jobs: int = 1) -> list[Found]:
    """``n_runs`` runs of a setting with the seeds 0, 1, …"""
    prepare_demo(folder / "demo-data")  # once, before several processes would
    run = partial(_one_run, folder, setting)
    if n_jobs == 1:
        return [run(seed) for seed in range(n_runs)]
    with ProcessPoolExecutor(n_jobs) as pool:
        return list(pool.map(run, range(n_runs)))


def _one_run(folder: Path, setting: Setting, seed: int) -> Found:
    return examine_run(setting, *serve_canaries(folder, setting, seed))


def planted_row(setting: Setting, runs: Sequence[Found]) -> dict:
    """What was planted at 4 in flight only, and what was proven of it; one row of the first table."""
    provable, leaks = sum(run.n_provable for run in runs), sum(run.n_leaks for run in runs)
    with_one = [run for run in runs if run.n_provable]
    return {
        "planted": setting.fault,
        "canaries": setting.canaries,
        "runs": len(runs),
        "hit, per run": f"{sum(run.n_planted for run in runs) / len(runs):.1f}",
        "with another's code": provable,
        "proven": _of(sum(run.n_proven for run in runs), provable),
        "right donor": _of(sum(run.n_right for run in runs), leaks),
        "runs with a leak at 4": _of(sum(run.leak_here for run in runs), len(runs)),
        "of runs with one to prove": _of(sum(run.leak_here for run in with_one), len(with_one)),
        "leak elsewhere": sum(run.leak_elsewhere for run in runs),
    }


def missed_row(setting: Setting, runs: Sequence[Found]) -> dict:
    """What became of the runs: proven, doubted, or passed although something was hit."""
    outcomes = Counter(run.outcome for run in runs)
    passed = [run for run in runs if run.outcome == NO_LEAK and run.n_canaries_hit]
    return {
        "planted": setting.fault,
        "canaries": setting.canaries,
        "runs": len(runs),
        **{f'"{name}" at 4': outcomes[name] for name in (LEAKED, READS_LESS, UNUSABLE, NO_LEAK)},
        "no leak, though canaries were hit": len(passed),
        "hit there": _of(sum(r.n_canaries_hit for r in passed), sum(r.n_canaries for r in passed)),
        "leak_rate_high below it": sum(run.bound < _share_hit(run) for run in passed),
        "mixed_up_high below it": sum(run.careful_bound < _share_hit(run) for run in passed),
    }


def _share_hit(run: Found) -> float:
    return run.n_canaries_hit / run.n_canaries


def clean_row(setting: Setting, runs: Sequence[Found]) -> dict:
    """Runs without any leak planted: accusations, and whether they count as evidence."""
    with_leak = sum(run.n_leaks > 0 for run in runs)
    outcomes = Counter(outcome for run in runs for outcome in run.outcomes)
    return {
        "server": setting.fault or "sound",
        "canaries": setting.canaries,
        "given up": "some" if setting.aborts else "none",
        "runs": len(runs),
        "with a leak": with_leak,
        "share (95 %)": _share(with_leak, len(runs)),
        "misread, per run": f"{sum(run.n_misread for run in runs) / len(runs):.1f}",
        "phases and levels": "; ".join(f"{n} × {outcome}" for outcome, n in outcomes.items()),
    }


def bounds_rows(numbers: Iterable[int] = (6, 12, 24, 48, 96)) -> list[dict]:
    """What a level without any leak excludes, by the answers that named a code."""
    return [
        {"answers that named a code": n, "leaks": 0, "mixed up, below": f"{upper_bound(0, n):.1%}"}
        for n in numbers
    ]


def planted_settings() -> list[Setting]:
    """Every fault at 4 in flight only."""
    return [
        *(Setting(f"wrong_image:{share}@{FROM}", n) for share in (0.05, 0.2) for n in (12, 24)),
        *(Setting(f"replay_first:{share}@{FROM}") for share in (0.2, 1)),
        *(Setting(f"duplicate:{share}@{FROM}") for share in (0.2, 1)),
        *(Setting(f"leak_on_abort:{share}@{FROM}", aborts=True, speed=ABORT_SPEED) for share in (0.5, 1)),
    ]


def _of(count: int, n: int) -> str:
    return f"{count} of {n} ({count / n:.0%})" if n else "–"


def _share(count: int, n: int) -> str:
    ends = binomtest(count, n).proportion_ci(method="exact")
    return f"{count / n:.1%} ({ends.low:.1%} to {ends.high:.1%})"


def _print(title: str, rows: Iterable[dict]) -> None:
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    print(f"## {title}\n\n{table}\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10, help="runs of each planted fault and weak reader")
    parser.add_argument("--clean-runs", type=int, default=40, help="runs with a sound server")
    parser.add_argument("--jobs", type=int, default=1, help="processes that make runs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make: Callable = partial(make_runs, Path(folder), n_jobs=asked.jobs)
        clean = [(Setting(), make(Setting(), asked.clean_runs))]
        weak = [Setting(aborts=True, speed=ABORT_SPEED), Setting("misread:0.5"), Setting("blind")]
        clean += [(one, make(one, asked.runs)) for one in weak]
        _print("Without a leak", [clean_row(*pair) for pair in clean])
        _print("What a level without a leak excludes", bounds_rows())
        planted = [(one, make(one, asked.runs)) for one in planted_settings()]
        _print("Planted at 4 in flight only", [planted_row(*pair) for pair in planted])
        _print("What became of these runs", [missed_row(*pair) for pair in planted])


if __name__ == "__main__":
    main()

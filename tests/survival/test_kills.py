"""kill -9 at any moment: the same run goes on, nothing is lost or doubled, what was cut is measured again."""

import asyncio
import random
import time
from collections import Counter

import orjson
import psutil

from poc_lib.analysis import analyse
from poc_lib.measure.experiment import run_all
from poc_lib.runs import read_damage
from tests.lean import MEASURED, whole_lines
from tests.survival.children import lean_params, measuring_child

SIZES = {"pilot": 8, "proof": 4, "confirm": 16}  # requests of a unit, which is measured again whole


def moments(seed: int) -> list[tuple[str, int, float]]:
    """When to kill: at which write to which file, after which share of the data."""
    draw = random.Random(seed)
    later = [("requests.jsonl", draw.randint(2, 40), draw.choice((draw.random(), 1.0))) for _ in range(5)]
    later += [("events.jsonl", draw.randint(3, 6), draw.random())]
    draw.shuffle(later)
    return [("frames.jsonl", 1, 0.5), ("run.json", 1, 0.9), ("events.jsonl", 1, 0.3), *later]


def unit_of(row: dict) -> tuple:
    return row["phase"], row["block"], *([row["server"]] if row["phase"] != "confirm" else [])


def test_whatever_the_moment_of_the_kill_nothing_is_lost_or_doubled_or_sent_again(tmp_path, urls):
    params = lean_params(tmp_path / "killed", max_blocks=3, proof_frames=4, **urls)
    requests, seen = tmp_path / "killed" / "requests.jsonl", []
    plan = moments(seed=12)
    for moment in plan:
        with measuring_child(params, dies=moment) as child:
            child.join(60)
            assert child.exitcode == -9, f"the run ended before it was killed: {moment}"
        seen.append(whole_lines(requests))
    requests.write_bytes(b'{"request_id":"torn\n' + requests.read_bytes())  # as a power cut may leave it
    run = asyncio.run(run_all(params))

    final = whole_lines(requests)
    assert all(final[: len(lines)] == lines for lines in seen)
    damage, n_halves = read_damage(run), sum(m[0] == "requests.jsonl" and m[2] < 1 for m in plan)
    assert (damage.n_doubled, damage.n_broken) == (0, n_halves + 1)
    analysis = analyse(run)
    ended = {unit_of(event): event["sitting"] for event in analysis.events if event["event"] == "cell_ended"}
    sent = {unit: Counter() for unit in ended}
    for row in (row for row in map(orjson.loads, final) if row["phase"] in MEASURED):
        sent[unit_of(row)][row["sitting"]] += 1
    for unit, sittings in sent.items():
        assert max(sittings) == ended[unit], f"{unit} was sent again after it had ended"
        assert sittings[ended[unit]] == SIZES[unit[0]], f"{unit} was not measured whole"
    assert sum(len(sittings) > 1 for sittings in sent.values()) >= 3  # units that were cut, and repeated
    assert analysis.answers["complete"].sum() == sum(SIZES[unit[0]] for unit in sent)
    assert analysis.blocks["n_frames"].tolist() == [8] * 3
    assert any(finding.about == "interruption" for finding in analysis.findings)


def test_a_killed_run_takes_its_servers_and_its_sampler_along(tmp_path):
    with measuring_child(lean_params(tmp_path / "orphans")) as child:
        parent, started = psutil.Process(child.pid), []
        while len(started) < 4:  # two simulated servers, the paced one, the sampler
            assert child.is_alive()
            time.sleep(0.01)
            started = parent.children(recursive=True)
        child.kill()
        _, alive = psutil.wait_procs(started, timeout=20)
        for process in alive:
            process.kill()
    assert not alive

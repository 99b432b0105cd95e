"""What is said of an unfair comparison, of failures, interruptions and the instrument; and what is not."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from poc_lib import metrics
from poc_lib.metrics import COLUMNS
from poc_lib.metrics.fairness import fairness_findings, is_serial, open_loop_findings
from poc_lib.runs import Damage, read_damage, read_events, read_frames, read_requests, read_run
from poc_lib.telemetry import telemetry_table

FROZEN = Path(__file__).parent / "frozen"
BASE = {"name": "ollama", "role": "baseline", "api": "ollama", "model": "qwen3-vl:4b", "version": "0.12"}
OURS = {"name": "vllm-mlx", "role": "candidate", "api": "openai", "model": "Qwen3-VL-4B", "version": "0.6.0"}
FACTS = {"servers": [BASE | {"details": {}}, OURS | {"details": {}}], "params": {"recorded_s_per_frame": 8.0}}
FACTS |= {"frames": [{"frame_id": f"f{i}"} for i in range(24)]}
NAMES = {"ollama": "baseline", "vllm-mlx": "candidate"}


def rows_of(server: str, level: int, at: int, **more) -> list[dict]:
    """The answers of one confirmation cell to 12 frames, fresh in each block, alike on both sides."""
    usual = dict.fromkeys(COLUMNS) | {
        "server": server, "role": NAMES[server], "concurrency": level, "phase": "confirm", "block": at,
        "sitting": 0, "output_tokens": 50.0, "prompt_tokens": 600.0, "reasoning_chars": 0, "complete": True,
        "lag_s": 0.001, "ttft_s": 0.5, "total_s": 1.0, "arrivals": "closed", "text": "a text",
    }  # fmt: skip
    return [usual | {"frame_id": f"f{12 * at + i}", "start_s": 1.0 * i} | more for i in range(12)]


def run_of(candidate: dict | None = None, baseline: dict | None = None) -> pd.DataFrame:
    """Two confirmation blocks; what is given replaces a side's columns."""
    sides = (("ollama", 1, baseline or {}), ("vllm-mlx", 4, candidate or {}))
    rows = [row for at in (0, 1) for name, level, more in sides for row in rows_of(name, level, at, **more)]
    return pd.DataFrame(rows).astype({"error_class": "str", "code": "str", "error_message": "str"})


def level_row(server: str, level: int, **more) -> dict:
    usual = dict.fromkeys(metrics.LEVEL_COLUMNS, math.nan) | {"server": server, "role": NAMES[server]}
    usual |= {"concurrency": level, "chosen": True, "ttft_p50_s": 0.5, "in_flight_mean": 0.95 * level}
    return usual | more


LEVELS = pd.DataFrame([level_row("vllm-mlx", 4, ttft_p50_s=1.0), level_row("ollama", 1)])


def findings_of(answers=None, levels=LEVELS, events=(), facts=None, samples=(), damage=(0, 0)) -> list:
    answers = run_of() if answers is None else answers
    telemetry = telemetry_table([{"sitting": 0, "source": "machine", **sample} for sample in samples])
    return fairness_findings(answers, levels, list(events), FACTS | (facts or {}), telemetry, Damage(*damage))


def said_of(*args, **kwargs) -> list[tuple[str, str]]:
    """State and text of what is not fine."""
    return [(found.state, found.text) for found in findings_of(*args, **kwargs) if found.state != "ok"]


def cell(block: int, before: dict, after: dict, **more) -> list[dict]:
    """The events of a confirmation cell of 12 requests, with the server's counters before and after."""
    place = {"server": "vllm-mlx", "concurrency": 4, "block": block, "phase": "confirm", "sitting": 0}
    place |= {"rate_per_s": None, "requests": 12, "cache_cleared": True, "stopped_because": None} | more
    started, ended = {"event": "cell_started", **place}, {"event": "cell_ended", "not_sent": 0, **place}
    return [started | {"counters": before}, ended | {"counters": after}]


def test_of_a_fair_run_nothing_is_told():
    assert findings_of() == []


@pytest.mark.parametrize(
    ("candidate", "baseline", "state", "start"),
    [
        ({"output_tokens": 75.0}, {}, "warning", "vllm-mlx wrote 75 tokens an answer, ollama 50 (n = 24 fr"),
        ({}, {"output_tokens": 58.0}, "note", "vllm-mlx wrote 50 tokens an answer, ollama 58 (n = 24 frame"),
        ({"prompt_tokens": 300.0}, {}, "warning", "Of the same frame vllm-mlx read 300 tokens, ollama 600"),
        ({"reasoning_chars": 90}, {}, "warning", "100% of vllm-mlx's and 0% of ollama's answers began with"),
        ({"reasoning_chars": 9}, {"reasoning_chars": 9}, "note", "100% of vllm-mlx's and 100% of ollama's"),
        ({"output_tokens": 54.0}, {"prompt_tokens": 0.0}, None, ""),
        ({"reasoning_chars": 90}, {"error_class": "timeout"}, "warning", "ollama, 1 in flight: 24 of 24"),
    ],
)
def test_answers_that_are_unlike_in_what_they_cost_are_told(candidate, baseline, state, start):
    said = said_of(run_of(candidate, baseline))
    assert [told for told, _ in said] == ([state] if state else [])
    assert all(text.startswith(start) for _, text in said)


def test_answers_that_were_cut_are_told_once_a_server_where_most_were():
    rows = [level_row("ollama", 1, cut_rate=0.004), level_row("vllm-mlx", 1, chosen=False, cut_rate=0.05)]
    few, most = findings_of(levels=pd.DataFrame([*rows, level_row("vllm-mlx", 4, cut_rate=0.25)]))
    assert (few.state, few.to_do, few.server, few.level) == ("note", "", "ollama", 1)
    assert most.text == "25.0% of vllm-mlx's answers at 4 in flight were cut at max_tokens."
    assert (most.state, most.to_do) == ("warning", "Raise max_tokens.")


def test_quantisations_are_compared_by_their_bits():
    ollama = BASE | {"details": {"details": {"quantization_level": "Q4_K_M"}}}
    unlike = OURS | {"model": "Qwen3-VL-4B-3bit", "details": {}}
    ((_, text),) = said_of(facts={"servers": [ollama, unlike]})
    assert text.startswith("The model of vllm-mlx is quantised as 3bit, that of ollama as Q4_K_M")
    assert said_of(facts={"servers": [ollama, unlike | {"model": "Qwen3-VL-4B-4bit"}]}) == []
    assert said_of(facts={"servers": [ollama, unlike | {"model": "Qwen3-VL-4B"}]}) == []


def test_a_recorded_baseline_is_told():
    said = said_of(run_of().query("role == 'candidate'"), facts={"servers": FACTS["servers"][1:]})
    assert said == [("warning", "No baseline was measured: 8.0 s a frame was recorded elsewhere.")]


@pytest.mark.parametrize(
    ("server", "serial"),
    [
        (BASE | {"details": {}}, True),
        (BASE | {"model": "vision", "details": {"details": {"family": "qwen3vl"}}}, True),
        (BASE | {"model": "gemma3:4b", "details": {}}, False),
        (BASE | {"api": "openai", "model": "qwen3-vl", "details": {}}, False),
        (BASE | {"api": "openai", "model": "x", "details": {"health": {"engine_type": "simple"}}}, True),
    ],
)
def test_a_baseline_that_was_asked_one_at_a_time_is_a_straw_man_unless_it_takes_no_more(server, serial):
    assert is_serial(server) == serial
    warned = any("one request at a time only" in text for _, text in said_of(facts={"servers": [server]}))
    assert warned != serial
    more = pd.DataFrame([level_row("ollama", 1), level_row("ollama", 4, chosen=False)])
    assert not any("one request" in text for _, text in said_of(levels=more, facts={"servers": [server]}))


@pytest.mark.parametrize(
    ("first_s", "again_s", "cleared", "state"),
    [(1, 0.2, False, "warning"), (1, 0.9, False, None), (None, None, False, "note"), (1, 0.2, True, None)],
)
def test_a_frame_that_a_cache_knows_is_told_unless_that_gave_nothing(first_s, again_s, cleared, state):
    rows = rows_of("vllm-mlx", 4, 0, server_prefill_s=first_s)
    rows += rows_of("vllm-mlx", 4, 0, server_prefill_s=again_s, block=1)
    events = [event for block in (0, 1) for event in cell(block, {}, {}, cache_cleared=cleared)]
    said = [(told, text) for told, text in said_of(pd.DataFrame(rows), events=events) if "caches" in text]
    assert [told for told, _ in said] == ([state] if state else [])
    assert not said or said[0][1].endswith("(medians)." if state == "warning" else "sent a known frame.")


def test_a_server_that_is_another_one_in_a_later_sitting_is_told_once_per_sitting():
    began = {"servers": [OURS | {"details": {"process": {"flags": {"max-num-seqs": 8}}}}]}
    later = {"servers": [OURS | {"details": {"process": {"flags": {}}}}]}
    later |= {"event": "sitting_started", "sitting": 1}
    ended = {"event": "sitting_ended", "sitting": 1}
    said = [text for _, text in said_of(facts=began, events=[later, ended]) if "another one" in text]
    assert said == ["vllm-mlx was another one in sitting 2: 0.6.0 {'max-num-seqs': 8}, then 0.6.0 {}."]
    assert "another" not in str(said_of(facts=began, events=[later | began, ended]))


def test_telemetry_that_broke_off_is_told():
    events = [{"event": "telemetry_failed", "sitting": 0, "problem": "OSError: gone"}]
    assert ("warning", "Servers and machine were not watched to the end of sitting 1: OSError: gone.") in [
        (state, text) for state, text in said_of(events=events)
    ]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ((12, 600), []),
        ((20, 600), ["20 requests where this run counted 12"]),
        ((12, 500), ["500 output tokens where this run counted 600"]),
        ((), []),
    ],
)
def test_a_servers_own_counts_are_held_against_ours(after, expected):
    names = ("requests_total", "output_tokens_total")
    events = cell(0, dict.fromkeys(names, 0), dict(zip(names, after, strict=False)))
    texts = [text for _, text in said_of(events=events)]
    assert [text.partition(":")[0] for text in texts] == [f"vllm-mlx counted {part}" for part in expected]


def test_counts_after_a_cell_that_lost_or_gave_up_requests_are_not_compared():
    answers = run_of()
    answers.loc[12, "error_class"] = "aborted"  # of vllm-mlx
    events = cell(0, {"requests_total": 0}, {"requests_total": 11})
    events += cell(1, {"requests_total": 11}, {"requests_total": 30})
    assert said_of(answers, events=events) == []


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([{"swap_used_gb": 1.0}, {"swap_used_gb": 3.5}], ["Swap grew by 2.5 GB meanwhile."]),
        ([{"swap_used_gb": 3.0}, {"swap_used_gb": 1.0}], []),
        ([{"thermal": 100}, {"thermal": 70}], ["The chip was slowed to 70 % in 1 of 2 samples: it was hot."]),
        (
            [{"on_battery": 0}, {"on_battery": 1}],
            ["On battery in 1 of 2 samples, where a chip may be slower."],
        ),
        ([{"on_battery": 0}, {"on_battery": None}], []),
        ([{"source": "process", "swap_used_gb": 1.0}, {"source": "process", "swap_used_gb": 9.0}], []),
    ],
)
def test_what_the_machine_did_meanwhile_is_told(samples, expected):
    assert said_of(samples=samples) == [("warning", text) for text in expected]


def test_blocks_that_share_frames_are_told():
    twice = pd.concat([run_of(), run_of().assign(block=lambda rows: rows["block"] + 2)], ignore_index=True)
    thrice = pd.concat([twice, run_of().assign(block=lambda rows: rows["block"] + 4)], ignore_index=True)
    for answers, state, most in ((twice, "note", 2), (thrice, "warning", 3)):
        ((found, text),) = said_of(answers)
        assert found == state
        assert text.startswith(f"{2 * most} blocks of 12 frames sent 24 different ones, each up to {most} ti")


def test_failures_are_counted_by_class_with_the_first_message_and_what_was_not_sent():
    answers = run_of()
    lost = answers["server"].eq("vllm-mlx") & answers["block"].eq(0)
    answers.loc[lost, ["error_class", "error_message"]] = ["busy", "it is busy"]
    answers.loc[answers.index[-1], "error_class"] = "aborted"
    early = cell(0, {}, {})
    early[1] |= {"not_sent": 7, "stopped_because": "10 failures in a row"}
    (found,) = [found for found in findings_of(answers, events=early) if found.about == "failures"]
    text = "vllm-mlx, 4 in flight: 12 of 24 requests failed (busy), 7 more were not sent. First: it is busy"
    assert (found.text, found.server, found.level) == (text, "vllm-mlx", 4)
    assert "continuous batching" in found.to_do


@pytest.mark.parametrize(
    ("events", "state", "text"),
    [
        (["started 0", "stopped 0", "ended 0"], "warning", "Sitting 1 was stopped (interrupted) after 48 r"),
        (["started 0"], "warning", "Sitting 1 broke off after 48 requests, 2 of which are in no rate"),
        (["started 0", "started 1", "finished 1"], "note", "Sitting 1 broke off after 48 requests, 2 of"),
        (["started 0", "finished 0"], None, ""),
        (["started 0", "ended 0"], None, ""),
    ],
)
def test_a_sitting_that_broke_off_is_told(events, state, text):
    answers = run_of()
    answers.loc[:1, "complete"] = False
    noted = [(f"sitting_{what}".replace("sitting_fin", "fin"), int(n)) for what, n in map(str.split, events)]
    noted = [{"event": name, "sitting": sitting, "because": "interrupted"} for name, sitting in noted]
    said = said_of(answers, events=noted)
    assert [found for found, _ in said] == ([state] if state else [])
    assert not said or said[0][1].startswith(text)


def test_lines_that_are_broken_or_doubled_are_told():
    ((state, text),) = said_of(damage=(3, 0))
    assert (state, text[:33]) == ("note", "Left out: 3 half-written lines, 0")
    assert said_of(damage=(0, 2))[0][0] == "warning"


@pytest.mark.parametrize(("added_s", "state"), [(0.0014, "ok"), (0.04, "warning")])
def test_what_the_instrument_adds_is_one_line_and_too_much_of_it_is_marked(added_s, state):
    added = {"added_ttft_p50_s": added_s, "added_ttft_p99_s": 2 * added_s}
    events = [{"event": "instrument", "sitting": 0, "concurrency": level, **added} for level in (1, 4, 64)]
    events[0]["processes"] = 3
    levels = LEVELS.assign(added_ttft_share=added_s / LEVELS["ttft_p50_s"])
    (found,) = findings_of(levels=levels, events=events)
    assert found.state == state
    assert found.text.startswith(f"The instrument adds at most {1e3 * added_s:.1f} ms (median; p99 ")
    assert f"at 1 in flight, sent by 3 processes: {added_s / 0.5:.1%} of what was measured." in found.text
    assert ("Over 2%: ollama at 1, vllm-mlx at 4." in found.text) == (state == "warning")


def test_late_times_and_idle_slots_are_told():
    answers = run_of()
    answers.loc[0, "lag_s"] = 0.13
    idle = pd.DataFrame([level_row("ollama", 1), level_row("vllm-mlx", 8, in_flight_mean=5.1)])
    late, few = findings_of(answers, idle)
    assert (late.state, late.text[:46]) == ("warning", "1 of 48 requests were timed while this client'")
    assert (few.text, few.level) == ("vllm-mlx, 8 in flight: 5.1 really were, on average.", 8)


def test_a_run_without_any_answer_has_its_findings():
    empty = run_of().head(0)
    levels = metrics.summarize_levels(empty, {})
    assert findings_of(empty, levels) == []
    assert "No baseline" in str(findings_of(empty, levels, facts={"servers": FACTS["servers"][1:]}))


@pytest.mark.parametrize("name", ["clean", "faults", "hostile", "interrupted", "no_references", "recorded"])
def test_runs_of_the_first_edition_have_their_findings(name):
    run = read_run(FROZEN / name)
    events = read_events(run)
    answers = metrics.judge_answers(read_requests(run), read_frames(run), events)
    levels, none = metrics.summarize_levels(answers, {}), telemetry_table([])
    found = fairness_findings(answers, levels, events, run.facts, none, read_damage(run))
    expected = json.loads((FROZEN / name / "expected.json").read_text())
    n_failed = sum(level["n_failed"] for level in expected["levels"])
    failures = [each.text.partition(" in flight: ")[2] for each in found if each.about == "failures"]
    assert sum(int(text.partition(" of ")[0]) for text in failures) == n_failed
    assert any(each.about == "interruption" for each in found) == (name == "interrupted")
    assert any("No baseline" in each.text for each in found) == (name == "recorded")


@pytest.mark.parametrize(
    ("limits_s", "n_failed", "state", "says"),
    [
        ((0, 0), 1, "note", "99 of 100 answered."),
        ((1.2, 2.0), 1, "warning", "99 of 100 answered; the service level is not decided: kept by 99% ("),
        ((1.2, 2.0), 0, "ok", "100 of 100 answered; the service level holds: kept by 100% (96 to 100"),
        ((0.6, 0), 0, "problem", "100 of 100 answered; the service level does not hold: kept by 0% (0 to 4"),
    ],
)
def test_an_open_loop_is_judged_from_the_due_moment_on(limits_s, n_failed, state, says):
    answers = pd.DataFrame(rows_of("vllm-mlx", 64, 0, phase="open_loop", rate_per_s=2.0, due_s=0.0)[:1] * 100)
    answers = answers.assign(start_s=0.5, error_class=["timeout"] * n_failed + [None] * (100 - n_failed))
    (found,) = open_loop_findings(answers, *limits_s)
    latency = "TTFT p50 1.00 s, answer p95 1.50 s from the due moment"
    assert found.state == state
    assert found.text.startswith(f"Open loop, vllm-mlx at 2 arrivals/s: {latency}, {says}")

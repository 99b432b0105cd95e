"""Samples as a table, and their summary per level."""

import math

import pytest

from poc_lib.telemetry import summarize_telemetry, telemetry_table
from tests.builders import failed, reply, table

CELL = {"server": "vllm-mlx", "concurrency": 4, "block": 0, "sitting": 0}


def server_sample(answered_s: float, asked_s: float | None = None, **figures) -> dict:
    asked_s = answered_s if asked_s is None else asked_s
    base = {"sitting": 0, "source": "server", "server": "vllm-mlx"}
    return base | {"asked_s": asked_s, "answered_s": answered_s} | figures


def host_sample(at_s: float, **figures) -> dict:
    return {"sitting": 0, "source": "host", "asked_s": at_s, "answered_s": at_s} | figures


def process_sample(at_s: float, rss_gb: float, **more) -> dict:
    return host_sample(at_s) | {"source": "process", "server": "vllm-mlx", "rss_gb": rss_gb} | more


def cell_events(before: dict, after: dict, **changes) -> list[dict]:
    cell = CELL | changes
    return [
        {"event": "cell_started", **cell, "counters": before},
        {"event": "cell_ended", **cell, "counters": after},
    ]


def level(start_s: float = 10.0, concurrency: int = 4, **changes) -> list:
    """Two answers in flight together: the cell's window is 2.5 s long."""
    both = {"concurrency": concurrency} | changes
    return [reply("a", start_s=start_s, **both), reply("b", start_s=start_s + 0.5, **both)]


def summarize(samples, replies, events=()):
    return summarize_telemetry(telemetry_table(samples), table(replies), events)


def only_row(samples, replies, events=()):
    rows = summarize(samples, replies, events)
    assert len(rows) == 1
    return rows.iloc[0]


def test_a_table_of_no_samples_has_all_columns_and_sums_up_to_not_known():
    row = only_row([], level())
    assert row["n_samples"] == row["n_machine_samples"] == 0
    figures = row.drop(["server", "role", "concurrency", "client_output_tokens"])
    known = [
        name for name, value in figures.items() if not name.startswith("n_") and value == value and value
    ]
    assert known == []


def test_a_cell_has_the_samples_that_were_answered_while_it_ran():
    samples = [server_sample(t, num_running=t) for t in (9.9, 10.0, 12.5, 12.6)]
    row = only_row(samples, level())
    assert row["n_samples"] == 2
    assert row["running_max"] == 12.5


def test_a_late_answer_counts_when_it_comes_and_says_how_late_it_was():
    late = server_sample(12.0, asked_s=9.5, num_waiting=3)
    row = only_row([late, server_sample(11.0, num_waiting=0)], level())
    assert (row["waiting_max"], row["answer_max_s"]) == (3, 2.5)


def test_a_question_that_was_never_answered_belongs_to_no_cell():
    asked = {"sitting": 0, "source": "server", "server": "vllm-mlx", "asked_s": 11.0, "error": "no answer"}
    assert only_row([asked, server_sample(11.0)], level())["n_samples"] == 1


def test_the_same_second_of_another_sitting_is_another_moment():
    row = only_row([server_sample(11.0, sitting=1), host_sample(11.0, sitting=1)], level())
    assert row["n_samples"] == row["n_machine_samples"] == 0


def test_another_servers_figures_stay_with_that_server():
    other = server_sample(11.0, num_running=7) | {"server": "ollama"}
    assert math.isnan(only_row([other], level())["running_max"])


def test_levels_and_roles_have_rows_of_their_own():
    replies = level(10.0) + level(20.0, concurrency=8) + level(30.0, server="ollama", role="baseline")
    samples = [server_sample(11.0, num_running=4), server_sample(21.0, num_running=8)]
    rows = summarize(samples, replies)
    assert rows[["server", "role", "concurrency"]].values.tolist() == [
        ["vllm-mlx", "candidate", 4],
        ["vllm-mlx", "candidate", 8],
        ["ollama", "baseline", 4],
    ]
    assert rows["running_max"].tolist()[:2] == [4, 8]


def test_repeats_of_a_level_are_put_together_without_the_time_between_them():
    replies = level(10.0) + level(100.0, block=1)
    row = only_row([server_sample(t) for t in (11.0, 50.0, 101.0)], replies)
    assert (row["n_samples"], row["n_windows"]) == (2, 2)


def test_warm_up_is_no_level():
    replies = [*level(), reply("w", phase="warmup", start_s=0.0)]
    assert only_row([server_sample(0.5), server_sample(11.0)], replies)["n_samples"] == 1


@pytest.mark.parametrize(
    ("samples", "memory_gb", "source"),
    [
        ([server_sample(11.0, mlx_peak_gb=3.9, size_vram_gb=1.0), process_sample(11.0, 2.0)], 3.9, "MLX"),
        ([server_sample(11.0, size_vram_gb=1.0), process_sample(11.0, 2.0)], 2.0, "resident"),
        ([server_sample(11.0, size_vram_gb=1.0), server_sample(12.0, size_vram_gb=1.5)], 1.5, "size_vram"),
    ],
)
def test_memory_is_the_best_figure_known_and_says_which(samples, memory_gb, source):
    row = only_row(samples, level())
    assert row["memory_peak_gb"] == memory_gb
    assert source in row["memory_source"]


def test_the_machines_figures_are_means_and_extremes():
    samples = [
        host_sample(11.0, cpu_pct=20.0, memory_available_gb=9.0, gpu_util_pct=50, gpu_power_w=100.0),
        host_sample(12.0, cpu_pct=60.0, memory_available_gb=7.0, gpu_util_pct=90, gpu_power_w=300.0),
        host_sample(13.0, cpu_pct=99.0, memory_available_gb=1.0, gpu_util_pct=99, gpu_power_w=999.0),
    ]
    row = only_row(samples, level())
    assert (row["n_machine_samples"], row["cpu_mean_pct"], row["memory_available_min_gb"]) == (2, 40, 7)
    assert (row["gpu_util_mean_pct"], row["gpu_util_max_pct"]) == (70, 90)
    assert (row["gpu_power_mean_w"], row["gpu_power_max_w"]) == (200, 300)
    assert math.isnan(row["soc_power_mean_w"])


def test_the_servers_own_count_stands_beside_the_clients():
    events = cell_events({"completion_tokens_total": 199}, {"completion_tokens_total": 583})
    row = only_row([], level(), events)
    assert (row["server_output_tokens"], row["client_output_tokens"]) == (384, 62)
    assert (row["n_windows"], row["n_windows_counted"]) == (1, 1)


def test_counters_of_answers_that_ended_well_do_where_there_are_no_others():
    name = "answered_completion_tokens_total"
    assert only_row([], level(), cell_events({name: 5}, {name: 67}))["server_output_tokens"] == 62


def test_failed_answers_have_no_client_tokens():
    replies = [*level(), failed("c", start_s=10.0, concurrency=4)]
    assert only_row([], replies)["client_output_tokens"] == 62


def test_an_answer_without_a_count_leaves_the_clients_sum_unknown():
    replies = [*level(), reply("c", start_s=10.0, concurrency=4, output_tokens=None)]
    assert math.isnan(only_row([], replies)["client_output_tokens"])


@pytest.mark.parametrize(
    "events",
    [
        cell_events({}, {"completion_tokens_total": 583}),
        cell_events({"completion_tokens_total": 199}, {}),
        cell_events({"completion_tokens_total": 199}, {"completion_tokens_total": 12}),  # started anew
        cell_events({"completion_tokens_total": 199}, {"completion_tokens_total": 583})[:1],  # broke off
        cell_events({"completion_tokens_total": 199}, {"completion_tokens_total": 583}, sitting=1),
        [{"event": "cell_started", "cell": "of an older version"}, {"event": "sitting_ended"}],
    ],
)
def test_without_both_counters_the_servers_count_is_not_known(events):
    row = only_row([], level(), events)
    assert math.isnan(row["server_output_tokens"])
    assert row["n_windows_counted"] == 0


def test_a_cell_in_two_sittings_is_counted_only_when_both_were():
    replies = level(10.0) + level(3.0, sitting=1)
    first = cell_events({"completion_tokens_total": 0}, {"completion_tokens_total": 62})
    second = cell_events({"completion_tokens_total": 70}, {"completion_tokens_total": 132}, sitting=1)
    assert math.isnan(only_row([], replies, first)["server_output_tokens"])
    assert only_row([], replies, first + second)["server_output_tokens"] == 124

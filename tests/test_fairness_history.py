from poc_lib.telemetry.tables import telemetry_table
from tests.builders import reply
from tests.test_fairness import OURS, THEIRS, lines, ollama, only


def cell(event, server="vllm-mlx", block=0, **facts):
    words = f"{server}, 1 in flight, block {block + 1}"
    return {
        "event": event,
        "server": server,
        "cell": words,
        "sitting": 0,
        "concurrency": 1,
        "block": block,
    } | facts


def cleared(ours, theirs):
    return [
        cell("cell_started", server, block, cache_cleared=given)
        for server, all_given in (("vllm-mlx", ours), ("ollama", theirs))
        for block, given in enumerate(all_given)
    ]


TWO_BLOCKS = [reply(), reply(block=1, start_s=2), ollama(), ollama(block=1, start_s=2)]


def test_caches_kept_on_one_side_are_a_warning_where_frames_were_sent_again():
    line = only(*TWO_BLOCKS, events=cleared([True, True], [False, None]), about="cache")
    assert line.text == "ollama's caches were not cleared before 2 of its 2 cells, vllm-mlx's were."
    assert line.severity == "warning"
    once = only(events=cleared([True], [False]), about="cache")
    assert once.severity == "note"


def test_caches_kept_on_both_sides_are_notes():
    found = lines(*TWO_BLOCKS, events=cleared([False, True], [False, False]), about="cache")
    assert [line.severity for line in found] == ["note", "note"]
    assert "1 of its 2 cells." in found[0].text


def test_the_pass_that_keeps_caches_on_purpose_is_no_unfairness():
    events = [cell("cell_started", cache_cleared=None, phase="repeat_image")]
    assert not lines(*TWO_BLOCKS, events=events, about="cache")


def test_cache_hits_that_a_server_counts_are_a_warning():
    events = [
        cell("cell_started", cache_cleared=True, counters={"prefix_cache_hits": 3, "requests_total": 1}),
        cell("cell_ended", counters={"prefix_cache_hits": 8, "requests_total": 9}),
    ]
    line = only(events=events, about="cache")
    assert "vllm-mlx counted 5 cache hits (prefix_cache_hits)" in line.text
    assert line.severity == "warning"
    samples = telemetry_table([{"server": "ollama", "source": "server"}] * 2).assign(cache_hits=[2.0, 6.0])
    assert "ollama counted 4 cache hits" in only(telemetry=samples, about="cache").text


def test_a_known_frame_that_was_read_far_too_fast_is_a_warning():
    first = [ollama(f"f{i}", start_s=2.0 * i, server_prefill_s=1.0) for i in range(3)]
    again = [
        ollama(f"f{i}", start_s=9.0 + i, block=1, server_prefill_s=s) for i, s in enumerate((0.1, 0.2, 0.9))
    ]
    line = only(reply(), *first, *again, about="cache")
    assert (
        "ollama read 2 of 3 frames that it had seen before in less than 30% of the usual 1.00 s" in line.text
    )
    assert "speed-ups against it are too small" in line.detail
    assert not lines(reply(), *first, about="cache")


def test_first_tokens_under_load_are_no_sign_of_a_cache():
    first = [reply(f"f{i}", start_s=2.0 * i, ttft_s=1.0) for i in range(3)]
    loaded = [reply(f"f{i}", concurrency=4, start_s=9.0, ttft_s=0.1) for i in range(3)]
    alone = [reply(f"f{i}", block=1, start_s=20.0, ttft_s=0.1) for i in range(3)]
    assert not lines(*first, *loaded, ollama(), about="cache")
    assert "vllm-mlx read 3 of 3" in only(*first, *alone, ollama(), about="cache").text


def snapshots(*values, name="requests_total"):
    """Counters at the ends of one cell after another, as (sitting, value)."""
    return [
        cell("cell_ended", block=i, counters={name: v}) | {"sitting": s} for i, (s, v) in enumerate(values)
    ]


def test_a_counter_that_fell_within_a_sitting_means_a_restart():
    line = only(events=snapshots((0, 10), (0, 20), (0, 4), (0, 9)), about="server restarted")
    assert "anew within a sitting, before or during vllm-mlx, 1 in flight, block 3" in line.text
    assert "requests_total fell from 20 to 4" in line.text
    assert line.severity == "warning"


def test_a_restart_between_sittings_is_a_note():
    assert only(events=snapshots((0, 10), (1, 4)), about="server restarted").severity == "note"


def test_growing_counters_other_servers_and_gauges_are_no_restart():
    assert not lines(events=snapshots((0, 10), (0, 10), (0, 30)), about="server restarted")
    other = [cell("cell_ended", "ollama", counters={"requests_total": 1})]
    assert not lines(events=[*snapshots((0, 10)), *other], about="server restarted")
    assert not lines(events=snapshots((0, 9), (0, 1), name="mlx_active_gb"), about="server restarted")
    assert lines(events=snapshots((0, 9), (0, 1), name="uptime_s"), about="server restarted")


def started(sitting, *servers):
    return {"event": "sitting_started", "sitting": sitting, "servers": list(servers)}


def ended(sitting, how="sitting_ended"):
    return {"event": how, "sitting": sitting}


def test_a_server_of_another_version_or_digest_is_a_warning():
    newer = THEIRS | {"version": "0.13", "details": {"details": {"quantization_level": "Q8_0"}}}
    events = [started(0, OURS, THEIRS), ended(0), started(1, OURS, newer), ended(1)]
    line = only(events=events, about="server changed")
    assert "ollama was another one from sitting 2 on" in line.text
    assert "version: 0.12 → 0.13; quantization_level: Q4_K_M → Q8_0" in line.text
    assert line.severity == "warning"


def test_a_servers_passing_state_is_no_change():
    busy = OURS | {"details": {"health": {"engine_type": "batched", "status": "busy", "uptime_s": 9, "n": 3}}}
    assert not lines(events=[started(0, busy), ended(0), started(1, OURS), ended(1)], about="server changed")
    simple = OURS | {"details": {"health": {"engine_type": "simple"}}}
    assert "batched → simple" in only(events=[started(0, simple)], about="server changed").text
    assert not lines(events=[{"event": "sitting_started", "sitting": 0}], about="server changed")


def test_a_cell_that_was_given_up_says_why():
    events = [cell("cell_ended", not_sent=7, stopped_because="10 failures in a row: busy")]
    assert "7 frames not sent (10 failures in a row: busy)" in only(events=events, about="given up").text
    assert not lines(events=[cell("cell_ended", not_sent=0, stopped_because=None)], about="given up")


def host(t, **figures):
    values = {"sitting": 0, "source": "host", "asked_s": t, "answered_s": t, "cpu_pct": 5.0}
    return values | {"memory_used_gb": 60.0, "memory_available_gb": 40.0} | figures


def about_machine(samples, *replies, about, **columns):
    return lines(*replies, telemetry=telemetry_table(samples).assign(**columns), about=about)


def test_little_memory_left_is_a_warning():
    low = [host(0.0), host(1.0, memory_used_gb=97.0, memory_available_gb=3.0)]
    (line,) = about_machine(low, about="memory")
    assert "Only 3.0 of 100 GB of memory were available at the least (in 1 of 2 samples" in line.text
    assert not about_machine([host(0.0)], about="memory")


def test_growing_swap_is_a_warning():
    (line,) = about_machine([host(0.0), host(1.0)], about="memory", swap_used_gb=[1.0, 3.0])
    assert "Swap grew by 2.0 GB" in line.text
    assert not about_machine([host(0.0), host(1.0)], about="memory", swap_used_gb=[3.0, 3.1])


def test_battery_and_heat_are_said():
    two = [host(0.0), host(1.0)]
    assert about_machine(two, about="power", on_battery=[False, True])[0].severity == "warning"
    assert about_machine(two, about="power", on_battery=[True, True])[0].severity == "note"
    assert not about_machine(two, about="power", on_battery=[False, None])
    assert about_machine(two, about="heat", thermal_state=["nominal", "serious"])
    assert not about_machine(two, about="heat", thermal_state=["nominal", None])


def test_load_while_no_request_is_in_flight_is_of_other_programs():
    busy = [host(t, cpu_pct=50.0) for t in (0.0, 10.0, 11.0, 12.0, 13.0)]
    replies = [reply(start_s=1.0), ollama(start_s=3.0)]
    (line,) = about_machine(busy, *replies, about="other programs")
    assert "50 % busy (n = 3 samples)" in line.text  # the sample at 10 s looks back on the requests
    assert not about_machine(busy[:4], *replies, about="other programs")
    loaded = [reply(start_s=1.0, total_s=99.0), ollama()]
    assert not about_machine(busy, *loaded, about="other programs")


def test_untimed_requests_before_a_cell_are_not_taken_for_other_programs():
    samples = telemetry_table([host(t, cpu_pct=50.0) for t in (0.0, 10.0, 11.0, 12.0, 13.0)])
    replies = [reply(start_s=1.0), ollama(start_s=9.0, total_s=0.5)]

    def busy_at_rest(cooldown_s):
        params = {"warmup_per_cell": 1, "cooldown_s": cooldown_s}
        return lines(*replies, telemetry=samples, params=params, about="other programs")

    assert not busy_at_rest(0.0)
    assert not busy_at_rest(3.0)  # two samples of rest are too few
    (line,) = busy_at_rest(4.0)
    assert "50 % busy (n = 3 samples)" in line.text


def test_warm_up_requests_whose_clock_is_another_hide_no_sample():
    busy = [host(t, cpu_pct=50.0) for t in (0.0, 10.0, 11.0, 12.0, 13.0)]
    warmup = reply(phase="warmup", start_s=0.0, total_s=99.0)
    (line,) = about_machine(busy, reply(start_s=1.0), ollama(start_s=3.0), warmup, about="other programs")
    assert "(n = 3 samples)" in line.text


def test_blocks_that_found_the_machine_unlike_are_a_note():
    replies = [reply(total_s=3.0), reply(block=1, start_s=10.0, total_s=3.0), ollama(start_s=50.0)]
    samples = [host(t, cpu_pct=20.0) for t in (0.5, 1.5, 2.5)] + [
        host(t, cpu_pct=60.0) for t in (10.5, 11.5, 12.5)
    ]
    (line,) = about_machine(samples, *replies, about="other programs")
    assert "found the cores 20 % busy in one block and 60 % in another (n = 6 samples)" in line.text
    assert not about_machine(samples[:5], *replies, about="other programs")

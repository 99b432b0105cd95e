import pytest

from poc_lib.checks.process import ServerProcess
from poc_lib.checks.servers import check_baseline, check_metrics, check_probe, check_server_facts
from tests.test_checks_kit import (
    HEALTH,
    OLLAMA_DETAILS,
    assert_reads_well,
    facts_of,
    ollama_spec,
    one,
    probe_of,
    states,
    vllm_spec,
)

SERVER = "vllm-mlx: server and model"
NEW = ServerProcess(7, ("vllm-mlx", "serve"), {}, "0.6.0")


def lines(facts):
    checks = check_server_facts(facts)
    for check in checks:
        assert_reads_well(check)
    return checks


def vllm_lines(process=NEW, asked=None, metrics=200, **health):
    identity = {"details": {"health": HEALTH | health}}
    return lines(facts_of(asked or vllm_spec(), identity, process=process, metrics=metrics))


def test_a_server_in_order_has_only_good_lines():
    checks = vllm_lines()
    assert set(states(checks).values()) == {"ok"}
    assert list(states(checks)) == [
        SERVER,
        "vllm-mlx: model",
        "vllm-mlx: continuous batching",
        "vllm-mlx: version",
        "vllm-mlx: /metrics",
    ]


def down(asked, found, to_do):
    unknown = {"reachable": False, "software": None, "models": ()}
    return lines(facts_of(asked, unknown | {"problem": f"{found}: {to_do}"}))


def test_a_server_that_is_down_has_one_line_with_the_whole_command():
    (check,) = down(vllm_spec(), "vllm-mlx does not answer at URL (ConnectError)", "start it, e.g. `x`")
    assert (check.about, check.state) == (SERVER, "problem")
    assert "`vllm-mlx serve tiny-vlm --mllm --continuous-batching --enable-metrics" in check.to_do
    assert "--host 127.0.0.1 --port 8000`, or set candidate_url" in check.to_do


def test_a_server_elsewhere_is_to_be_started_there():
    (check,) = down(vllm_spec("http://mac.local:8123/v1"), "it does not answer", "start it")
    assert check.to_do.startswith("start it on mac.local, e.g. ")
    assert "--host" not in check.to_do
    assert "--port 8123" in check.to_do


def test_an_ollama_that_is_down_is_to_be_served():
    (check,) = down(ollama_spec(), "ollama does not answer", "start it, e.g. `ollama serve`")
    assert "`ollama serve`" in check.to_do
    assert "baseline_url" in check.to_do


def test_a_server_that_listens_but_is_silent_is_not_told_to_start():
    (check,) = down(vllm_spec(), "vllm-mlx does not answer at URL (ReadTimeout)", "start it")
    assert "takes connections but does not answer" in check.found
    assert "start" not in check.to_do


def test_another_model_name_is_a_problem_and_the_rest_is_still_told():
    identity = {"problem": "vllm-mlx serves no model 'x', but a, b: set it", "models": ("a", "b")}
    checks = lines(facts_of(vllm_spec(), identity, process=NEW, metrics=404, reply=None))
    assert one(checks, SERVER).to_do == "set candidate_model to a or b"
    assert one(checks, "vllm-mlx: /metrics").state == "warning"
    assert one(checks, "vllm-mlx: continuous batching").state == "ok"


def test_a_model_that_ollama_lacks_is_to_be_pulled():
    found = "ollama serves no model 'x', but a"
    identity = {"problem": f"{found}: run `ollama pull x`", "models": ("a",)}
    (check,) = lines(facts_of(ollama_spec(), identity, reply=None))
    assert (check.found, check.to_do) == (found, "run `ollama pull x`")


def test_a_simulated_server_is_called_so():
    checks = lines(facts_of(vllm_spec(), {"simulated": True}, process=NEW))
    assert one(checks, SERVER).found == "SIMULATED vllm-mlx serves tiny-vlm"
    assert "not told" in one(checks, "vllm-mlx: version").found


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ({"model_type": "llm"}, "text-only"),
        ({"model_loaded": False}, "not loaded yet"),
        ({"status": "unhealthy"}, "failed to load"),
        ({"residency_state": "failed"}, "failed to load"),
    ],
)
def test_a_model_that_cannot_be_asked_about_images_is_a_problem(health, words):
    check = one(vllm_lines(**health), "vllm-mlx: model")
    assert check.state == "problem"
    assert words in check.found


@pytest.mark.parametrize(
    ("engine_type", "arguments", "levels", "state"),
    [
        ("batched", (), (1, 8), "ok"),
        ("simple", (), (1, 8), "problem"),
        ("simple", (), (1,), "ok"),
        ("unknown", (), (1, 8), "warning"),
        ("unknown", ("vllm-mlx", "serve", "--continuous-batching"), (1, 8), "ok"),
        ("unknown", ("vllm-mlx", "serve"), (1, 8), "problem"),
        ("unknown", (), (1,), "ok"),
    ],
)
def test_batching_must_be_on_for_several_in_flight(engine_type, arguments, levels, state):
    process = ServerProcess(7, arguments, None, "0.6.0")
    checks = vllm_lines(process, vllm_spec(concurrency=levels), engine_type=engine_type)
    assert one(checks, "vllm-mlx: continuous batching").state == state


@pytest.mark.parametrize(
    ("process", "state", "words"),
    [
        (NEW, "ok", "vllm-mlx 0.6.0"),
        (ServerProcess(7, ("vllm-mlx",), None, "0.10.1"), "ok", "vllm-mlx 0.10.1"),
        (ServerProcess(7, ("vllm-mlx",), None, "0.5.2"), "problem", "another screenshot's state"),
        (
            ServerProcess(7, ("vllm-mlx", "--disable-prefix-cache"), None, "0.5.2"),
            "ok",
            "its prefix cache off",
        ),
        (ServerProcess(7), "ok", "not told"),
        (None, "ok", "not told"),
    ],
)
def test_an_old_version_with_its_prefix_cache_on_is_a_problem(process, state, words):
    check = one(vllm_lines(process), "vllm-mlx: version")
    assert check.state == state
    assert words in check.found


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (200, "ok", ""),
        (404, "warning", "--enable-metrics"),
        (500, "warning", "log"),
        ("ReadTimeout", "warning", ""),
    ],
)
def test_metrics_that_are_off_say_how_to_switch_them_on(status, state, words):
    check = check_metrics("vllm-mlx", status)
    assert check.state == state
    assert words in check.to_do
    assert_reads_well(check)


def test_requests_of_somebody_elses_are_a_warning():
    check = one(lines(facts_of(vllm_spec(), n_foreign=2.0)), "vllm-mlx: other load")
    assert check.state == "warning"
    assert check.found.startswith("2 requests")


@pytest.mark.parametrize(("enabled", "state"), [(True, "ok"), (False, "problem"), (None, "warning")])
def test_mlx_vlm_tells_its_batching_itself(enabled, state):
    identity = {"software": "mlx-vlm", "details": {"health": {"continuous_batching_enabled": enabled}}}
    checks = lines(facts_of(vllm_spec(), identity, metrics=200))
    assert one(checks, "vllm-mlx: continuous batching").state == state


def test_a_server_of_unknown_software_is_judged_by_its_answers_alone():
    checks = lines(facts_of(vllm_spec(), {"software": None, "details": {"health": {}}}))
    assert [check.found for check in checks] == ["unknown software serves tiny-vlm"]


def ollama_line(about, process=None, asked=None, **details):
    identity = {"details": OLLAMA_DETAILS | details}
    return one(lines(facts_of(asked or ollama_spec(), identity, process=process)), about)


def test_an_ollama_model_without_vision_is_a_problem():
    check = ollama_line("ollama: model", capabilities=["completion", "tools"])
    assert check.state == "problem"
    assert "has no vision (it has: completion, tools)" in check.found


def settings_of(**variables):
    return ServerProcess(7, ("ollama", "serve"), variables)


def runner(*flags):
    return ServerProcess(7, ("ollama", "serve"), None, None, (("llama-server", *flags),))


@pytest.mark.parametrize("family", ["qwen3vl", "qwen3-vl", "Qwen3VLMoE", "mllama"])
def test_families_that_ollama_runs_one_by_one_need_nothing(family):
    check = ollama_line("ollama: requests at once", settings_of(), details={"family": family})
    assert check.state == "ok"
    assert check.found.startswith("1: ")


@pytest.mark.parametrize(
    ("process", "levels", "state", "words"),
    [
        (None, (1,), "warning", "not told for gemma3 models"),
        (ServerProcess(7, ("ollama",), None), (1,), "warning", "not told"),
        (settings_of(PATH="x"), (1,), "warning", "1 (OLLAMA_NUM_PARALLEL is not set, which means 1)"),
        (settings_of(OLLAMA_NUM_PARALLEL="1"), (1,), "warning", "can run several"),
        (settings_of(OLLAMA_NUM_PARALLEL="4"), (1,), "warning", "measured only up to 1"),
        (settings_of(OLLAMA_NUM_PARALLEL="4"), (1, 4), "ok", "4 (OLLAMA_NUM_PARALLEL)"),
        (settings_of(OLLAMA_NUM_PARALLEL="0"), (1,), "warning", "not told"),
        (runner("-np", "4"), (4,), "ok", "4 (the loaded model's process)"),
        (runner("--parallel", "2"), (1,), "warning", "2 (the loaded model's process)"),
    ],
)
def test_a_baseline_that_could_run_several_at_once_is_to_be_measured_so(process, levels, state, words):
    check = ollama_line("ollama: requests at once", process, ollama_spec(concurrency=levels))
    assert check.state == state
    assert words in check.found
    assert ("baseline_concurrency" in check.to_do) == (state == "warning")


def test_two_runners_that_differ_do_not_say_whose_setting_is_whose():
    process = ServerProcess(7, (), None, None, (("llama-server", "-np", "1"), ("llama-server", "-np", "4")))
    assert "not told" in ollama_line("ollama: requests at once", process).found


def test_the_picture_probe_knows_the_version():
    assert check_probe(facts_of(vllm_spec())) == []
    probe = probe_of("a", "a", "a")
    (old,) = check_probe(facts_of(vllm_spec(), probe=probe, process=ServerProcess(7, (), None, "0.5.0")))
    (new,) = check_probe(facts_of(vllm_spec(), probe=probe, process=NEW))
    assert "upgrade" in old.to_do
    assert "upgrade" not in new.to_do


def test_a_run_without_a_baseline_is_told_what_that_means():
    assert check_baseline([vllm_spec(), ollama_spec()]) == []
    (check,) = check_baseline([vllm_spec()])
    assert "recorded figures" in check.to_do
    assert_reads_well(check)

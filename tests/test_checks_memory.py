import pytest

from poc_lib.checks.facts import GB, in_gb, mlx_memory
from poc_lib.checks.memory import check_memory
from tests.builders import MODEL
from tests.test_checks_kit import (
    assert_reads_well,
    facts_of,
    failed_reply,
    ollama_spec,
    one,
    states,
    vllm_spec,
)

MINE = {"name": f"{MODEL}:latest", "size": 3 * GB, "size_vram": 3 * GB}


def ollama(*loaded, **changes):
    return facts_of(ollama_spec(), loaded=list(loaded), **({"held_gb": 3.0, "held_by": "Ollama"} | changes))


def candidate(**changes):
    return facts_of(vllm_spec(), **({"held_gb": 3.5, "held_by": "MLX"} | changes))


def lines(*facts, left_gb=20.0):
    checks = check_memory(facts, 36.0, left_gb)
    for check in checks:
        assert_reads_well(check)
    return checks


def test_both_models_are_named_with_their_size_and_what_is_left():
    checks = lines(ollama(MINE), candidate())
    assert states(checks) == {"ollama: memory": "ok", "memory": "ok"}
    assert one(checks, "memory").found == (
        "20.0 of 36.0 GB left with ollama (3.0 GB, says Ollama) and vllm-mlx (3.5 GB, says MLX) loaded"
    )
    assert one(checks, "ollama: memory").found == "3.0 GB, all on the GPU"


def test_little_memory_left_is_a_warning():
    check = one(lines(ollama(MINE), candidate(), left_gb=3.5), "memory")
    assert check.state == "warning"
    assert "measure one server at a time" in check.to_do


def test_a_model_partly_on_the_cpu_is_a_warning():
    check = one(lines(ollama(MINE | {"size_vram": GB})), "ollama: memory")
    assert check.state == "warning"
    assert check.found == "33% of 3.0 GB are on the GPU, the rest runs on the CPU"


def test_a_model_that_was_unloaded_again_is_a_warning():
    check = one(lines(ollama(held_gb=None)), "ollama: memory")
    assert check.state == "warning"
    assert "unloaded again" in check.found


def test_other_models_in_ollama_are_named_with_the_command_that_stops_them():
    checks = lines(ollama(MINE, {"name": "llama3:8b", "size": 5 * GB}, {"size": 1}))
    check = one(checks, "ollama: other models")
    assert check.found == "also holds llama3:8b (5.0 GB)"
    assert check.to_do == "run `ollama stop llama3:8b`"


@pytest.mark.parametrize("size", [None, "large", True, 0])
def test_a_size_that_is_none_is_not_told(size):
    assert "not told" in one(lines(ollama(MINE | {"size": size})), "ollama: memory").found


def test_servers_elsewhere_and_those_that_did_not_answer_are_not_counted_here():
    elsewhere = facts_of(vllm_spec("http://192.168.1.7:8000/v1"), held_gb=9.0)
    failed = candidate(reply=failed_reply("busy", "HTTP 503"))
    assert one(lines(elsewhere, failed), "memory").found == "20.0 of 36.0 GB left"


def test_a_simulated_server_and_an_unknown_size_say_so():
    simulated = facts_of(vllm_spec(), {"simulated": True})
    assert "vllm-mlx (simulated) loaded" in one(lines(simulated), "memory").found
    assert "vllm-mlx (size not told) loaded" in one(lines(candidate(held_gb=None)), "memory").found


def test_mlx_holds_its_arrays_and_its_cache():
    held_gb, by = mlx_memory({"mlx_active_gb": 3.0, "mlx_cache_gb": 0.5, "mlx_peak_gb": 4.0})
    assert held_gb == pytest.approx(3.5e9 / GB)
    assert by == "MLX"
    assert mlx_memory({"mlx_peak_gb": 2.0}) == (pytest.approx(2e9 / GB), "MLX, at its peak")
    assert mlx_memory({"mlx_active_gb": 0.0}) == (None, "")  # what Linux says
    assert mlx_memory({}) == (None, "")
    assert in_gb(GB) == 1.0

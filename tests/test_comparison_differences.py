import copy

import pytest

from poc_lib.comparison import attribution_sentence, check_alike, refuse_unlike, unlike_sentence
from poc_lib.errors import SetupProblem
from tests.comparisons import small_run, twin, with_params, with_server

HEALTH = {"health": {"engine_type": "batched", "num_running": 3, "status": "healthy"}}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("differences"))[0]


def with_host(run, **changes):
    return twin(run, "b", host=run.facts["host"] | changes)


def with_frames(run, change, **params):
    frames = [change(copy.deepcopy(frame), i) for i, frame in enumerate(run.facts["frames"])]
    params = run.facts["params"] | params
    return twin(run, "b", frames=[frame for frame in frames if frame], params=params)


def with_ollama(run, **details):
    return with_server(run, "b", "ollama", details={"digest": "sha256:one", **details})


def narrower(frame, i, **more):
    return frame | {"sha256": f"narrow{i}", "width": 512} | more


def only(differences):
    [difference] = differences
    return difference


UNLIKE = {
    "other frames": (lambda r: with_frames(r, lambda frame, i: frame if i else None), "other frames"),
    "other images": (lambda r: with_frames(r, lambda f, i: f | {"sha256": f"new{i}"}), "other frame images"),
    "other pictures under another width": (
        lambda r: with_frames(r, lambda f, i: narrower(f, i, phash="0123456789abcdef"), image_width=512),
        "other frame images",
    ),
    "prompt": (lambda r: twin(r, "b", prompt_sha256="1" * 64), "other prompt text"),
    "chip": (lambda r: with_host(r, chip="Apple M3"), "host chip is Apple M3, in 'run-example' Apple M4 Max"),
    "gpu": (lambda r: with_host(r, gpu="NVIDIA H100"), "host gpu is NVIDIA H100, in 'run-example' not told"),
    "memory": (lambda r: with_host(r, memory_gb=64.0), "host memory is 64 GB, in 'run-example' 128 GB"),
    "system": (lambda r: with_host(r, os="Linux-6.8"), "host system is Linux, in 'run-example' macOS"),
    "baseline's version": (
        lambda r: with_server(r, "b", "ollama", version="0.12.0"),
        "baseline ollama: software is ollama 0.12.0, in 'run-example' ollama 0.9.1",
    ),
    "baseline's model": (
        lambda r: with_server(r, "b", "ollama", model="qwen3-vl:8b"),
        "baseline ollama: model is qwen3-vl:8b, in 'run-example' demo-vlm",
    ),
    "baseline's levels": (
        lambda r: with_params(r, "b", baseline_concurrency=[1, 2]),
        "baseline ollama: levels is 1, 2, in 'run-example' 1",
    ),
    "no baseline": (
        lambda r: twin(r, "b", servers=[s for s in r.facts["servers"] if s["role"] == "candidate"]),
        "baseline is none measured, in 'run-example' ollama",
    ),
    "max_tokens": (lambda r: with_params(r, "b", max_tokens=64), "max_tokens is 64, in 'run-example' 1024"),
    "temperature": (
        lambda r: with_params(r, "b", temperature=0.0),
        "temperature is 0.0, in 'run-example' 0.3",
    ),
    "simulated": (
        lambda r: with_server(r, "b", "vllm-mlx", simulated=True),
        "kind of servers is simulated, in 'run-example' real",
    ),
}

MAY_DIFFER = {
    "version": (
        lambda r: with_server(r, "b", "vllm-mlx", version="0.6.0"),
        ("vllm-mlx: software", "vllm-mlx (version not told)", "vllm-mlx 0.6.0"),
    ),
    "model": (
        lambda r: with_server(r, "b", "vllm-mlx", model="other-vlm"),
        ("vllm-mlx: model", "demo-vlm", "other-vlm"),
    ),
    "width": (
        lambda r: with_frames(r, narrower, image_width=512),
        ("image width", "1024 px", "512 px"),
    ),
    "levels": (lambda r: with_params(r, "b", concurrency=[1, 8]), ("vllm-mlx: levels", "1, 4", "1, 8")),
    "blocks": (lambda r: with_params(r, "b", blocks=5), ("blocks", "3", "5")),
    "a setting that the server told": (
        lambda r: with_server(r, "b", "vllm-mlx", details={"engine_type": "simple"}),
        ("vllm-mlx: engine_type", "batched", "simple"),
    ),
    "how it was measured": (lambda r: with_params(r, "b", cooldown_s=9.0), ("cooldown_s", "0.0", "9.0")),
    "date": (
        lambda r: twin(r, "b", created_at="2020-01-02T03:04:05+00:00"),
        ("date", None, "2020-01-02 03:04"),
    ),
    "the library": (
        lambda r: twin(r, "b", versions=r.facts["versions"] | {"poc-lib": "0.2.0"}),
        ("measuring tool", "poc-lib 0.1.0", "poc-lib 0.2.0"),
    ),
    "the system's version": (
        lambda r: with_host(r, os="macOS-27"),
        ("version of the system", "macOS-26", "macOS-27"),
    ),
    "the server's address": (
        lambda r: with_server(r, "b", "vllm-mlx", url="http://mac.local:8000/v1"),
        ("vllm-mlx: machine", "this machine", "mac.local"),
    ),
}


def test_a_run_and_its_twin_do_not_differ(run):
    assert check_alike(run, twin(run, "b")) == []


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_runs_are_refused_and_the_line_names_why(run, name):
    change, words = UNLIKE[name]
    with pytest.raises(SetupProblem) as problem:
        refuse_unlike([run, change(run)], anyway=False)
    line = str(problem.value)
    assert line.startswith("run 'b' cannot be compared with 'run-example': ")
    assert words in line
    assert "compare_anyway" in line
    assert "\n" not in line


@pytest.mark.parametrize("name", UNLIKE)
def test_unlike_runs_are_compared_when_asked_to_and_the_differences_are_handed_on(run, name):
    found = refuse_unlike([run, UNLIKE[name][0](run)], anyway=True)
    assert found["b"][0].kind == "must be equal"


@pytest.mark.parametrize("name", MAY_DIFFER)
def test_what_a_comparison_is_about_is_named_and_not_refused(run, name):
    change, (what, first, other) = MAY_DIFFER[name]
    found = only(refuse_unlike([run, change(run)], anyway=False)["b"])
    assert (found.what, found.other, found.kind) == (what, other, "may differ")
    assert first is None or found.first == first


def test_every_reason_is_named_in_the_line(run):
    other = with_host(with_params(run, "b", max_tokens=64), memory_gb=64.0)
    with pytest.raises(SetupProblem, match=r"max_tokens is 64.*host memory is 64 GB"):
        refuse_unlike([run, other], anyway=False)


def test_the_third_run_is_held_against_the_first(run):
    others = [twin(run, "b"), with_host(run, chip="Apple M3")]
    others[1] = twin(others[1], "c")
    with pytest.raises(SetupProblem, match="run 'c' cannot be compared with 'run-example'"):
        refuse_unlike([run, *others], anyway=False)


def test_a_run_named_twice_is_refused(run):
    with pytest.raises(SetupProblem, match="expected each once"):
        refuse_unlike([run, twin(run, run.run_id)], anyway=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: with_host(r, memory_gb=128.2),
        lambda r: with_server(r, "b", "ollama", url="http://localhost:61234"),
        lambda r: with_params(r, "b", match_threshold=0.7, candidate_url="http://127.0.0.1:1/v1"),
        lambda r: with_params(r, "b", image_width=2048),  # wider than stored: nothing was scaled
    ],
)
def test_what_changes_nothing_is_not_named(run, change):
    assert check_alike(run, change(run)) == []


def test_a_servers_counters_and_state_are_no_settings(run):
    first = with_server(run, "a", "vllm-mlx", details=HEALTH)
    moved = {"health": HEALTH["health"] | {"num_running": 7, "status": "busy"}}
    assert check_alike(first, with_server(first, "b", "vllm-mlx", details=moved)) == []


def test_another_digest_of_the_same_name_is_another_model(run):
    first, other = with_ollama(run), with_ollama(run, digest="sha256:two")
    assert only(check_alike(first, other)).what == "baseline ollama: model digest"


@pytest.mark.parametrize(
    ("first", "other", "what"),
    [
        ("Qwen3-VL-4B-Instruct-4bit", "Qwen3-VL-4B-Instruct-3bit", "vllm-mlx: quantisation"),
        ("Qwen3-VL-4B-Instruct-4bit", "Qwen3-VL-8B-Instruct-3bit", "vllm-mlx: model"),
        ("Qwen3-VL-4B-Instruct-4bit", "Qwen3-VL-4B-Instruct", "vllm-mlx: model"),
    ],
)
def test_only_the_quantisation_of_one_model_is_called_so(run, first, other, what):
    runs = [with_server(run, name, "vllm-mlx", model=m) for name, m in (("a", first), ("b", other))]
    assert only(check_alike(*runs)).what == what


def test_the_only_candidates_are_held_together_whatever_their_names(run):
    other = with_server(run, "b", "vllm-mlx", name="mlx-vlm", software="mlx-vlm", version="0.7.10")
    found = check_alike(run, twin(other, "b", params=run.facts["params"] | {"candidate_name": "mlx-vlm"}))
    assert [difference.what for difference in found] == ["mlx-vlm: software"]


def test_a_candidate_without_counterpart_is_named(run):
    more = [*run.facts["servers"], run.facts["servers"][1] | {"name": "mlx-vlm"}]
    found = only(check_alike(run, twin(run, "b", servers=more)))
    assert (found.what, found.other) == ("candidates", "mlx-vlm")


def test_one_change_is_named_as_the_cause_to_look_at(run):
    found = check_alike(run, with_server(run, "b", "vllm-mlx", version="0.6.0"))
    assert attribution_sentence(found).startswith(
        "One thing changed on record: vllm-mlx: software, from vllm"
    )


def test_two_changes_at_once_cannot_be_told_apart(run):
    other = with_server(with_params(run, "b", cooldown_s=9.0), "b", "vllm-mlx", version="0.6.0")
    sentence = attribution_sentence(check_alike(run, other))
    assert sentence.startswith("2 things changed at once (vllm-mlx: software and cooldown_s)")
    assert "cannot be attributed" in sentence


def test_a_date_more_levels_and_a_note_are_no_causes(run):
    other = with_params(run, "b", concurrency=[1, 4, 8], blocks=5, note="after the upgrade")
    found = check_alike(run, twin(other, "b", created_at="2020-01-02T03:04:05+00:00"))
    assert len(found) == 4
    assert attribution_sentence(found).startswith("Nothing on record changed")


def test_an_unlike_comparison_warns_and_an_alike_one_does_not(run):
    unlike = check_alike(run, with_host(run, chip="Apple M3"))
    assert "not alike (host chip)" in unlike_sentence("b", "a", unlike)
    assert unlike_sentence("b", "a", check_alike(run, with_params(run, "b", blocks=5))) is None

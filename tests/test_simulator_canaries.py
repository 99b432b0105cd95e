"""Canaries against the simulated servers, over real sockets: what is planted is found, and nothing else."""

import asyncio
import hashlib
import json

import httpx
import pytest

from poc_lib.canary import (
    aborted_ids,
    canary_plan,
    judge_canaries,
    list_leaks,
    prepare_canaries,
    send_and_abort,
    summarize_canaries,
)
from poc_lib.params import PROMPTS_DIR
from poc_lib.records import Cell
from poc_lib.servers import open_client, prepare_requests, send_request
from poc_lib.servers.chat import Sending, run_clock_ns
from poc_lib.simulator import simulated_server
from poc_lib.simulator.canaries import add_canary_answers, canary_answers
from poc_lib.simulator.faults import Fault, parse_fault
from tests.builders import frame, settings, spec, table
from tests.test_simulator_kit import MODEL, frame_answer, make_image, planted

PROMPT = (PROMPTS_DIR / "canary.txt").read_text(encoding="utf-8").strip()
N_CANARIES, N_FRAMES = 9, 9


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Canaries, real frames, and an answers file that knows both."""
    folder = tmp_path_factory.mktemp("canaries")
    canaries = prepare_canaries(folder / "drawn", N_CANARIES, seed=0, width=256, height=144)
    frames, entries = [], {}
    for index in range(N_FRAMES):
        path = folder / f"{index:04d}.bmp"
        path.write_bytes(make_image(index))
        frames.append(frame(f"{index:04d}", image_path=path))
        entries[hashlib.sha256(make_image(index)).hexdigest()] = frame_answer(index)
    known = folder / "known.json"
    known.write_text(json.dumps(entries), encoding="utf-8")
    return canaries, frames, add_canary_answers(known, canaries, folder / "with" / "answers.json")


async def send_cell(url, plan, level, aborts=None, api="openai"):
    """A closed loop over the plan; the requests named in ``aborts`` are given up."""
    where = spec(url, api=api, model=MODEL)
    common = settings(prompt=PROMPT, max_tokens=300)
    prepared = prepare_requests(where, plan, common)
    cell = Cell("vllm-mlx", "candidate", level, block=0, phase="canary_abort" if aborts else "canary")
    waiting, replies, start_ns = iter(plan), [], run_clock_ns()

    async def run_slot(slot):
        async with open_client(common) as client:
            for one in waiting:
                sending = Sending(
                    cell=cell, sitting=0, slot=slot, simulated=True, run_start_ns=start_ns, in_flight=level
                )
                request, giving_up = prepared[one.frame_id], (aborts or {}).get(one.frame_id)
                if giving_up is None:
                    replies.append(await send_request(client, request, sending))
                else:
                    limits = {"after_chunks": giving_up.after_chunks, "after_s": giving_up.after_s}
                    replies.append(await send_and_abort(client, request, sending, **limits))

    await asyncio.gather(*(run_slot(slot) for slot in range(level)))
    return replies


async def sweep(data, faults=(), levels=(1, 4), *, with_aborts=False, speed=100, api="openai"):
    """The replies of one cell per level, and what the server planted."""
    canaries, frames, answers = data
    replies = []
    with simulated_server(api, MODEL, answers, speed=speed, faults=faults) as server:
        for level in levels:
            plan = canary_plan(frames, canaries, level, seed=0)
            aborts = aborted_ids(plan, seed=0, before_first_s=0.02) if with_aborts else None
            replies += await send_cell(server.url, plan, level, aborts, api)
        with httpx.Client(trust_env=False) as client:
            return table(replies), planted(client, server.url)


def outcomes(requests) -> list[str]:
    return summarize_canaries(requests)["outcome"].tolist()


@pytest.mark.parametrize("api", ["openai", "ollama"])
async def test_a_sound_server_reads_every_code_and_leaks_none(data, api):
    requests, _ = await sweep(data, api=api)
    judged = judge_canaries(requests)["judgement"].value_counts().to_dict()
    assert judged == {"read": 2 * N_CANARIES, "clean": 2 * N_FRAMES}
    assert outcomes(requests) == ["no leak", "no leak"]
    assert requests["text"].str.contains(r"\| code: ").all()


@pytest.mark.parametrize("api", ["openai", "ollama"])
async def test_a_sound_server_leaks_nothing_when_others_are_given_up(data, api):
    requests, rows = await sweep(data, levels=(4,), with_aborts=True, speed=10, api=api)
    n_aborted = (requests["error_class"] == "aborted").sum()
    assert n_aborted >= 1
    assert outcomes(requests) == ["no leak"]
    assert requests["error_class"].dropna().eq("aborted").all()
    assert len(requests) == N_CANARIES + N_FRAMES
    assert len(requests) - n_aborted <= len(rows) <= len(requests)  # some are given up before they arrive


async def test_answers_in_flight_with_an_abort_get_the_aborted_ones(data):
    requests, rows = await sweep(data, ["leak_on_abort:1"], levels=(4,), with_aborts=True, speed=4)
    planted_here = {row["frame_id"]: row["answered"] for row in rows if row["fault"] == "leak_on_abort"}
    leaks = list_leaks(requests)
    assert len(leaks)
    assert outcomes(requests) == ["leak"]
    assert leaks["donor_aborted"].all()
    assert leaks["in_flight_together"].all()
    for leak in leaks.itertuples():
        assert planted_here[leak.frame_id] == leak.donor_frame_id
    answered = requests[requests["error_class"].isna()]["frame_id"]
    from_canaries = {one for one in answered if str(planted_here.get(one)).startswith("canary-")}
    assert from_canaries == set(leaks["frame_id"]) & set(answered)


async def test_without_aborts_nothing_leaks_on_abort(data):
    requests, rows = await sweep(data, ["leak_on_abort:1"], levels=(4,))
    assert outcomes(requests) == ["no leak"]
    assert {row["fault"] for row in rows} == {None}


async def test_a_leak_on_abort_waits_for_its_level(data):
    requests, _ = await sweep(data, ["leak_on_abort:1@4"], levels=(2,), with_aborts=True, speed=20)
    assert outcomes(requests) == ["no leak"]


async def test_an_answer_that_waits_behind_an_aborted_one_can_get_it_too(data):
    requests, _ = await sweep(
        data, ["leak_on_abort:1"], levels=(4,), with_aborts=True, speed=10, api="ollama"
    )
    assert list_leaks(requests)["donor_aborted"].all()
    assert outcomes(requests) == ["leak"]


async def test_answers_of_other_images_are_leaks_from_their_level_on(data):
    requests, rows = await sweep(
        data, ["wrong_image:0.5@2"], speed=20
    )  # @4 may strike few: see docs/canaries.md
    assert outcomes(requests) == ["no leak", "leak"]
    answered = {row["frame_id"]: row["answered"] for row in rows if row["fault"]}
    leaks = list_leaks(requests)
    from_canaries = [one for one in answered.values() if one.startswith("canary-")]
    assert len(leaks) == len(from_canaries) > 0
    assert all(answered[leak.frame_id] == leak.donor_frame_id for leak in leaks.itertuples())


async def test_a_cache_keyed_by_the_prompt_gives_the_first_canarys_code_away(data):
    requests, _ = await sweep(data, ["replay_first:1"], levels=(1,))  # so that the first sent is the first
    leaks = list_leaks(requests)
    assert len(leaks) == N_CANARIES + N_FRAMES - 1
    assert leaks["donor_frame_id"].nunique() == 1
    assert outcomes(requests) == ["leak"]


async def test_a_replay_after_another_prompt_is_of_the_first_canary_all_the_same(data):
    canaries, frames, answers = data
    with simulated_server("openai", MODEL, answers, speed=400, faults=["replay_first:1"]) as server:
        where = spec(server.url, model=MODEL)
        (warm,) = prepare_requests(where, frames[:1], settings(prompt="description: …")).values()
        sending = Sending(
            cell=Cell("vllm-mlx", "candidate", 1, block=0, phase="warmup"),
            sitting=0, slot=0, simulated=True, run_start_ns=run_clock_ns(), in_flight=1,
        )  # fmt: skip
        async with open_client(settings()) as client:
            reply = await send_request(client, warm, sending)
        replies = await send_cell(server.url, canaries[:3], 1)
    assert "code:" not in reply.text
    assert list_leaks(table(replies))["donor_frame_id"].tolist() == [canaries[0].frame_id] * 2


async def test_one_text_for_every_image_never_passes(data):
    everywhere, _ = await sweep(data, ["duplicate:1"])
    assert outcomes(everywhere) == ["not usable", "not usable"]
    under_load, _ = await sweep(data, ["duplicate:1@2"], levels=(1, 8), speed=20)
    assert outcomes(under_load) == ["no leak", "reads less"]


async def test_a_weak_reader_is_neither_a_leak_nor_a_failure(data):
    requests, rows = await sweep(data, ["misread:0.5"])
    summary = summarize_canaries(requests)
    n_misread = sum(row["fault"] == "misread" for row in rows)
    assert 0 < summary["n_misread_one"].sum() == n_misread < 2 * N_CANARIES
    assert outcomes(requests) == ["no leak", "no leak"]


@pytest.mark.parametrize("fault", ["blind", "blind:1"])
async def test_a_blind_reader_makes_canaries_unusable(data, fault):
    requests, rows = await sweep(data, [fault])
    assert outcomes(requests) == ["not usable", "not usable"]
    hit = {row["frame_id"].startswith("canary-") for row in rows if row["fault"] == "blind"}
    assert hit == {True}, "real frames show no code to be blind for"


def test_a_reading_fault_is_read_from_its_text():
    assert parse_fault("blind") == Fault("blind")
    assert parse_fault("blind:0.5@4") == Fault("blind", share=0.5, min_in_flight=4)
    assert parse_fault("misread:0.25") == Fault("misread", share=0.25)
    assert parse_fault("leak_on_abort:1@2") == Fault("leak_on_abort", min_in_flight=2)


def test_canary_answers_are_known_by_the_bytes_of_their_files(data):
    canaries, _, answers = data
    entries = canary_answers(canaries)
    written = json.loads(answers.read_text(encoding="utf-8"))
    assert len(entries) == N_CANARIES
    assert len(written) == N_CANARIES + N_FRAMES
    assert all(written[sha256] == entry for sha256, entry in entries.items())
    for one in canaries:
        entry = entries[hashlib.sha256(one.image_path.read_bytes()).hexdigest()]
        assert entry["frame_id"] == one.frame_id == "canary-" + entry["code"].replace("-", "")

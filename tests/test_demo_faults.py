"""The faults that can be planted in a simulated server come out as planted, and nothing else does."""

import asyncio
from collections import Counter

import httpx
import orjson
import pytest

from demo.server import start
from poc_lib.analysis import analyse
from poc_lib.client.stamp import draw_codes, proof_prompt
from poc_lib.measure.experiment import run_all
from poc_lib.params import validate_params
from poc_lib.records import SetupProblem
from tests.demo_kit import CHAT, MODEL, PROMPT, chat_body, demo, quote, screenshots, serving, stamped, text_of
from tests.lean import LEAN


async def fate(client, image, own, codes):
    """What came of a stamped screenshot: whose code the answer has, or what went wrong."""
    try:
        text = await text_of(client, image, proof_prompt(PROMPT))
    except (httpx.HTTPError, AssertionError, orjson.JSONDecodeError) as error:
        return type(error).__name__
    code = text.rpartition(" | code: ")[2]
    if code in codes:
        return "own" if code == own else "other"
    return "none" if code == "none" else text and "half"


@pytest.mark.parametrize(
    ("fault", "in_flight", "expected"),
    [
        ("swap:1@4", 1, {"own": 8}),
        ("replay:1", 1, {"own": 1, "other": 7}),
        ("duplicate", 4, {"none": 8}),
        ("empty", 2, {"": 8}),
        ("truncate:1", 2, {"half": 8}),
        ("garbage", 2, {"JSONDecodeError": 8}),
        ("cut", 2, {"RemoteProtocolError": 8}),
        ("error:1@2", 1, {"own": 8}),
        ("error", 1, {"AssertionError": 8}),
        ("busy", 1, {"AssertionError": 8}),
        ("blind:1", 2, {"none": 8}),
        ("slow:3", 2, {"own": 8}),
    ],
)
async def test_a_planted_fault_comes_out_as_planted(fault, in_flight, expected):
    codes, found = draw_codes(8, fault), []
    asked = [(stamped(i, code), code, codes) for i, code in enumerate(codes)]
    async with serving(faults=[fault]) as client:
        for i in range(0, 8, in_flight):
            found += await asyncio.gather(*(fate(client, *what) for what in asked[i : i + in_flight]))
    assert Counter(found) == expected


async def test_a_share_is_a_share_and_a_swapped_answer_is_wholly_its_donors_in_flight_together():
    codes, donors = draw_codes(32, "swap"), []
    images = [stamped(i, code) for i, code in enumerate(codes)]
    async with serving(faults=["swap:0.4@4"], seed=1) as client:
        for begin in range(0, 32, 8):
            asked = [text_of(client, image, proof_prompt(PROMPT)) for image in images[begin : begin + 8]]
            for text in await asyncio.gather(*asked):
                donors.append(codes.index(text.rpartition(" | code: ")[2]))
                assert quote(donors[-1]) in text
    wrong = [(victim, donor) for victim, donor in enumerate(donors) if victim != donor]
    assert 5 <= len(wrong) <= 20
    assert all(victim // 8 == donor // 8 for victim, donor in wrong)


async def test_clearing_the_cache_ends_a_replay():
    async with serving(faults=["replay"]) as client:
        texts = [await text_of(client, screenshots()[i]) for i in (0, 2)]
        await client.delete("/cache")
        texts.append(await text_of(client, screenshots()[2]))
    assert [quote(i) in text for i, text in zip((0, 0, 2), texts, strict=True)] == [True] * 3


async def test_the_answer_of_an_aborted_request_comes_out_for_the_next_one():
    async with serving(faults=["stale", "slow:4"]) as client:
        body = chat_body("openai", screenshots()[30])
        async with client.stream("POST", CHAT["openai"], json=body) as reply:
            await anext(line async for line in reply.aiter_lines() if '"content"' in line)
        texts = [await text_of(client, screenshots()[40]) for _ in range(3)]
    assert sum(quote(30) in text for text in texts) == 1
    assert quote(40) in texts[-1]


async def test_a_hanging_answer_never_ends_and_a_crash_ends_the_process():
    async with serving(faults=["hang"]) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(CHAT["openai"], json=chat_body("openai", screenshots()[0]), timeout=1)
    async with serving(faults=["crash_after:2"]) as client:
        assert [bool(await text_of(client, image)) for image in screenshots()[:2]] == [True, True]
        with pytest.raises(httpx.HTTPError):
            await text_of(client, screenshots()[2])
        await asyncio.sleep(0.3)
        with pytest.raises(httpx.ConnectError):
            await text_of(client, screenshots()[2])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("swop:0.1", "did you mean 'swap'"),
        ("xyz", "known are swap, replay"),
        ("swap:2", "a share up to 1"),
        ("swap:0.1@0", "requests in flight"),
        ("swap:0.1@", "requests in flight"),
        ("swap:nan", "a share up to 1"),
        ("slow", "slow:2"),
        ("crash_after:x", "crash_after:30"),
    ],
)
def test_a_misspelt_fault_is_refused_before_anything_starts(text, hint):
    with pytest.raises(SetupProblem, match=hint):
        start("openai", MODEL, demo().answers, faults=["swap:0.1", text])


async def test_what_leaks_into_the_next_answer_when_one_is_given_up_is_proven(tmp_path):
    where = {"outputs_dir": str(tmp_path), "run_id": "aborts", "database": str(demo().database)}
    few = {
        "concurrency": [4],
        "max_blocks": 0,
        "proof_frames": 12,
        "aborts": True,
        "demo_faults": ["stale:1"],
    }
    analysis = analyse(await run_all(validate_params(LEAN | where | few)))
    cells = analysis.answers.groupby("phase")
    assert (cells["error_class"].count()["proof_abort"], cells["error_class"].count()["proof"]) == (4, 0)
    leaked = analysis.answers[analysis.answers["proof"] == "other"]
    assert set(leaked["phase"]) == {"proof_abort"}
    assert analysis.verdicts[0].proof == "mixed up"

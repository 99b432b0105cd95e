import asyncio
import random
from contextlib import asynccontextmanager

from poc_lib.simulator.engine import Engine, Job, abort_job, in_flight, run_engine, submit_job
from poc_lib.simulator.timing import Timing

QUICK = Timing(prefill_s=0.0, text_prefill_s=0.0, step_base_s=0.001, step_member_s=0.0, load_s=0.003)


def new_engine(max_batch: int, started: list, *, blocks: bool = True) -> Engine:
    return Engine(
        timing=QUICK,
        max_batch=max_batch,
        blocks_while_prefilling=blocks,
        on_start=lambda job, n: started.append((job.number, n)),
        on_end=lambda job: None,
        jitter=random.Random(0),
    )


def new_job(number: int, n_pieces: int = 3, ending: str = "stop", prefill_s: float = 0.001) -> Job:
    pieces = [str(i) for i in range(n_pieces)]
    return Job(
        number=number, prefill_s=prefill_s, max_tokens=99, prompt_tokens=5, pieces=pieces, ending=ending
    )


@asynccontextmanager
async def running(engine: Engine):
    task = asyncio.create_task(run_engine(engine))
    try:
        yield
    finally:
        task.cancel()


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the engine has no event for every state
            await asyncio.sleep(0.001)


async def test_a_wave_takes_its_limit_and_the_rest_wait_for_its_end():
    started = []
    engine = new_engine(2, started)
    jobs = [new_job(1, 2), new_job(2, 5), new_job(3, 2)]
    async with running(engine):
        for job in jobs:
            submit_job(engine, job)
        await until(lambda: jobs[2].finished)
    assert started == [(1, 3), (2, 3), (3, 1)]
    assert engine.totals.waves == 2
    assert jobs[2].prefill_from >= max(jobs[0].ended, jobs[1].ended)


async def test_members_of_a_wave_are_prefilled_one_by_one_and_start_to_answer_together():
    engine = new_engine(8, [])
    jobs = [new_job(n, prefill_s=0.002) for n in (1, 2, 3)]
    async with running(engine):
        for job in jobs:
            submit_job(engine, job)
        await until(lambda: all(job.finished for job in jobs))
    assert len({job.decode_from for job in jobs}) == 1
    assert jobs[0].prefill_from < jobs[1].prefill_from < jobs[2].prefill_from < jobs[0].decode_from


async def test_the_stop_token_counts_and_a_length_limit_has_none():
    engine = new_engine(2, [])
    stopped, cut = new_job(1, 4), new_job(2, 4, ending="length")
    async with running(engine):
        submit_job(engine, stopped)
        submit_job(engine, cut)
        await until(lambda: stopped.finished and cut.finished)
    assert (stopped.output_tokens, stopped.n_sent) == (5, 4)
    assert (cut.output_tokens, cut.n_sent) == (4, 4)
    assert engine.totals.output_tokens == 9
    assert engine.totals.prompt_tokens == 10


async def test_only_the_first_request_loads_the_model():
    engine = new_engine(1, [])
    jobs = [new_job(1), new_job(2)]
    async with running(engine):
        for job in jobs:
            submit_job(engine, job)
        await until(lambda: jobs[1].finished)
    assert [job.load_s for job in jobs] == [QUICK.load_s, 0.0]


async def test_an_aborted_member_leaves_its_wave_and_an_aborted_waiter_never_starts():
    started = []
    engine = new_engine(2, started)
    endless, short, waiter = new_job(1, 10**6), new_job(2, 3), new_job(3)
    async with running(engine):
        for job in (endless, short, waiter):
            submit_job(engine, job)
        await until(lambda: short.finished)
        assert in_flight(engine) == 2
        abort_job(engine, waiter)
        abort_job(engine, endless)
        await until(lambda: not in_flight(engine))
    assert not endless.finished
    assert [number for number, _ in started] == [1, 2]


async def test_nothing_else_is_answered_during_the_prefills_of_a_batching_engine():
    batching, sequential = new_engine(2, []), new_engine(2, [], blocks=False)
    for engine, answered in ((batching, False), (sequential, True)):
        job = new_job(1, prefill_s=0.05)
        async with running(engine):
            submit_job(engine, job)
            await until(lambda job=job: job.prefill_from > 0)
            assert engine.responsive.is_set() is answered
            await until(lambda job=job: job.finished)
        assert engine.responsive.is_set()

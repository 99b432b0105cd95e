import asyncio

from poc_lib.simulator.engine import run_engine
from poc_lib.simulator.openai_shapes import ChunkNames
from poc_lib.simulator.openai_stream import send_pieces
from poc_lib.simulator.serving import Prompt, admit, enter, new_server
from poc_lib.simulator.timing import Timing

QUICK = Timing(prefill_s=0.0, text_prefill_s=0.01, step_base_s=0.001, step_member_s=0.0)


class RecordingResponse:
    """Stands for the connection: notes what is written, and whether images were being prefilled then."""

    def __init__(self, engine):
        self.engine = engine
        self.written = []
        self.answering = []

    async def write(self, data):
        self.written.append(data)
        self.answering.append(self.engine.responsive.is_set())


def quick_server():
    faults, started_at = (), 0.0
    return new_server(
        "openai", "m", {}, QUICK, seed=0, faults=faults, simple=False, max_batch=4, started_at=started_at
    )


def enter_request(server, number):
    prompt = Prompt(text="x", images=(b"%d" % number,), sizes_px=(), temperature=0, max_tokens=4)
    exchange = admit(server, prompt)
    enter(server, exchange)
    return exchange


async def stream(server, number, started=None):
    exchange, response = enter_request(server, number), RecordingResponse(server.engine)
    task = asyncio.create_task(send_pieces(server, response, exchange, ChunkNames("id", "m")))
    while started and not exchange.job.n_sent:  # noqa: ASYNC110 - the engine has no event for every state
        await asyncio.sleep(0)
    if started:
        started.set()
    await task
    return exchange, response


async def test_no_text_is_written_while_the_next_wave_is_prefilled():
    server = quick_server()
    engine = asyncio.create_task(run_engine(server.engine))
    started = asyncio.Event()
    early = asyncio.create_task(stream(server, 0, started))
    await started.wait()
    others = await asyncio.gather(stream(server, 1), stream(server, 2), early)
    engine.cancel()
    assert server.engine.totals.waves == 2
    for exchange, response in others:
        assert exchange.job.finished
        assert response.written
        assert all(response.answering)


async def test_the_piece_at_the_limit_is_left_for_the_finishing_chunk():
    server = quick_server()
    engine = asyncio.create_task(run_engine(server.engine))
    exchange, response = await stream(server, 0)
    engine.cancel()
    sent = b"".join(response.written)
    assert exchange.job.ending == "length"
    assert sent.count(b'"content"') == 3
    assert sent.count(b"data: ") == 3

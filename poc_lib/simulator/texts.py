"""The text of each answer: its own, another one's, a part of one, as its faults want it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from poc_lib.simulator.answers import (
    CODE_MARK,
    ONE_LINE_MARK,
    Answer,
    Saying,
    made_up_answer,
    pick_saying,
    say,
    split_pieces,
)
from poc_lib.simulator.engine import Job
from poc_lib.simulator.exchanges import Exchange, Prompt
from poc_lib.simulator.faults import BROKEN_STREAMS, LEAKS, WEAK_READING, WRONG_TEXTS, active_fault
from poc_lib.simulator.timing import draw

DUPLICATE_SHA256 = hashlib.sha256(b"the fixed answer").hexdigest()
REPLAY_PREFILL_SHARE = 0.1
LOOP_PIECES = 6
MISREADINGS = "CFHKMNPRTWXY3479"  # what a weak reader takes a character for


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of a server decides on an answer's text."""

    api: str
    seed: int
    first: Answer | None = None  # of the first image that was asked about with the same prompt
    in_flight: Sequence[Answer] = ()
    sent_before: Sequence[Answer] = ()


def write_text(exchange: Exchange, around: Surroundings, n_in_flight: int) -> None:
    """Choose the fault and the text of a request whose wave starts."""
    row, job = exchange.row, exchange.job
    row.fault = LEAKS[0] if exchange.leaked_from else _drawn_fault(exchange, n_in_flight)
    source = _answer_source(exchange, around)
    if source is exchange.answer and row.fault in ("wrong_image", "replay_first"):
        row.fault = None  # its own text: nothing was planted
    row.answered = source.frame_id if row.fault not in ("duplicate", "empty") else None
    if row.fault == "replay_first":
        job.prefill_s *= REPLAY_PREFILL_SHARE
    pieces = split_pieces(_text(exchange, exchange.leaked_from or exchange, source, around))
    _break_text(job, pieces, row.fault)


def leak_into(victim: Exchange, given_up: Exchange, n_in_flight: int, around: Surroundings) -> None:
    """Let a request go on with the answer of one whose client went away, where that was drawn for it."""
    row, job = victim.row, victim.job
    if job.finished or row.fault or victim.leaked_from or not active_fault(victim.drawn, LEAKS, n_in_flight):
        return
    if not row.started:
        victim.leaked_from = given_up
        return
    rest = _rest_of_another(_text(victim, given_up, given_up.answer, around), job.n_sent)
    if rest:
        row.fault, row.answered = LEAKS[0], given_up.answer.frame_id
        job.pieces = job.pieces[: job.n_sent] + rest
        _cut_at_limit(job)


def _rest_of_another(text: str, n_sent: int) -> list[str]:
    """What follows after so many pieces of a text, its code in any case."""
    head, mark, tail = text.rpartition(f" | {CODE_MARK}")
    if not mark:
        return split_pieces(text)[n_sent:]
    return split_pieces(head)[n_sent:] + split_pieces(mark + tail)


def _drawn_fault(exchange: Exchange, n_in_flight: int) -> str | None:
    shows_code = exchange.answer.sayings[0].code and _asks_for_code(exchange.prompt)
    names = WRONG_TEXTS + BROKEN_STREAMS + (WEAK_READING if shows_code else ())
    return active_fault(exchange.drawn, names, n_in_flight)


def _answer_source(exchange: Exchange, around: Surroundings) -> Answer:
    if exchange.leaked_from:
        return exchange.leaked_from.answer
    if exchange.row.fault == "wrong_image":
        return _another_answer(exchange, around)
    if exchange.row.fault == "replay_first":
        return exchange.answer if around.first == exchange.answer else around.first
    if exchange.row.fault == "duplicate":
        return made_up_answer(DUPLICATE_SHA256)
    return exchange.answer


def _another_answer(exchange: Exchange, around: Surroundings) -> Answer:
    own = exchange.answer.frame_id
    others = {answer.frame_id: answer for answer in around.in_flight if answer.frame_id != own}
    if not others:
        others = {answer.frame_id: answer for answer in around.sent_before if answer.frame_id != own}
    if not others:
        return exchange.answer
    drawn = draw("other", around.seed, exchange.sha256, exchange.count)
    return others[sorted(others)[int(drawn * len(others))]]


def _text(exchange: Exchange, drawn_by: Exchange, source: Answer, around: Surroundings) -> str:
    """What the source says to the exchange's prompt, its variant drawn by the keys of ``drawn_by``."""
    prompt = exchange.prompt
    keys = (around.seed, around.api, drawn_by.sha256, drawn_by.count)
    saying = pick_saying(source, prompt.temperature, *keys)
    if exchange.row.fault in WEAK_READING:
        saying = replace(saying, code=_weakly_read(saying, exchange, around))
    return say(saying, one_line=ONE_LINE_MARK in prompt.text, with_code=_asks_for_code(prompt))


def _asks_for_code(prompt: Prompt) -> bool:
    return CODE_MARK in prompt.text


def _weakly_read(saying: Saying, exchange: Exchange, around: Surroundings) -> str | None:
    if exchange.row.fault == "blind" or not saying.code:
        return None
    keys = (around.seed, exchange.sha256, exchange.count)
    places = [i for i, character in enumerate(saying.code) if character.isalnum()]
    place = places[int(draw("place", *keys) * len(places))]
    others = MISREADINGS.replace(saying.code[place], "")
    other = others[int(draw("misread", *keys) * len(others))]
    return saying.code[:place] + other + saying.code[place + 1 :]


def _break_text(job: Job, pieces: list[str], fault: str | None) -> None:
    half = pieces[: max(1, len(pieces) // 2)]
    if fault == "empty":
        job.pieces = []
    elif fault == "loop":
        job.pieces = [half[-LOOP_PIECES:][i % min(LOOP_PIECES, len(half))] for i in range(job.max_tokens)]
        job.pieces[: len(half)] = half[: job.max_tokens]
    elif fault == "truncated" or fault in BROKEN_STREAMS:
        job.pieces, job.ending = half, "length" if fault == "truncated" else fault
    else:
        job.pieces = pieces
    _cut_at_limit(job)


def _cut_at_limit(job: Job) -> None:
    if len(job.pieces) >= job.max_tokens:
        job.pieces = job.pieces[: job.max_tokens]
        job.ending = "length" if job.ending == "stop" else job.ending

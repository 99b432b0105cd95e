"""Latency and goodput against the offered rate, as drawn."""

import numpy as np
import pytest

from poc_lib.figures.open_loop import draw_open_loop
from poc_lib.figures.style import GROUND
from poc_lib.goodput import summarize_open_loop
from tests.builders import failed, reply, table

OPEN = {"phase": "open_loop", "arrivals": "poisson", "concurrency": 8, "simulated": True}


def series(server, role, rate_per_s, wait_s, make=reply, **changes):
    """Five requests that wait so long to be sent and then take 2 s."""
    where = OPEN | {"server": server, "role": role, "rate_per_s": rate_per_s} | changes
    moments = [i / rate_per_s for i in range(5)]
    return [make(f"f{i}", **where, due_s=s, start_s=s + wait_s) for i, s in enumerate(moments)]


def load(slo_total_s=5.0, slow_s=4.0):
    replies = [
        *series("ollama", "baseline", 1.0, slow_s),
        *series("vllm-mlx", "candidate", 1.0, 0.0),
        *series("vllm-mlx", "candidate", 2.0, 1.0),
    ]
    return summarize_open_loop(table(replies), 0.0, slo_total_s, 0.95)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def line(axes, label):
    return next(drawn for drawn in axes.lines if drawn.get_label() == label)


def test_latency_is_drawn_from_due_with_the_limit_and_the_time_from_sending_beside_it():
    axes = draw_open_loop(load()).axes[0]
    assert list(line(axes, "vllm-mlx").get_ydata()) == [2, 3]
    dashed = [list(drawn.get_ydata()) for drawn in axes.lines if drawn.get_linestyle() == "--"]
    assert [2, 2] in dashed
    assert list(line(axes, "limit, 5 s").get_ydata()) == [5, 5]
    assert legend(axes)[:2] == ["ollama", "vllm-mlx"]


def test_every_panel_says_its_unit_and_its_rates():
    figure = draw_open_loop(load(), ("ttft", "total"))
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "first token from due [s]",
        "whole answer from due [s]",
        "goodput, in time [requests/s]",
    ]
    assert {axes.get_xlabel() for axes in figure.axes} == {"offered rate [requests/s]"}
    ticks = [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
    assert ticks == ["1", "2"]


def test_a_level_that_is_not_held_is_hollow_and_says_its_share():
    figure = draw_open_loop(load())
    hollow = [drawn for drawn in figure.axes[1].lines if drawn.get_color() == GROUND]
    assert len(hollow) == 1
    assert [text.get_text() for text in figure.axes[1].texts] == ["0 %"]
    assert "Hollow: not held." in figure.caption_text


def test_the_caption_tells_n_and_the_level_and_that_servers_are_simulated():
    figure = draw_open_loop(load())
    assert "n = 5 requests per rate" in figure.caption_text
    assert "whole answer within 5 s for 95 % of requests" in figure.caption_text
    assert "SIMULATED" in figure.title_text
    assert "vllm-mlx, poisson arrivals, in time: 100 % at 1, 100 % at 2 requests/s" in figure.alt_text
    assert "Hollow" not in draw_open_loop(load(slo_total_s=9.0)).caption_text


def test_without_a_level_the_panel_shows_what_was_answered():
    figure = draw_open_loop(load(slo_total_s=0.0))
    assert figure.axes[1].get_ylabel() == "answered [requests/s]"
    assert "In time: answered at all." in figure.caption_text


def test_latencies_far_apart_are_drawn_on_a_logarithmic_axis():
    assert draw_open_loop(load()).axes[0].get_yscale() == "linear"
    assert draw_open_loop(load(slow_s=100.0)).axes[0].get_yscale() == "log"


def test_servers_of_one_role_differ_in_colour_and_marker():
    replies = [
        *series("a", "candidate", 1.0, 0.0),
        *series("b", "candidate", 1.0, 0.0),
        *series("c", "baseline", 1.0, 0.0),
    ]
    axes = draw_open_loop(summarize_open_loop(table(replies), 0.0, 5.0, 0.95)).axes[0]
    drawn = [line(axes, server) for server in "abc"]
    assert len({one.get_color() for one in drawn}) == 3
    assert len({one.get_marker() for one in drawn}) == 3


def test_two_kinds_of_arrivals_are_told_apart():
    replies = series("a", "candidate", 1.0, 0.0) + series("a", "candidate", 1.0, 0.0, arrivals="constant")
    axes = draw_open_loop(summarize_open_loop(table(replies), 0.0, 5.0, 0.95)).axes[0]
    assert legend(axes)[:2] == ["a, poisson", "a, constant"]


@pytest.mark.parametrize("latency", ["ttft", "total"])
def test_a_server_that_answered_nothing_is_drawn_without_a_latency(latency):
    dead = summarize_open_loop(table(series("a", "candidate", 1.0, 0.0, make=failed)), 1.0, 0.0, 0.95)
    figure = draw_open_loop(dead, (latency,))
    assert np.isnan(line(figure.axes[0], "a").get_ydata()).all()
    figure.canvas.draw()

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from matplotlib.colors import to_rgba

from poc_lib.figures import draw_ceiling, draw_phases, draw_timeline, figure_to_svg
from poc_lib.figures.style import BLUE, SKY
from poc_lib.phases import summarize_ceiling, summarize_phases
from tests.builders import failed, reply, table


def told(frame_id, **changes):
    """Ollama: 6 s in the queue, 1 s prefill, 2 s decode."""
    values = {"server": "ollama", "role": "baseline", "concurrency": 4, "total_s": 9.0, "ttft_s": 7.0}
    return reply(
        frame_id,
        **(values | {"arrivals_s": [7.0, 9.0], "server_prefill_s": 1.0, "server_load_s": 0.0} | changes),
    )


def waves(n, slots, **changes):
    """n requests of 2 s, ``slots`` at a time."""
    return [reply(f"f{i:03}", concurrency=slots, start_s=2.0 * (i // slots), **changes) for i in range(n)]


SWEEP = [*waves(4, 1), *waves(12, 8), told("a"), told("b", start_s=3.0)]


def bars(axes, color) -> list:
    """(row, from, to) of the bars whose colour, without its transparency, is this."""
    found = [patch for patch in axes.patches if patch.get_facecolor()[:3] == to_rgba(color)[:3]]
    boxes = [patch for patch in found if hasattr(patch, "get_y") and 0 < patch.get_height() <= 1]
    return [(round(b.get_y() + b.get_height() / 2), b.get_x(), b.get_x() + b.get_width()) for b in boxes]


def legend(axes) -> set[str]:
    return {text.get_text() for text in axes.get_legend().get_texts()}


def test_a_request_is_drawn_from_sending_over_its_first_token_to_its_last_chunk():
    figure = draw_timeline(table([reply(total_s=2.5), reply("b", start_s=2.5)]), "vllm-mlx", 1)
    upper = figure.axes[0]
    assert (0, 0.5, 2.0) in bars(upper, BLUE)
    assert (0, 0.0, 0.5) in bars(upper, SKY)
    assert (1, 3.0, 4.5) in bars(upper, BLUE)
    assert "end held back" in legend(upper)


def test_the_queue_is_apart_only_where_the_server_tells_its_prefill():
    upper = draw_timeline(table([told("a")]), "ollama", 4).axes[0]
    assert {(0, 0.0, 6.0), (0, 6.0, 7.0)} <= set(bars(upper, SKY))
    assert {"queue, loading", "prefill"} <= legend(upper)
    assert "waiting for the first token" in legend(draw_timeline(table(SWEEP), "vllm-mlx", 8).axes[0])


def test_the_tail_is_shaded_and_named_with_its_share():
    figure = draw_timeline(table(waves(12, 8)), "vllm-mlx", 8)
    assert "tail, 50% of the time" in figure.caption_text
    assert "tail" in legend(figure.axes[0])
    level = draw_timeline(table(waves(16, 8)), "vllm-mlx", 8)
    assert "tail" not in level.caption_text
    assert "tail" not in legend(level.axes[0])


def test_the_lower_panel_shows_the_slots_and_how_many_are_busy():
    lower = draw_timeline(table(waves(12, 8)), "vllm-mlx", 8).axes[1]
    assert lower.lines[0].get_ydata() == [8, 8]
    in_flight, decoding = (area.get_paths()[0].vertices for area in lower.collections)
    assert in_flight[:, 1].max() == decoding[:, 1].max() == 8
    assert {y for x, y in in_flight if x == 4.0} >= {4.0}
    assert decoding[:, 0].min() == 0.5


def test_failures_are_crossed_and_counted():
    figure = draw_timeline(table([reply(), failed("b", start_s=2.0)]), "vllm-mlx", 1)
    assert "n = 2 requests, 1 failed" in figure.caption_text
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert crosses[0].get_xdata().tolist() == [2.1]
    only_failures = draw_timeline(table([failed()]), "vllm-mlx", 1)
    assert "1 failed" in only_failures.caption_text


@pytest.mark.parametrize("n", [1, 10, 70, 71, 200])
def test_the_timeline_keeps_its_size_and_its_ticks_few(n):
    figure = draw_timeline(table(waves(n, 8)), "vllm-mlx", 8)
    assert figure.get_figheight() <= 6.9
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert len(labels) <= 13
    assert labels[0] == "1"
    assert max(map(int, labels)) <= n


def test_a_cell_without_requests_draws_an_empty_timeline():
    assert "n = 0" in draw_timeline(table(SWEEP), "vllm-mlx", 3).caption_text


def test_light_middle_and_dark_are_told_apart_without_colour():
    upper = draw_timeline(table([told("a")]), "ollama", 4).axes[0]
    looks = {patch.get_facecolor() for patch in upper.patches if patch.get_facecolor()[2] > 0.5}
    shades = sorted(1 - a * (1 - (0.299 * r + 0.587 * g + 0.114 * b)) for r, g, b, a in looks)
    assert len(shades) == 3
    assert min(light - dark for dark, light in pairwise([*shades, 1.0])) > 0.07


def test_the_ceiling_shows_curve_limit_and_measured_points():
    figure = draw_ceiling(summarize_ceiling(table(SWEEP)), "vllm-mlx")
    curve, limit, measured = figure.axes[0].lines
    assert curve.get_ydata()[[0, -1]].tolist() == pytest.approx([0.5, 1 / (0.5 + 1.5 / 8)])
    assert limit.get_ydata() == [2.0, 2.0]
    assert measured.get_xdata().tolist() == [1, 8]
    assert measured.get_ydata().tolist() == pytest.approx([0.5, 3.0])
    shown = [text.get_text() for text in figure.axes[0].texts]
    assert shown == ["0.50\n100%", "3.00\n206%"]
    assert "Amdahl 1967" in figure.caption_text
    assert "n = 4 to 12" in figure.caption_text


def test_a_limit_far_above_is_said_and_not_drawn():
    fast = waves(4, 1, ttft_s=0.01, arrivals_s=[0.01, 2.0])
    axes = draw_ceiling(summarize_ceiling(table([*fast, *waves(8, 2)])), "vllm-mlx").axes[0]
    assert any(text.startswith("limit far above: 1 ÷ prefill = 100") for text in legend(axes))
    assert axes.get_ylim()[1] < 3


def test_a_server_without_a_ceiling_shows_what_was_measured():
    figure = draw_ceiling(summarize_ceiling(table(waves(12, 8))), "vllm-mlx")
    assert "No ceiling" in figure.caption_text
    assert figure.axes[0].lines[0].get_ydata().tolist() == [3.0]


def test_phases_are_stacked_to_the_requests_mean_time():
    axes = draw_phases(summarize_phases(table(SWEEP))).axes[0]
    assert (0, 0.5, 2.0) in bars(axes, BLUE)
    assert (2, 7.0, 9.0) in bars(axes, BLUE)
    assert (2, 6.0, 7.0) in bars(axes, SKY)
    assert {"queue and loading", "prefill", "waiting and prefill", "decoding"} == legend(axes)
    assert [text.get_text() for text in axes.texts] == ["0.50 + 1.50 s", "0.50 + 1.50 s", "7.00 + 2.00 s"]


def test_a_level_without_answers_or_chunks_is_no_bar():
    one_chunk = reply("x", concurrency=2, arrivals_s=[2.0], ttft_s=2.0)
    axes = draw_phases(summarize_phases(table([failed(), one_chunk]))).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["vllm-mlx · 2 in flight"]
    assert [text.get_text() for text in axes.texts] == ["2.00 s"]
    assert "n = 0" in draw_phases(summarize_phases(table([failed()]))).caption_text


def test_units_n_and_simulation_are_on_every_figure():
    simulated = table(SWEEP).assign(simulated=True)
    figures = {
        "timeline": draw_timeline(simulated, "vllm-mlx", 8),
        "ceiling": draw_ceiling(summarize_ceiling(simulated), "vllm-mlx"),
        "phases": draw_phases(summarize_phases(simulated)),
    }
    for name, figure in figures.items():
        svg = figure_to_svg(figure, name)
        assert svg == figure_to_svg(figure, name)
        words = " ".join(ElementTree.fromstring(svg).itertext())
        assert "SIMULATED" in words
        assert re.search(r"n = \d+", figure.caption_text)
        assert all(re.search(r"\[.+\]", axes.get_xlabel()) for axes in figure.axes)
